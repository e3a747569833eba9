#include "apps/testpmd/report.hpp"

#include <numeric>

namespace spinring::testpmd {

pmd::RxStats rx_total(const PortReport& port) {
  return std::accumulate(port.rx.begin(), port.rx.end(), pmd::RxStats{}, plus<pmd::RxStats>);
}

pmd::TxStats tx_total(const PortReport& port) {
  return std::accumulate(port.tx.begin(), port.tx.end(), pmd::TxStats{}, plus<pmd::TxStats>);
}

Totals totals(const Report& report) {
  Totals sum;
  for (const PortReport& port : report.ports) {
    sum.rx += rx_total(port).packets;
    const pmd::TxStats tx = tx_total(port);
    sum.tx += tx.packets;
    sum.tx_rejected += tx.rejected;
    sum.tx_dropped += port.flow.tx_dropped;
    sum.generated += port.flow.generated;
    sum.consumed += port.flow.consumed;
  }
  const std::uint64_t packets = report.mode == ForwardMode::kRxOnly ? sum.rx : sum.tx;
  sum.pps = report.duration_s > 0 ? static_cast<double>(packets) / report.duration_s : 0;
  return sum;
}

}  // namespace spinring::testpmd
