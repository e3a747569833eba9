#include <fmt/format.h>

#include <iterator>

#include "apps/testpmd/report.hpp"

namespace spinring::testpmd {
namespace {

/// Counters that say that something went wrong or was lost: their names, where they are not zero.
template <class Stats>
void append_oddities(std::string& text, std::string_view prefix, const Stats& stats) {
  for (const auto& field : StatFields<Stats>::kAll) {
    if (field.name == "packets" || field.name == "bytes" || stats.*field.member == 0) continue;
    fmt::format_to(std::back_inserter(text), " {}{}={}", prefix, field.name, stats.*field.member);
  }
}

/// " tx_dropped=12 tx_ring_full=12", or nothing.
std::string oddities(const PortReport& port) {
  std::string text;
  if (port.flow.tx_dropped != 0) text += fmt::format(" tx_dropped={}", port.flow.tx_dropped);
  append_oddities(text, "rx_", rx_total(port));
  append_oddities(text, "tx_", tx_total(port));
  if (port.recoveries != 0) text += fmt::format(" recoveries={}", port.recoveries);
  if (!port.present) text += " removed";
  if (port.faulted) text += " faulted";
  return text;
}

struct Block {
  std::uint64_t rx, rx_dropped, tx, tx_dropped;
};

/// Two lines as testpmd writes them.
std::string block_text(const Block& block) {
  return fmt::format(
      "  RX-packets: {:<14} RX-dropped: {:<13} RX-total: {}\n"
      "  TX-packets: {:<14} TX-dropped: {:<13} TX-total: {}\n",
      block.rx, block.rx_dropped, block.rx + block.rx_dropped, block.tx, block.tx_dropped,
      block.tx + block.tx_dropped);
}

Block block_of(const PortReport& port) {
  const pmd::RxStats rx = rx_total(port);
  const pmd::TxStats tx = tx_total(port);
  return {rx.packets, rx.bad_completions + rx.truncated, tx.packets, port.flow.tx_dropped + tx.rejected};
}

}  // namespace

std::string to_string(const pmd::LinkState& link) {
  if (!link.up) return "down";
  if (link.speed_mbps == 0) return "up";
  return fmt::format("up {} Mbps {}-duplex", link.speed_mbps, link.full_duplex ? "full" : "half");
}

std::string to_text(const Report& report) {
  std::string text;
  Block all{};
  for (const PortReport& port : report.ports) {
    const Block block = block_of(port);
    all = {all.rx + block.rx, all.rx_dropped + block.rx_dropped, all.tx + block.tx,
           all.tx_dropped + block.tx_dropped};
    text += fmt::format(
        "\n  ---------------------- Forward statistics for port {:<2} ----------------------\n", port.number);
    text += block_text(block);
    text += fmt::format("  {} {}, rx \"{}\", tx \"{}\", link {}\n", port.info.name, port.info.driver,
                        port.rx_path, port.tx_path, to_string(port.link));
    if (const std::string odd = oddities(port); !odd.empty()) text += " " + odd + "\n";
    text += "  ----------------------------------------------------------------------------\n";
  }
  text += "\n  +++++++++++++++ Accumulated forward statistics for all ports+++++++++++++++\n";
  text += block_text(all);
  text += "  ++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++++\n\n";
  for (const LcoreReport& lcore : report.lcores) {
    text += fmt::format(
        "  lcore {} (CPU {}): {} packets, {} polls, {} of them empty, {:.1f} cycles/packet, {:.1f} % busy\n",
        lcore.spec.lcore, lcore.spec.cpu, lcore.stats.packets, lcore.stats.polls, lcore.stats.empty_polls,
        lcore.stats.cycles_per_packet(), lcore.stats.busy_share() * 100);
  }
  lcore::LcoreStats sum;
  for (const LcoreReport& lcore : report.lcores) {
    sum.packets += lcore.stats.packets;
    sum.busy_cycles += lcore.stats.busy_cycles;
  }
  text += cycles_text(sum);
  text += fmt::format("  pool: {} of {} packets available, exhausted {} times\n", report.pool.available,
                      report.pool.capacity, report.pool.exhausted);
  text += fmt::format("  {:.3f} s of {}, {:.0f} packets/s\n", report.duration_s,
                      name_of(kForwardModes, report.mode), totals(report).pps);
  return text;
}

std::string cycles_text(const lcore::LcoreStats& stats) {
  return fmt::format("  CPU cycles/packet={:.2f} (total cycles={} / total packets={})\n",
                     stats.cycles_per_packet(), stats.busy_cycles, stats.packets);
}

std::string to_rates(const Report& before, const Report& now, double seconds) {
  std::string text = fmt::format("{:>4} {:<14} {:>12} {:>12} {:>10} {:>10}  {}\n", "port", "name", "rx pps",
                                 "tx pps", "rx Mbps", "tx Mbps", "since the start");
  const auto rate = [&](std::uint64_t earlier, std::uint64_t later) {
    // Counters that were cleared in between have run backwards: they begin at zero.
    return seconds > 0 ? static_cast<double>(later >= earlier ? later - earlier : later) / seconds : 0.0;
  };
  for (std::size_t i = 0; i < now.ports.size(); ++i) {
    const PortReport& port = now.ports[i];
    const pmd::RxStats rx = rx_total(port);
    const pmd::TxStats tx = tx_total(port);
    const pmd::RxStats old_rx = i < before.ports.size() ? rx_total(before.ports[i]) : pmd::RxStats{};
    const pmd::TxStats old_tx = i < before.ports.size() ? tx_total(before.ports[i]) : pmd::TxStats{};
    text +=
        fmt::format("{:>4} {:<14} {:>12.0f} {:>12.0f} {:>10.1f} {:>10.1f} {}\n", port.number, port.info.name,
                    rate(old_rx.packets, rx.packets), rate(old_tx.packets, tx.packets),
                    rate(old_rx.bytes, rx.bytes) * 8e-6, rate(old_tx.bytes, tx.bytes) * 8e-6, oddities(port));
  }
  return text;
}

std::string port_stats_text(const PortReport& port) {
  const pmd::RxStats rx = rx_total(port);
  const pmd::TxStats tx = tx_total(port);
  std::string text = fmt::format(
      "\n  ######################## NIC statistics for port {:<2} ########################\n", port.number);
  const auto line = [&text](std::string_view side, const auto& stats) {
    text += fmt::format("  {}", side);
    for (const auto& field : StatFields<std::decay_t<decltype(stats)>>::kAll) {
      text += fmt::format(" {}: {}", field.name, stats.*field.member);
    }
    text += '\n';
  };
  line("RX", rx);
  line("TX", tx);
  line("forwarder", port.flow);
  text += "  ############################################################################\n";
  return text;
}

std::string port_info_text(const PortReport& port) {
  const pmd::PortInfo& info = port.info;
  return fmt::format(
      "\n********************* Infos for port {:<2} *********************\n"
      "MAC address: {}\nDevice name: {}\nDriver name: {}\nIOMMU group: {}\nNUMA node: {}\nLink status: {}\n"
      "RX path: {}\nTX path: {}\nMaximum RX queues: {}\nMaximum TX queues: {}\nMaximum RX ring: {}\n"
      "Maximum TX ring: {}\nMaximum MTU: {}\nOffloads: {}\nRSS table: {}\nPresent: {}\n",
      port.number, pmd::to_string(info.mac), info.name, info.driver,
      info.iommu_group < 0 ? "none" : std::to_string(info.iommu_group),
      info.numa_node < 0 ? "unknown" : std::to_string(info.numa_node), to_string(port.link), port.rx_path,
      port.tx_path, info.max_rx_queues, info.max_tx_queues, info.max_rx_ring, info.max_tx_ring, info.max_mtu,
      pmd::to_string(info.offloads), info.rss_table, port.present ? "yes" : "no, it was removed");
}

}  // namespace spinring::testpmd
