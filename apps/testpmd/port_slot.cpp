#include "apps/testpmd/port_slot.hpp"

#include <fmt/format.h>

namespace spinring::testpmd {

PortSlot::PortSlot(unsigned number, std::unique_ptr<pmd::AnyPort> port) : port_(std::move(port)) {
  report_.number = number;
  report_.info = port_->info();
}

std::string PortSlot::label() const { return fmt::format("port {} ({})", number(), info().name); }

Result<void> PortSlot::start(const pmd::PortConfig<pmd::SpinringPackets>& config) {
  stop();
  config_ = config;
  rx_.resize(config.rx.size());
  tx_.resize(config.tx.size());
  if (auto ok = port_->start(config); !ok) return ok;
  note_start();
  return {};
}

void PortSlot::note_start() {
  running_ = true;
  started_ = true;
  report_.info = port_->info();  // what the device offers may be known only now
  report_.rx_path = port_->rx_path();
  report_.tx_path = port_->tx_path();
  report_.link = port_->link();
}

void PortSlot::stop() {
  if (!started_) return;
  port_->stop();
  running_ = false;
  started_ = false;
  for (std::uint16_t queue = 0; queue < rx_.size(); ++queue) rx_[queue].end_of(port_->rx_stats(queue));
  for (std::uint16_t queue = 0; queue < tx_.size(); ++queue) tx_[queue].end_of(port_->tx_stats(queue));
}

void PortSlot::remove() {
  stop();
  port_.reset();
  report_.link = {};
  report_.present = false;
}

Result<void> PortSlot::recover() {
  constexpr auto kBetweenAttempts = std::chrono::seconds(1);
  const auto config = config_;
  auto again = started_ ? port_->restart() : start(config);
  if (!again && again.error().code == pmd::Errc::kUnsupported) again = start(config);
  running_ = again.has_value();
  if (!again) {
    next_recovery_ = Clock::now() + kBetweenAttempts;
    return again;
  }
  note_start();
  ++report_.recoveries;
  report_.faulted = false;
  return {};
}

bool PortSlot::refresh_link() {
  const pmd::LinkState now = port_->link();
  if (now == report_.link) return false;
  report_.link = now;
  return true;
}

void PortSlot::clear_stats(const FlowStats& live) {
  for (std::uint16_t queue = 0; queue < rx_.size(); ++queue) {
    rx_[queue].clear(started_ ? port_->rx_stats(queue) : pmd::RxStats{});
  }
  for (std::uint16_t queue = 0; queue < tx_.size(); ++queue) {
    tx_[queue].clear(started_ ? port_->tx_stats(queue) : pmd::TxStats{});
  }
  flow_.clear(live);
}

PortReport PortSlot::report(const FlowStats& live) const {
  PortReport report = report_;
  for (std::uint16_t queue = 0; queue < rx_.size(); ++queue) {
    report.rx.push_back(rx_[queue].total(started_ ? port_->rx_stats(queue) : pmd::RxStats{}));
  }
  for (std::uint16_t queue = 0; queue < tx_.size(); ++queue) {
    report.tx.push_back(tx_[queue].total(started_ ? port_->tx_stats(queue) : pmd::TxStats{}));
  }
  report.flow = flow_.total(live);
  return report;
}

}  // namespace spinring::testpmd
