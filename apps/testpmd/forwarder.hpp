#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "apps/testpmd/engines/stream.hpp"
#include "apps/testpmd/report.hpp"
#include "base/result.hpp"
#include "lcore/counters.hpp"
#include "lcore/cpu_set.hpp"
#include "lcore/idle.hpp"
#include "lcore/thread.hpp"
#include "mempool/pool.hpp"

namespace spinring::testpmd {

/// One forwarding lcore: its packet cache, its streams, its thread.
struct ForwardingLcore {
  ForwardingLcore(const lcore::LcoreSpec& at, mempool::Pool& pool) : spec(at), cache(pool) {}

  lcore::LcoreSpec spec;
  mempool::PoolCache cache;  ///< used by the lcore while it runs, by the main thread otherwise
  lcore::LcoreCounters counters;
  std::deque<Stream> streams;  // a deque: streams have counters and so do not move
  // Last, and so gone first: the thread uses all of the above.
  std::unique_ptr<lcore::LcoreThread> thread;
};

/// The forwarding lcores. Main thread. The pool outlives it; the ports whose queues use the caches are
/// stopped before it goes.
class Forwarder {
 public:
  /// How the lcores run.
  struct Settings {
    ForwardMode mode = ForwardMode::kIo;
    std::uint16_t burst = 32;
    lcore::IdlePolicy idle;
    bool settles = false;  ///< ports have RX offloads: frames are made fit to be sent
  };

  Forwarder(const std::vector<lcore::LcoreSpec>& lcores, mempool::Pool& pool, lcore::CpuSet allowed);

  [[nodiscard]] unsigned lcores() const noexcept { return static_cast<unsigned>(lcores_.size()); }
  [[nodiscard]] bool running() const noexcept { return running_; }
  [[nodiscard]] mempool::PoolCache& cache(unsigned lcore) noexcept { return lcores_[lcore]->cache; }

  /// Only while not running(). Takes the streams away; adds one.
  void clear_streams();
  Stream& add_stream(unsigned lcore);

  /// Starts every lcore that has streams. On an error none runs.
  [[nodiscard]] Result<void> start(const Settings& settings);
  /// Asks all, then waits for each. On an error (an lcore that hangs) it still runs.
  [[nodiscard]] Result<void> stop();
  /// Sends one burst of made-up frames by each stream; only while not running().
  void send_first(std::uint16_t burst);
  /// Gives the caches' packets to the pool; only while not running().
  void flush();

  /// What the present streams have counted for a port.
  [[nodiscard]] FlowStats flow_of(unsigned port) const;
  /// Since the last clear_counters().
  [[nodiscard]] std::vector<LcoreReport> report() const;
  void clear_counters();

 private:
  std::vector<std::unique_ptr<ForwardingLcore>> lcores_;
  std::vector<lcore::LcoreStats> cleared_;  ///< readings at the last clear
  lcore::CpuSet allowed_;
  bool running_ = false;
};

}  // namespace spinring::testpmd
