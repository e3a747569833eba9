#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "apps/testpmd/modes.hpp"
#include "apps/testpmd/stat_fields.hpp"
#include "lcore/core_list.hpp"
#include "lcore/counters.hpp"
#include "pmd/port.hpp"

namespace spinring::testpmd {

/// A reading of everything that is counted: plain data, printed by report_text.cpp and report_json.cpp.
struct PortReport {
  unsigned number = 0;
  pmd::PortInfo info;
  bool present = true;  ///< false: removed while the program ran
  bool faulted = false;
  pmd::LinkState link;
  std::string rx_path;
  std::string tx_path;
  std::vector<pmd::RxStats> rx;  ///< by queue
  std::vector<pmd::TxStats> tx;
  FlowStats flow;
  std::uint64_t recoveries = 0;
};

struct LcoreReport {
  lcore::LcoreSpec spec;
  lcore::LcoreStats stats;
};

struct PoolReport {
  std::uint32_t capacity = 0;
  std::uint32_t available = 0;  ///< in the shared ring; all of them once ports and caches have let go
  std::uint64_t exhausted = 0;
};

struct Report {
  ForwardMode mode = ForwardMode::kIo;
  double duration_s = 0;  ///< of forwarding
  std::vector<PortReport> ports;
  std::vector<LcoreReport> lcores;
  PoolReport pool;
};

/// Sums over ports and queues. rx + generated = tx + tx_dropped + tx_rejected + consumed, when nothing runs.
struct Totals {
  std::uint64_t rx = 0;
  std::uint64_t tx = 0;
  std::uint64_t tx_dropped = 0;
  std::uint64_t tx_rejected = 0;
  std::uint64_t generated = 0;
  std::uint64_t consumed = 0;
  /// Packets a second over duration_s: sent ones, or received ones where none are sent (rxonly).
  double pps = 0;
};
[[nodiscard]] Totals totals(const Report& report);

/// Sums over a port's queues.
[[nodiscard]] pmd::RxStats rx_total(const PortReport& port);
[[nodiscard]] pmd::TxStats tx_total(const PortReport& port);

/// testpmd's accumulated block, with drops by name, and a line for each lcore and the pool.
[[nodiscard]] std::string to_text(const Report& report);
/// testpmd's line of --record-core-cycles.
[[nodiscard]] std::string cycles_text(const lcore::LcoreStats& stats);
/// What happened from `before` to `now`, `seconds` apart: a table of rates by port, and the drops since the
/// start by name.
[[nodiscard]] std::string to_rates(const Report& before, const Report& now, double seconds);
/// `show port stats`, `show port info`.
[[nodiscard]] std::string port_stats_text(const PortReport& port);
[[nodiscard]] std::string port_info_text(const PortReport& port);
/// One JSON object and a newline.
[[nodiscard]] std::string to_json(const Report& report);

/// "up 10000 Mbps full-duplex", "down".
[[nodiscard]] std::string to_string(const pmd::LinkState& link);

}  // namespace spinring::testpmd
