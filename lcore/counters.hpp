#pragma once

#include <cstdint>

#include "base/counter.hpp"
#include "base/cpu.hpp"

namespace spinring::lcore {

/// A reading of an lcore's counters. Cycles are ticks of read_tsc().
struct LcoreStats {
  std::uint64_t polls = 0;
  std::uint64_t empty_polls = 0;   ///< polls that found nothing to do
  std::uint64_t packets = 0;       ///< packets handled
  std::uint64_t busy_cycles = 0;   ///< spent in polls that handled packets
  std::uint64_t total_cycles = 0;  ///< spent in the loop, idling included

  /// What one packet costs in polls that had any; 0 if there was none. Empty polls do not count: they say how
  /// long the lcore waited, not what a packet costs.
  [[nodiscard]] double cycles_per_packet() const noexcept {
    return packets == 0 ? 0.0 : static_cast<double>(busy_cycles) / static_cast<double>(packets);
  }
  /// Share of the time spent in polls that had packets, 0 to 1.
  [[nodiscard]] double busy_share() const noexcept {
    return total_cycles == 0 ? 0.0 : static_cast<double>(busy_cycles) / static_cast<double>(total_cycles);
  }
};

/// Counters of one poll loop: written by its lcore alone, on cache lines of their own; read by any thread at
/// any time (each value is whole, the five are not of one instant).
class alignas(kCacheLine) LcoreCounters {
 public:
  /// One poll that handled `packets` and took `cycles`.
  void record_poll(std::uint64_t packets, std::uint64_t cycles) noexcept {
    total_cycles_.add(cycles);
    if (packets == 0) {
      empty_polls_.add(1);
    } else {
      busy_polls_.add(1);
      packets_.add(packets);
      busy_cycles_.add(cycles);
    }
  }
  /// Time between polls.
  void record_idle(std::uint64_t cycles) noexcept { total_cycles_.add(cycles); }

  [[nodiscard]] LcoreStats read() const noexcept {
    const std::uint64_t empty = empty_polls_.value();
    return {empty + busy_polls_.value(), empty, packets_.value(), busy_cycles_.value(),
            total_cycles_.value()};
  }

 private:
  Counter empty_polls_;
  Counter busy_polls_;
  Counter packets_;
  Counter busy_cycles_;
  Counter total_cycles_;
};
static_assert(sizeof(LcoreCounters) % kCacheLine == 0);

}  // namespace spinring::lcore
