#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>

#include "base/cpu.hpp"
#include "base/ring_index.hpp"
#include "mempool/copy_pointers.hpp"

namespace spinring::mempool {

/// A bounded queue of pointers for many producers and many consumers, in bulk. A caller reserves a range of
/// slots with one compare-and-swap, fills or empties it, and publishes it in the order of reservation. No
/// lock is held, but a thread that is preempted between the two steps delays the publishing of those behind
/// it: they wait for it, and yield the CPU after a while.
template <class T>
class SharedRing {
 public:
  /// Holds at least `capacity` pointers.
  explicit SharedRing(std::uint32_t capacity)
      : size_(std::bit_ceil(capacity)), mask_(size_ - 1), slots_(new T*[size_]) {}

  /// Adds all `count`, or, without room for them, as many as fit; returns how many. Any thread.
  std::size_t enqueue(T* const* in, std::size_t count) noexcept {
    std::uint32_t start = 0;
    const std::uint32_t taken = reserve(producer_, consumer_, size_, count, start);
    if (taken == 0) return 0;
    const std::uint32_t slot = ring_slot(start, mask_);
    const std::uint32_t until_end = std::min(taken, size_ - slot);
    copy_pointers(&slots_[slot], in, until_end);
    if (until_end != taken) [[unlikely]]
      copy_pointers(&slots_[0], in + until_end, taken - until_end);
    publish(producer_, start, taken);
    return taken;
  }

  /// Takes up to `count` from the front; returns how many. Any thread.
  std::size_t dequeue(T** out, std::size_t count) noexcept {
    std::uint32_t start = 0;
    const std::uint32_t taken = reserve(consumer_, producer_, 0, count, start);
    if (taken == 0) return 0;
    const std::uint32_t slot = ring_slot(start, mask_);
    const std::uint32_t until_end = std::min(taken, size_ - slot);
    copy_pointers(out, &slots_[slot], until_end);
    if (until_end != taken) [[unlikely]]
      copy_pointers(out + until_end, &slots_[0], taken - until_end);
    publish(consumer_, start, taken);
    return taken;
  }

  /// Pointers in the ring; exact when nothing runs.
  [[nodiscard]] std::uint32_t count() const noexcept {
    // Consumers first: the difference then never falls below zero.
    const std::uint32_t taken = consumer_.tail.load(std::memory_order_acquire);
    return std::min(ring_distance(producer_.tail.load(std::memory_order_acquire), taken), size_);
  }

 private:
  /// Free-running indexes of one side.
  struct alignas(kCacheLine) Side {
    std::atomic<std::uint32_t> head = 0;  ///< reserved up to here
    std::atomic<std::uint32_t> tail = 0;  ///< published up to here
  };

  /// Moves my.head forward by up to `count`; `start` is where it was. There are `room` plus as many as the
  /// other side has published.
  static std::uint32_t reserve(Side& mine, const Side& other, std::uint32_t room, std::size_t count,
                               std::uint32_t& start) noexcept {
    start = mine.head.load(std::memory_order_acquire);
    std::uint32_t take = 0;
    do {
      // Acquire, twice: the slots that the other side has released are ours to touch; and because my.head is
      // read first (and is written by a release), the other's tail is never older than the head: the
      // difference never falls below zero.
      const std::uint32_t ready = ring_distance(other.tail.load(std::memory_order_acquire) + room, start);
      take = static_cast<std::uint32_t>(std::min<std::size_t>(count, ready));
      if (take == 0) return 0;
    } while (!mine.head.compare_exchange_weak(start, start + take, std::memory_order_acq_rel,
                                              std::memory_order_acquire));
    return take;
  }

  static void publish(Side& mine, std::uint32_t start, std::uint32_t taken) noexcept {
    // Acquire: what those before us did to their slots is published with our release.
    for (unsigned spins = 0; mine.tail.load(std::memory_order_acquire) != start; ++spins) {
      if (spins < kSpinsBeforeYield) {
        cpu_pause();
      } else {
        std::this_thread::yield();
      }
    }
    mine.tail.store(start + taken, std::memory_order_release);
  }

  static constexpr unsigned kSpinsBeforeYield = 256;

  Side producer_;
  Side consumer_;
  alignas(kCacheLine) const std::uint32_t size_;
  const std::uint32_t mask_;
  const std::unique_ptr<T*[]> slots_;
};

}  // namespace spinring::mempool
