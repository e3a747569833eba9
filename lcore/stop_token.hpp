#pragma once

#include <atomic>

#include "base/cpu.hpp"

namespace spinring::lcore {

/// Asks poll loops to end. Has a cache line of its own, which every poll reads and nobody writes until the
/// end, so asking costs a load that hits. Relaxed: it carries no data; what the lcore wrote is seen after its
/// join.
class alignas(kCacheLine) StopToken {
 public:
  StopToken() = default;
  StopToken(const StopToken&) = delete;
  StopToken& operator=(const StopToken&) = delete;

  /// Any thread; also from a signal handler.
  void request() noexcept { requested_.store(true, std::memory_order_relaxed); }
  [[nodiscard]] bool requested() const noexcept { return requested_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> requested_ = false;
};
static_assert(sizeof(StopToken) == kCacheLine);
static_assert(std::atomic<bool>::is_always_lock_free);

}  // namespace spinring::lcore
