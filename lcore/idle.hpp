#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>
#include <thread>

#include "base/cpu.hpp"

namespace spinring::lcore {

/// What an lcore does after a poll that found nothing.
enum class Idle {
  kSpin,   ///< polls again at once: the least latency, the most power
  kPause,  ///< one CPU pause: leaves the core's other thread room
  kSleep,  ///< pauses; after many empty polls in a row it sleeps: for CPUs that are shared
};

/// "spin", "pause", "sleep"; nothing for other words.
[[nodiscard]] constexpr std::optional<Idle> parse_idle(std::string_view text) noexcept {
  if (text == "spin") return Idle::kSpin;
  if (text == "pause") return Idle::kPause;
  if (text == "sleep") return Idle::kSleep;
  return {};
}

struct IdlePolicy {
  Idle kind = Idle::kPause;
  std::uint32_t empty_polls_before_sleep = 1024;
  std::chrono::microseconds sleep{50};
};

/// Carries out a policy for one poll loop.
class Idler {
 public:
  explicit Idler(const IdlePolicy& policy) noexcept : policy_(policy) {}

  void busy() noexcept { empty_ = 0; }
  /// Returns whether that took time.
  bool empty() {
    if (policy_.kind == Idle::kSpin) return false;
    if (policy_.kind == Idle::kSleep && ++empty_ >= policy_.empty_polls_before_sleep) {
      std::this_thread::sleep_for(policy_.sleep);
    } else {
      cpu_pause();
    }
    return true;
  }

 private:
  IdlePolicy policy_;
  std::uint32_t empty_ = 0;
};

}  // namespace spinring::lcore
