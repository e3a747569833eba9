#pragma once

#include <concepts>
#include <cstdint>

#include "base/cpu.hpp"
#include "lcore/counters.hpp"
#include "lcore/idle.hpp"
#include "lcore/stop_token.hpp"

namespace spinring::lcore {

/// Run to completion: one call polls the lcore's queues once, handles all that it found, and returns how many
/// packets that were. It must return: the stop token is looked at between polls only.
template <class P>
concept Poll = requires(P& poll) {
  { poll() } -> std::convertible_to<std::uint64_t>;
};

/// Polls until `stop` is requested. Called on the lcore; the poll is inlined, and one read of the time stamp
/// counter is all that a poll adds: one more after idling.
template <Poll P>
void poll_until(const StopToken& stop, LcoreCounters& counters, const IdlePolicy& policy, P&& poll) {
  Idler idler(policy);
  std::uint64_t last = read_tsc();
  while (!stop.requested()) {
    const std::uint64_t packets = poll();
    const std::uint64_t now = read_tsc();
    counters.record_poll(packets, now - last);
    last = now;
    if (packets != 0) {
      idler.busy();
    } else if (idler.empty()) {
      last = read_tsc();  // so that idling is not charged to the next packet
      counters.record_idle(last - now);
    }
  }
}

}  // namespace spinring::lcore
