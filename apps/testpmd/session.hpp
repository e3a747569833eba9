#pragma once

#include <memory>
#include <string>
#include <vector>

#include "apps/testpmd/forwarder.hpp"
#include "apps/testpmd/options.hpp"
#include "apps/testpmd/port_slot.hpp"
#include "apps/testpmd/report.hpp"
#include "base/result.hpp"
#include "base/time.hpp"
#include "lcore/cpu_set.hpp"
#include "mempool/memory.hpp"
#include "mempool/pool.hpp"

namespace spinring::testpmd {

/// The lcores that forward: all but the first, at most `limit` of them (0: no limit). A single one forwards
/// too: the main thread sleeps beside it.
[[nodiscard]] std::vector<lcore::LcoreSpec> forwarding_lcores(const std::vector<lcore::LcoreSpec>& lcores,
                                                              unsigned limit);

/// The program's state: pool, lcores, ports, and what may be done to them. Ports run from create() on;
/// start() and stop() are about forwarding, as in testpmd. Main thread. An Error with lcore::Errc::kTimeout
/// means that an lcore hangs: the program can then only end without destroying the session.
class Session {
 public:
  /// `ports` in the order of their numbers; `memory` and the ports' buses outlive the session.
  [[nodiscard]] static Result<std::unique_ptr<Session>> create(
      const ForwardOptions& options, const std::vector<lcore::LcoreSpec>& lcores,
      const lcore::CpuSet& allowed, mempool::Memory& memory,
      std::vector<std::unique_ptr<pmd::AnyPort>> ports);

  /// Starts forwarding; before it, sends `tx_first` bursts by each stream.
  [[nodiscard]] Result<void> start(std::uint32_t tx_first);
  [[nodiscard]] Result<void> stop();
  [[nodiscard]] bool forwarding() const noexcept { return forwarder_.running(); }
  /// Seconds of forwarding since the last clear_stats().
  [[nodiscard]] double duration_s() const;
  /// Stops forwarding and all ports, and lets the caches go: the report then accounts for every packet.
  [[nodiscard]] Result<void> finish();

  [[nodiscard]] Report report() const;
  void clear_stats();

  /// Both take effect at the next start().
  void set_mode(ForwardMode mode) noexcept { next_mode_ = mode; }
  void set_burst(std::uint16_t burst) noexcept { next_burst_ = burst; }
  /// As forwarding runs, or ran last.
  [[nodiscard]] const ForwardOptions& options() const noexcept { return options_; }
  [[nodiscard]] ForwardMode next_mode() const noexcept { return next_mode_; }
  [[nodiscard]] std::uint16_t next_burst() const noexcept { return next_burst_; }
  /// What start() would run, by forwarding lcore.
  [[nodiscard]] LcorePlan make_plan() const;

  [[nodiscard]] std::size_t port_count() const noexcept { return ports_.size(); }
  [[nodiscard]] PortSlot& port(std::size_t number) noexcept { return *ports_[number]; }
  [[nodiscard]] bool any_port_left() const noexcept;

  /// The link of a port may have changed: reads it, logs a change.
  void refresh_link(PortSlot& slot);
  /// The kernel wants a device back: forwarding goes on without it.
  [[nodiscard]] Result<void> remove_port(PortSlot& slot);
  /// Looks for devices that have stopped with a fault; with --auto-recover the look after that, or a later
  /// one, restarts them.
  [[nodiscard]] Result<void> check_ports();

 private:
  Session(const ForwardOptions& options, const std::vector<lcore::LcoreSpec>& lcores,
          const lcore::CpuSet& allowed, std::unique_ptr<mempool::Pool> pool,
          std::vector<std::unique_ptr<pmd::AnyPort>> ports);
  /// Starts all ports with the queues on the lcores of plan_.
  [[nodiscard]] Result<void> start_ports();
  [[nodiscard]] Result<void> start_port(PortSlot& slot);
  void build_streams();
  [[nodiscard]] pmd::Offloads offloads_for(const pmd::PortInfo& info) const;
  /// Frames that were joined can be sent on only by ports that cut them again.
  [[nodiscard]] Result<void> check_coalescing() const;
  [[nodiscard]] Forwarder::Settings forwarder_settings() const;
  void end_streams();
  /// Runs `change` while no lcore runs; forwarding, if it was on, goes on afterwards.
  template <class Change>
  [[nodiscard]] Result<void> between_lcores(Change change);
  [[nodiscard]] Result<void> recover(PortSlot& slot);

  ForwardOptions options_;
  ForwardMode next_mode_;
  std::uint16_t next_burst_;
  LcorePlan plan_;
  double past_duration_s_ = 0;
  Clock::time_point started_{};
  // Teardown runs upwards: ports give their packets to the lcores' caches, those to the pool. ~Session()
  // stops the lcores before that.
  std::unique_ptr<mempool::Pool> pool_;
  Forwarder forwarder_;
  std::vector<std::unique_ptr<PortSlot>> ports_;

 public:
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session();
};

}  // namespace spinring::testpmd
