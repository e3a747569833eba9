#include "apps/testpmd/forwarder.hpp"

#include <algorithm>
#include <array>

#include "apps/testpmd/engines/io.hpp"
#include "apps/testpmd/engines/mac.hpp"
#include "apps/testpmd/engines/macswap.hpp"
#include "apps/testpmd/engines/noisy.hpp"
#include "apps/testpmd/engines/rxonly.hpp"
#include "apps/testpmd/engines/settle.hpp"
#include "apps/testpmd/engines/txonly.hpp"
#include "apps/testpmd/limits.hpp"
#include "lcore/poll_loop.hpp"

namespace spinring::testpmd {
namespace {

using namespace std::chrono_literals;

/// A poll takes microseconds; an lcore that has not looked at its token in this time hangs.
constexpr auto kStopTimeout = 5s;

template <Engine E>
struct Flow {
  explicit Flow(Stream& of) : stream(of), engine(of) {}
  Stream& stream;
  E engine;
};

/// The whole life of a forwarding lcore, with the loop of one engine inlined.
template <Engine E>
void forward(ForwardingLcore& lcore, const Forwarder::Settings& settings, const lcore::StopToken& stop) {
  std::vector<Flow<E>> flows;
  flows.reserve(lcore.streams.size());
  for (Stream& stream : lcore.streams) flows.emplace_back(stream);
  std::array<mempool::Packet*, kMaxBurst> room{};
  const Packets burst = Packets(room).first(settings.burst);
  lcore::poll_until(stop, lcore.counters, settings.idle, [&]() noexcept {
    std::uint64_t packets = 0;
    for (Flow<E>& flow : flows) packets += poll_stream(flow.stream, flow.engine, lcore.cache, burst);
    return packets;
  });
  if constexpr (Holds<E>) {
    for (Flow<E>& flow : flows) {
      std::vector<mempool::Packet*> kept = flow.engine.release();
      for (Packets left = kept; !left.empty();) {
        const Packets some = left.first(std::min<std::size_t>(left.size(), settings.burst));
        send<true>(flow.stream, lcore.cache, some);
        left = left.subspan(some.size());
      }
    }
  }
  if constexpr (E::kSends) {
    for (Flow<E>& flow : flows) (void)flow.stream.tx.burst({});  // what the last bursts held back
  }
}

using Forward = void (*)(ForwardingLcore&, const Forwarder::Settings&, const lcore::StopToken&);

template <Engine E>
Forward forward_of(bool settles) noexcept {
  return settles ? forward<Settling<E>> : forward<E>;
}

Forward forward_of(const Forwarder::Settings& settings) noexcept {
  switch (settings.mode) {
    case ForwardMode::kIo:
      break;
    case ForwardMode::kMac:
      return forward_of<MacEngine>(settings.settles);
    case ForwardMode::kMacSwap:
      return forward_of<MacSwapEngine>(settings.settles);
    case ForwardMode::kRxOnly:
      return forward<RxOnlyEngine>;
    case ForwardMode::kTxOnly:
      return forward<TxOnlyEngine>;
    case ForwardMode::kNoisy:
      return forward_of<NoisyEngine>(settings.settles);
  }
  return forward_of<IoEngine>(settings.settles);
}

}  // namespace

Forwarder::Forwarder(const std::vector<lcore::LcoreSpec>& lcores, mempool::Pool& pool, lcore::CpuSet allowed)
    : cleared_(lcores.size()), allowed_(std::move(allowed)) {
  for (const lcore::LcoreSpec& spec : lcores) {
    lcores_.push_back(std::make_unique<ForwardingLcore>(spec, pool));
  }
}

void Forwarder::clear_streams() {
  for (auto& lcore : lcores_) lcore->streams.clear();
}

Stream& Forwarder::add_stream(unsigned lcore) { return lcores_[lcore]->streams.emplace_back(); }

Result<void> Forwarder::start(const Settings& settings) {
  running_ = true;
  for (auto& lcore : lcores_) {
    if (lcore->streams.empty()) continue;
    auto thread =
        lcore::LcoreThread::launch(lcore->spec, allowed_,
                                   [&lcore = *lcore, settings, run = forward_of(settings)](
                                       const lcore::StopToken& stop) { run(lcore, settings, stop); });
    if (!thread) {
      auto failed = fail(std::move(thread));
      // Those that were launched a moment ago end at once.
      if (auto ok = stop(); !ok) return ok;
      return failed;
    }
    lcore->thread = std::move(*thread);
  }
  return {};
}

Result<void> Forwarder::stop() {
  for (auto& lcore : lcores_) {
    if (lcore->thread) lcore->thread->request_stop();
  }
  const Deadline deadline(kStopTimeout);
  for (auto& lcore : lcores_) {
    if (!lcore->thread) continue;
    if (auto ok = lcore->thread->stop(deadline); !ok) return ok;
    lcore->thread.reset();
  }
  running_ = false;
  return {};
}

void Forwarder::send_first(std::uint16_t burst) {
  std::array<mempool::Packet*, kMaxBurst> room{};
  for (auto& lcore : lcores_) {
    for (Stream& stream : lcore->streams) {
      TxOnlyEngine engine(stream);
      (void)poll_stream(stream, engine, lcore->cache, Packets(room).first(burst));
    }
  }
}

void Forwarder::flush() {
  for (auto& lcore : lcores_) lcore->cache.flush();
}

FlowStats Forwarder::flow_of(unsigned port) const {
  FlowStats sum;
  for (const auto& lcore : lcores_) {
    for (const Stream& stream : lcore->streams) {
      if (stream.plan.rx_port == port) {
        sum.received += stream.counters.received.value();
        sum.consumed += stream.counters.consumed.value();
      }
      if (stream.plan.tx_port == port) {
        sum.generated += stream.counters.generated.value();
        sum.sent += stream.counters.sent.value();
        sum.tx_dropped += stream.counters.tx_dropped.value();
      }
    }
  }
  return sum;
}

std::vector<LcoreReport> Forwarder::report() const {
  std::vector<LcoreReport> all;
  for (std::size_t i = 0; i < lcores_.size(); ++i) {
    lcore::LcoreStats stats = lcores_[i]->counters.read();
    const lcore::LcoreStats& base = cleared_[i];
    stats.polls -= base.polls;
    stats.empty_polls -= base.empty_polls;
    stats.packets -= base.packets;
    stats.busy_cycles -= base.busy_cycles;
    stats.total_cycles -= base.total_cycles;
    all.push_back({lcores_[i]->spec, stats});
  }
  return all;
}

void Forwarder::clear_counters() {
  for (std::size_t i = 0; i < lcores_.size(); ++i) cleared_[i] = lcores_[i]->counters.read();
}

}  // namespace spinring::testpmd
