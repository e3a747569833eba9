#pragma once

#include <atomic>
#include <cstdint>

namespace spinring {

/// A statistics counter with one writer (the lcore that polls the queue) and any number of readers. Counting
/// is a plain add (no locked instruction); a reader on another thread sees some recent value, never a torn
/// one.
class Counter {
 public:
  Counter() = default;
  /// Takes the value along: for what moves while nobody counts.
  Counter(Counter&& other) noexcept : value_(other.value()) {}
  Counter& operator=(Counter&&) = delete;
  ~Counter() = default;

  void add(std::uint64_t amount) noexcept {
    value_.store(value_.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t value() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_ = 0;
};

}  // namespace spinring
