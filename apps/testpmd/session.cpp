#include "apps/testpmd/session.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "apps/testpmd/sizing.hpp"
#include "lcore/errors.hpp"
#include "pmd/errors.hpp"

namespace spinring::testpmd {
namespace {

/// DPDK's default peers: 02:00:00:00:00:0N.
pmd::MacAddress default_peer(unsigned port) noexcept {
  return {0x02, 0, 0, 0, 0, static_cast<std::uint8_t>(port)};
}

Result<void> check_queue_count(const PortSlot& slot, std::string_view option, unsigned asked, unsigned most) {
  if (asked <= most) return {};
  return fail(pmd::Errc::kBadArgument, fmt::format("{}={}", option, asked), slot.label(), 0,
              fmt::format("This port has {}: ask for 1 to {}", most, most));
}

Result<void> check_cores(const ForwardOptions& options, std::size_t forwarding) {
  if (options.forwarding_cores <= forwarding) return {};
  return fail(lcore::Errc::kBadCoreList, fmt::format("--nb-cores={}", options.forwarding_cores), "lcores", 0,
              fmt::format("There are {} to forward: name more CPUs with -l, the first of which does not",
                          forwarding));
}

}  // namespace

std::vector<lcore::LcoreSpec> forwarding_lcores(const std::vector<lcore::LcoreSpec>& lcores, unsigned limit) {
  if (lcores.size() <= 1) return lcores;
  std::vector<lcore::LcoreSpec> forwarding(lcores.begin() + 1, lcores.end());
  if (limit != 0 && limit < forwarding.size()) forwarding.resize(limit);
  return forwarding;
}

Session::Session(const ForwardOptions& options, const std::vector<lcore::LcoreSpec>& lcores,
                 const lcore::CpuSet& allowed, std::unique_ptr<mempool::Pool> pool,
                 std::vector<std::unique_ptr<pmd::AnyPort>> ports)
    : options_(options),
      next_mode_(options.mode),
      next_burst_(options.burst),
      pool_(std::move(pool)),
      forwarder_(lcores, *pool_, allowed) {
  unsigned number = 0;
  for (auto& port : ports) ports_.push_back(std::make_unique<PortSlot>(number++, std::move(port)));
}

Session::~Session() {
  // The lcores poll the ports' queues: they end first, however long it takes.
  (void)forwarder_.stop();
}

Result<std::unique_ptr<Session>> Session::create(const ForwardOptions& options,
                                                 const std::vector<lcore::LcoreSpec>& lcores,
                                                 const lcore::CpuSet& allowed, mempool::Memory& memory,
                                                 std::vector<std::unique_ptr<pmd::AnyPort>> ports) {
  auto forwarding = forwarding_lcores(lcores, options.forwarding_cores);
  if (auto ok = check_cores(options, forwarding.size()); !ok) return fail(std::move(ok));
  for (const lcore::LcoreSpec& spec : forwarding) {
    if (auto ok = lcore::check_cpu(spec.cpu, allowed); !ok) return fail(std::move(ok));
  }
  const auto packets =
      pool_packets(options, static_cast<unsigned>(ports.size()), static_cast<unsigned>(forwarding.size()));
  if (!packets) return tl::unexpected(packets.error());
  auto pool = mempool::Pool::create(memory, {"packets", *packets, options.buffer_length});
  if (!pool) return fail(std::move(pool));
  std::unique_ptr<Session> session(
      new Session(options, forwarding, allowed, std::move(*pool), std::move(ports)));
  session->plan_ = session->make_plan();
  if (auto ok = session->start_ports(); !ok) return fail(std::move(ok));
  return session;
}

LcorePlan Session::make_plan() const {
  TopologyInput input;
  for (const auto& slot : ports_) input.present.push_back(slot->present());
  input.rx_queues = options_.rx_queues;
  input.tx_queues = options_.tx_queues;
  input.mode = next_mode_;
  input.topology = options_.topology;
  input.lcores = forwarder_.lcores();
  return plan_streams(input);
}

Result<void> Session::start_ports() {
  for (auto& slot : ports_) {
    if (!slot->present()) continue;
    if (auto ok = start_port(*slot); !ok) return ok;
  }
  return {};
}

Result<void> Session::start_port(PortSlot& slot) {
  const pmd::PortInfo& info = slot.info();
  if (auto ok = check_queue_count(slot, "--rxq", options_.rx_queues, info.max_rx_queues); !ok) return ok;
  if (auto ok = check_queue_count(slot, "--txq", options_.tx_queues, info.max_tx_queues); !ok) return ok;
  pmd::PortConfig<pmd::SpinringPackets> config;
  for (std::uint16_t queue = 0; queue < options_.rx_queues; ++queue) {
    const unsigned lcore = lcore_of_rx(plan_, options_.mode, slot.number(), queue);
    config.rx.push_back(
        {ring_entries(options_.rx_ring, info.max_rx_ring), &forwarder_.cache(lcore), options_.rx_fill});
  }
  for (std::uint16_t queue = 0; queue < options_.tx_queues; ++queue) {
    const unsigned lcore = lcore_of_tx(plan_, options_.mode, slot.number(), queue);
    config.tx.push_back({ring_entries(options_.tx_ring, info.max_tx_ring), &forwarder_.cache(lcore)});
  }
  config.offloads = offloads_for(info);
  config.rss.types = options_.rss_types;
  config.mtu = options_.mtu;
  if (auto ok = slot.start(config); !ok) return ok;
  spdlog::info("{}: {} started, rx \"{}\", tx \"{}\", link {}", slot.label(), info.driver,
               slot.port().rx_path(), slot.port().tx_path(), to_string(slot.link()));
  return {};
}

/// What the options ask for by name must be there; of what sends on such frames, what the device has.
pmd::Offloads Session::offloads_for(const pmd::PortInfo& info) const {
  using pmd::Offload;
  pmd::Offloads offloads;
  const pmd::Offloads to_send = Offload::kTxChecksum | Offload::kTxSegment;
  if (options_.rx_checksum) offloads = offloads | Offload::kRxChecksum;
  if (options_.coalesce) offloads = offloads | Offload::kRxChecksum | Offload::kRxCoalesce;
  if (!offloads.empty()) offloads = offloads | (info.offloads & to_send);
  if (options_.rss_types != 0) offloads = offloads | Offload::kRss;
  return offloads;
}

Result<void> Session::check_coalescing() const {
  if (!options_.coalesce || !sends(options_.mode)) return {};
  for (const auto& slot : ports_) {
    if (slot->info().offloads.has(pmd::Offload::kTxSegment)) continue;
    return fail(pmd::Errc::kUnsupported, "--enable-lro: joined frames could not be sent on", slot->label(), 0,
                "The port does not cut frames into segments: leave it out, or use --forward-mode=rxonly");
  }
  return {};
}

Forwarder::Settings Session::forwarder_settings() const {
  return {options_.mode, options_.burst, options_.idle, options_.rx_checksum || options_.coalesce};
}

void Session::build_streams() {
  forwarder_.clear_streams();
  for (unsigned lcore = 0; lcore < plan_.size(); ++lcore) {
    for (const StreamPlan& plan : plan_[lcore]) {
      PortSlot& from = *ports_[plan.rx_port];
      PortSlot& to = *ports_[plan.tx_port];
      if (!from.running() || !to.running()) continue;
      Stream& stream = forwarder_.add_stream(lcore);
      stream.plan = plan;
      if (receives(options_.mode)) stream.rx = from.port().rx(plan.rx_queue);
      if (sends(options_.mode)) stream.tx = to.port().tx(plan.tx_queue);
      stream.source = to.info().mac;
      const auto peer = options_.peers.find(plan.tx_port);
      stream.peer = peer != options_.peers.end() ? peer->second : default_peer(plan.tx_port);
      stream.tx_length = options_.tx_length;
      stream.tx_retries = options_.tx_retries;
      stream.tx_offloads = offloads_for(to.info());
    }
  }
}

void Session::end_streams() {
  for (auto& slot : ports_) slot->end_of_flow(forwarder_.flow_of(slot->number()));
  forwarder_.clear_streams();
}

Result<void> Session::start(std::uint32_t tx_first) {
  if (forwarding()) {
    return fail(pmd::Errc::kBadState, "start", "forwarding", 0, "It runs already: stop it first");
  }
  if (tx_first != 0 && !sends(next_mode_)) {
    return fail(pmd::Errc::kBadArgument, "tx_first", "rxonly", 0, "This mode sends nothing: set another");
  }
  options_.mode = next_mode_;
  options_.burst = next_burst_;
  if (auto ok = check_coalescing(); !ok) return ok;
  if (LcorePlan plan = make_plan(); plan != plan_) {
    // Queues change lcores, so they change caches.
    plan_ = std::move(plan);
    if (auto ok = start_ports(); !ok) return ok;
  }
  build_streams();
  for (std::uint32_t burst = 0; burst < tx_first; ++burst) forwarder_.send_first(options_.burst);
  started_ = Clock::now();
  return forwarder_.start(forwarder_settings());
}

Result<void> Session::stop() {
  if (!forwarding()) return {};
  if (auto ok = forwarder_.stop(); !ok) return ok;
  past_duration_s_ += std::chrono::duration<double>(Clock::now() - started_).count();
  end_streams();
  return {};
}

double Session::duration_s() const {
  const double now = forwarding() ? std::chrono::duration<double>(Clock::now() - started_).count() : 0.0;
  return past_duration_s_ + now;
}

Result<void> Session::finish() {
  if (auto ok = stop(); !ok) return ok;
  for (auto& slot : ports_) {
    if (slot->present()) slot->stop();
  }
  forwarder_.flush();
  return {};
}

Report Session::report() const {
  Report report;
  report.mode = options_.mode;
  report.duration_s = duration_s();
  for (const auto& slot : ports_) report.ports.push_back(slot->report(forwarder_.flow_of(slot->number())));
  report.lcores = forwarder_.report();
  report.pool = {pool_->capacity(), pool_->available(), pool_->exhausted()};
  return report;
}

void Session::clear_stats() {
  for (auto& slot : ports_) slot->clear_stats(forwarder_.flow_of(slot->number()));
  forwarder_.clear_counters();
  past_duration_s_ = 0;
  started_ = Clock::now();
}

bool Session::any_port_left() const noexcept {
  return std::any_of(ports_.begin(), ports_.end(), [](const auto& slot) { return slot->present(); });
}

void Session::refresh_link(PortSlot& slot) {
  if (slot.running() && slot.refresh_link()) {
    spdlog::info("{}: link {}", slot.label(), to_string(slot.link()));
  }
}

template <class Change>
Result<void> Session::between_lcores(Change change) {
  const bool was_forwarding = forwarding();
  if (auto ok = stop(); !ok) return ok;
  change();
  if (!was_forwarding) return {};
  build_streams();
  started_ = Clock::now();
  return forwarder_.start(forwarder_settings());
}

Result<void> Session::remove_port(PortSlot& slot) {
  spdlog::warn("{}: the device goes away; the port is closed", slot.label());
  return between_lcores([&slot] { slot.remove(); });
}

Result<void> Session::recover(PortSlot& slot) {
  return between_lcores([&slot] {
    if (auto ok = slot.recover(); !ok) {
      spdlog::error("{}: restart failed: {}", slot.label(), ok.error().message());
    } else {
      spdlog::warn("{}: restarted after a fault", slot.label());
    }
  });
}

Result<void> Session::check_ports() {
  for (auto& slot : ports_) {
    if (!slot->present()) continue;
    if (slot->running() && !slot->faulted()) {
      const auto state = slot->port().check();
      if (state) continue;
      if (state.error().code == pmd::Errc::kRemoved) {
        if (auto ok = remove_port(*slot); !ok) return ok;
        continue;
      }
      slot->set_faulted(true);
      spdlog::error("{}", state.error().message());
      continue;  // until the next look the lcores take what the device has delivered
    }
    if (slot->faulted() && options_.auto_recover && slot->may_recover()) {
      if (auto ok = recover(*slot); !ok) return ok;
    }
  }
  return {};
}

}  // namespace spinring::testpmd
