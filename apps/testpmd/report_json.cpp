#include <nlohmann/json.hpp>

#include "apps/testpmd/report.hpp"

namespace spinring::testpmd {
namespace {

// Keeps the order in which a person reads it.
using Json = nlohmann::ordered_json;

template <class Stats>
Json counters(const Stats& stats) {
  Json json = Json::object();
  for (const auto& field : StatFields<Stats>::kAll) json[std::string(field.name)] = stats.*field.member;
  return json;
}

Json queues(const PortReport& port) {
  Json all = Json::array();
  for (std::size_t queue = 0; queue < std::max(port.rx.size(), port.tx.size()); ++queue) {
    Json json{{"queue", queue}};
    if (queue < port.rx.size()) json["rx"] = counters(port.rx[queue]);
    if (queue < port.tx.size()) json["tx"] = counters(port.tx[queue]);
    all.push_back(std::move(json));
  }
  return all;
}

Json port_json(const PortReport& port) {
  return {
      {"port", port.number},
      {"name", port.info.name},
      {"driver", port.info.driver},
      {"iommu_group", port.info.iommu_group},
      {"mac", pmd::to_string(port.info.mac)},
      {"present", port.present},
      {"faulted", port.faulted},
      {"link",
       {{"up", port.link.up}, {"speed_mbps", port.link.speed_mbps}, {"full_duplex", port.link.full_duplex}}},
      {"rx_path", port.rx_path},
      {"tx_path", port.tx_path},
      {"rx", rx_total(port).packets},
      {"tx", tx_total(port).packets},
      {"tx_dropped", port.flow.tx_dropped},
      {"recoveries", port.recoveries},
      {"queues", queues(port)}};
}

}  // namespace

std::string to_json(const Report& report) {
  const Totals sum = totals(report);
  Json json{{"forward_mode", name_of(kForwardModes, report.mode)}, {"ports", Json::array()}};
  for (const PortReport& port : report.ports) json["ports"].push_back(port_json(port));
  json["lcores"] = Json::array();
  for (const LcoreReport& lcore : report.lcores) {
    json["lcores"].push_back({{"lcore", lcore.spec.lcore},
                              {"cpu", lcore.spec.cpu},
                              {"packets", lcore.stats.packets},
                              {"polls", lcore.stats.polls},
                              {"empty_polls", lcore.stats.empty_polls},
                              {"busy_share", lcore.stats.busy_share()},
                              {"cycles_per_packet", lcore.stats.cycles_per_packet()}});
  }
  json["totals"] = {{"rx", sum.rx},
                    {"tx", sum.tx},
                    {"tx_dropped", sum.tx_dropped},
                    {"tx_rejected", sum.tx_rejected},
                    {"generated", sum.generated},
                    {"consumed", sum.consumed},
                    {"duration_s", report.duration_s},
                    {"pps", sum.pps}};
  json["pool"] = {{"capacity", report.pool.capacity},
                  {"available", report.pool.available},
                  {"exhausted", report.pool.exhausted}};
  return json.dump(2) + "\n";
}

}  // namespace spinring::testpmd
