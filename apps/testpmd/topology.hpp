#pragma once

#include <cstdint>
#include <vector>

#include "apps/testpmd/modes.hpp"

namespace spinring::testpmd {

/// One way through the program: packets of an RX queue leave by a TX queue. rxonly has no second half, txonly
/// no first.
struct StreamPlan {
  unsigned rx_port = 0;
  std::uint16_t rx_queue = 0;
  unsigned tx_port = 0;
  std::uint16_t tx_queue = 0;
  bool operator==(const StreamPlan&) const = default;
};

/// What streams are made from.
struct TopologyInput {
  std::vector<bool> present;  ///< by port number; a port that was removed is false
  std::uint16_t rx_queues = 1;
  std::uint16_t tx_queues = 1;
  ForwardMode mode = ForwardMode::kIo;
  PortTopology topology = PortTopology::kPaired;
  unsigned lcores = 1;  ///< forwarding lcores
};

/// Streams by forwarding lcore.
using LcorePlan = std::vector<std::vector<StreamPlan>>;

/// The port that packets of `port` leave by.
[[nodiscard]] unsigned peer_of(unsigned port, unsigned ports, PortTopology topology) noexcept;

/// Deals the streams to the lcores. Every RX queue (txonly: every TX queue) is in one stream; streams that
/// share a TX queue share an lcore, since a queue belongs to one lcore. Queue N of all ports comes to the
/// same lcore where there are enough, so that buffers which leave by a port come back to the RX ring of the
/// same lcore.
[[nodiscard]] LcorePlan plan_streams(const TopologyInput& input);

/// The lcore whose cache a queue uses: the one that polls it, or 0 for a queue that nobody polls.
[[nodiscard]] unsigned lcore_of_rx(const LcorePlan& plan, ForwardMode mode, unsigned port,
                                   std::uint16_t queue);
[[nodiscard]] unsigned lcore_of_tx(const LcorePlan& plan, ForwardMode mode, unsigned port,
                                   std::uint16_t queue);

[[nodiscard]] constexpr bool receives(ForwardMode mode) noexcept { return mode != ForwardMode::kTxOnly; }
[[nodiscard]] constexpr bool sends(ForwardMode mode) noexcept { return mode != ForwardMode::kRxOnly; }

}  // namespace spinring::testpmd
