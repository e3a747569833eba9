#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "apps/testpmd/report.hpp"
#include "base/result.hpp"
#include "base/time.hpp"
#include "pmd/port.hpp"

namespace spinring::testpmd {

/// A port by its number: the port itself until it is removed, and what is known and counted of it over its
/// starts. Main thread; no lcore may poll the port during start(), stop() and remove().
class PortSlot {
 public:
  PortSlot(unsigned number, std::unique_ptr<pmd::AnyPort> port);

  [[nodiscard]] unsigned number() const noexcept { return report_.number; }
  [[nodiscard]] const pmd::PortInfo& info() const noexcept { return report_.info; }
  /// "port 0 (qtest0)".
  [[nodiscard]] std::string label() const;
  /// False once removed.
  [[nodiscard]] bool present() const noexcept { return port_ != nullptr; }
  /// Present and started, with queues to poll.
  [[nodiscard]] bool running() const noexcept { return running_; }
  /// Only while present().
  [[nodiscard]] pmd::AnyPort& port() noexcept { return *port_; }

  [[nodiscard]] Result<void> start(const pmd::PortConfig<pmd::SpinringPackets>& config);
  void stop();
  /// Stops the port and gives the device back; its numbers stay.
  void remove();

  /// Restarts the port as it was started last, without loss where the driver can; counts a success. After a
  /// failure it waits a second before it tries again.
  [[nodiscard]] Result<void> recover();
  [[nodiscard]] bool may_recover() const { return Clock::now() >= next_recovery_ && port_->may_restart(); }
  void set_faulted(bool on) noexcept { report_.faulted = on; }
  [[nodiscard]] bool faulted() const noexcept { return report_.faulted; }

  /// Reads the link; true if it changed.
  [[nodiscard]] bool refresh_link();
  [[nodiscard]] const pmd::LinkState& link() const noexcept { return report_.link; }

  /// The registers as the prompt showed them last; empty: not yet.
  [[nodiscard]] const std::vector<pmd::RegisterDump>& shown_registers() const noexcept { return shown_; }
  void set_shown_registers(std::vector<pmd::RegisterDump> shown) noexcept { shown_ = std::move(shown); }

  /// The counters of a stream that has ended.
  void end_of_flow(const FlowStats& flow) noexcept { flow_.end_of(flow); }
  /// `live`: the sum of the streams that run.
  void clear_stats(const FlowStats& live);
  [[nodiscard]] PortReport report(const FlowStats& live) const;

 private:
  void note_start();

  PortReport report_;  ///< what does not come from counters
  std::vector<Running<pmd::RxStats>> rx_;
  std::vector<Running<pmd::TxStats>> tx_;
  Running<FlowStats> flow_;
  pmd::PortConfig<pmd::SpinringPackets> config_;
  std::vector<pmd::RegisterDump> shown_;
  bool running_ = false;
  bool started_ = false;  ///< running, or stuck half-way in a restart
  Clock::time_point next_recovery_{};
  std::unique_ptr<pmd::AnyPort> port_;
};

}  // namespace spinring::testpmd
