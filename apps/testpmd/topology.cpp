#include "apps/testpmd/topology.hpp"

#include <algorithm>
#include <map>
#include <utility>

namespace spinring::testpmd {
namespace {

/// Streams that must share an lcore, under the queue that they share: (queue, port), so that the order of the
/// map puts queue N of all ports side by side.
using Groups = std::map<std::pair<std::uint16_t, unsigned>, std::vector<StreamPlan>>;

Groups make_groups(const TopologyInput& input) {
  Groups groups;
  const unsigned ports = static_cast<unsigned>(input.present.size());
  for (unsigned port = 0; port < ports; ++port) {
    if (!input.present[port]) continue;
    if (!receives(input.mode)) {
      for (std::uint16_t queue = 0; queue < input.tx_queues; ++queue) {
        groups[{queue, port}].push_back({port, queue, port, queue});
      }
      continue;
    }
    const unsigned peer = peer_of(port, ports, input.topology);
    for (std::uint16_t queue = 0; queue < input.rx_queues; ++queue) {
      if (!sends(input.mode)) {
        groups[{queue, port}].push_back({port, queue, port, queue});
      } else if (input.present[peer]) {
        const auto tx_queue = static_cast<std::uint16_t>(queue % input.tx_queues);
        groups[{tx_queue, peer}].push_back({port, queue, peer, tx_queue});
      }
    }
  }
  return groups;
}

template <class Uses>
unsigned find_lcore(const LcorePlan& plan, Uses uses) {
  for (std::size_t lcore = 0; lcore < plan.size(); ++lcore) {
    if (std::any_of(plan[lcore].begin(), plan[lcore].end(), uses)) return static_cast<unsigned>(lcore);
  }
  return 0;
}

}  // namespace

unsigned peer_of(unsigned port, unsigned ports, PortTopology topology) noexcept {
  switch (topology) {
    case PortTopology::kPaired:
      if (port % 2 == 1) return port - 1;
      return port + 1 < ports ? port + 1 : port;
    case PortTopology::kChained:
      return (port + 1) % ports;
    case PortTopology::kLoop:
      break;
  }
  return port;
}

LcorePlan plan_streams(const TopologyInput& input) {
  const Groups groups = make_groups(input);
  LcorePlan plan(std::max(input.lcores, 1U));
  std::size_t index = 0;
  for (const auto& group : groups) {
    // Blocks of neighbours, as even as can be.
    auto& lcore = plan[index * plan.size() / std::max(groups.size(), plan.size())];
    lcore.insert(lcore.end(), group.second.begin(), group.second.end());
    ++index;
  }
  return plan;
}

unsigned lcore_of_rx(const LcorePlan& plan, ForwardMode mode, unsigned port, std::uint16_t queue) {
  return find_lcore(plan, [&](const StreamPlan& stream) {
    return receives(mode) && stream.rx_port == port && stream.rx_queue == queue;
  });
}

unsigned lcore_of_tx(const LcorePlan& plan, ForwardMode mode, unsigned port, std::uint16_t queue) {
  return find_lcore(plan, [&](const StreamPlan& stream) {
    return sends(mode) && stream.tx_port == port && stream.tx_queue == queue;
  });
}

}  // namespace spinring::testpmd
