#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "mempool/shared_ring.hpp"

namespace spinring::mempool {

/// A bag of pointers for many threads, in bulk: a few SharedRings, of which each thread has one as its home.
/// A thread puts to its home and takes from its home first, so that threads that take and give alike do not
/// pass cache lines to each other; only one whose home is empty goes round the others.
template <class T>
class Depot {
 public:
  /// Holds at least `capacity` pointers, wherever they are put.
  explicit Depot(std::uint32_t capacity) : Depot(capacity, std::make_index_sequence<kRings>()) {}

  /// Adds all `count`: the depot never holds more than its capacity. Any thread.
  void put(T* const* in, std::size_t count) noexcept { rings_[home()].enqueue(in, count); }

  /// Takes up to `count`; returns how many: fewer only if each ring was empty when it was looked at. Any
  /// thread.
  std::size_t take(T** out, std::size_t count) noexcept {
    const std::uint32_t first = home();
    std::size_t taken = rings_[first].dequeue(out, count);
    for (std::uint32_t i = 1; taken != count && i != kRings; ++i)
      [[unlikely]] taken += rings_[(first + i) % kRings].dequeue(out + taken, count - taken);
    return taken;
  }

  /// Pointers in it; exact when nothing runs.
  [[nodiscard]] std::uint32_t count() const noexcept {
    std::uint32_t all = 0;
    for (const SharedRing<T>& ring : rings_) all += ring.count();
    return all;
  }

 private:
  /// Threads beyond as many share a home. Rings that are never used cost addresses, not memory.
  static constexpr std::uint32_t kRings = 8;

  template <std::size_t... I>
  Depot(std::uint32_t capacity, std::index_sequence<I...>)
      : rings_{{(static_cast<void>(I), SharedRing<T>(capacity))...}} {}

  /// The calling thread's ring, in the order in which threads first ask.
  static std::uint32_t home() noexcept {
    static constinit std::atomic<std::uint32_t> threads = 0;
    static constinit thread_local std::uint32_t mine = kRings;
    if (mine == kRings) [[unlikely]]
      mine = threads.fetch_add(1, std::memory_order_relaxed) % kRings;
    return mine;
  }

  std::array<SharedRing<T>, kRings> rings_;
};

}  // namespace spinring::mempool
