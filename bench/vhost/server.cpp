#include "bench/vhost/server.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "base/cpu.hpp"
#include "base/time.hpp"
#include "bench/vhost/errors.hpp"
#include "lcore/cpu_set.hpp"

namespace spinring::bench::vhost {
namespace {

constexpr int kIdleWait = 10;          ///< ms asleep between looks while no queue runs
constexpr double kDrainSeconds = 2.0;  ///< for frames on their way when a run ends
constexpr double kQuietSeconds = 0.5;  ///< without one: all have come, or the driver is off its CPU for long
constexpr double kPatienceSeconds = 2e-3;
constexpr double kUnlimitedSeconds = 120.0;  ///< slices kept of a run without end

Clock::duration seconds(double value) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(value));
}

/// From one frame to the next.
double pace_ticks(double rate) { return rate > 0 ? static_cast<double>(tsc_hz()) / (rate * 1e6) : 0; }

ServerOptions completed(ServerOptions options, const std::optional<Ledger>& ledger) {
  if (ledger) options.backend.traffic.records = ledger->records();
  options.backend.ports = static_cast<unsigned>(1 + options.further.size());
  options.backend.traffic.pace_ticks = pace_ticks(options.rate);
  options.backend.patience_ticks =
      static_cast<std::uint64_t>(static_cast<double>(tsc_hz()) * kPatienceSeconds);
  return options;
}

}  // namespace

Result<std::unique_ptr<Server>> Server::open(const ServerOptions& options) {
  if (options.cpu >= 0) {
    const auto allowed = lcore::allowed_cpus();
    if (!allowed) return tl::unexpected(allowed.error());
    if (auto pinned = lcore::pin_this_thread(options.cpu, *allowed); !pinned) return fail(std::move(pinned));
  }
  std::unique_ptr<StatsFile> stats;
  if (!options.stats_file.empty()) {
    auto file = StatsFile::open(options.stats_file, true);
    if (!file) return fail(std::move(file));
    stats = std::make_unique<StatsFile>(std::move(*file));
  }
  std::unique_ptr<Listener> listener;
  if (!options.client) {
    auto opened = Listener::open(options.socket);
    if (!opened) return fail(std::move(opened));
    listener = std::make_unique<Listener>(std::move(*opened));
  }
  std::optional<Ledger> ledger;
  if (!options.ledger.empty()) {
    auto file = Ledger::open(options.ledger, options.backend.pairs);
    if (!file) return fail(std::move(file));
    ledger.emplace(std::move(*file));
  }
  const ServerOptions whole = completed(options, ledger);
  std::unique_ptr<Server> server(new Server(whole, std::move(listener), std::move(stats), std::move(ledger)));
  if (auto added = server->add_further(); !added) return fail(std::move(added));
  return server;
}

Result<void> Server::add_further() {
  for (const std::string& socket : options_.further) {
    auto listener = Listener::open(socket);
    if (!listener) return fail(std::move(listener));
    const auto number = static_cast<unsigned>(further_.size() + 1);
    further_.push_back({std::move(*listener), Backend(backend_, number), std::nullopt});
  }
  return {};
}

Server::Server(const ServerOptions& options, std::unique_ptr<Listener> listener,
               std::unique_ptr<StatsFile> stats, std::optional<Ledger> ledger)
    : options_(options),
      listener_(std::move(listener)),
      stats_(std::move(stats)),
      ledger_(std::move(ledger)),
      backend_(options_.backend),
      recorder_(tsc_hz(), options_.warm_up, options_.seconds > 0 ? options_.seconds : kUnlimitedSeconds,
                options_.gap) {}

Result<Channel> Server::next_front_end() {
  const Deadline deadline(seconds(options_.timeout));
  auto socket = listener_ ? listener_->accept(deadline) : connect_to(options_.socket, deadline);
  if (!socket) return fail(std::move(socket));
  ++sessions_;
  return Channel(std::move(*socket));
}

Result<void> Server::messages(Backend& backend, Channel& channel, int milliseconds) {
  while (channel.readable(milliseconds)) {
    milliseconds = 0;
    auto message = channel.receive();
    if (!message) return fail(std::move(message));
    if (options_.verbose) {
      fmt::print(stderr, "vhost-user request {}, flags {:#x}, {} bytes, {} descriptors\n",
                 static_cast<std::uint32_t>(message->request), message->flags, message->size,
                 message->fds.size());
    }
    auto reply = backend.handle(std::move(*message));
    if (!reply) return fail(std::move(reply));
    if (*reply) {
      if (auto sent = channel.send(**reply); !sent) return sent;
    }
  }
  return {};
}

Result<void> Server::all_messages(Channel& channel) {
  if (auto done = messages(backend_, channel, backend_.running() ? 0 : kIdleWait); !done) return done;
  for (Further& port : further_) {
    if (!port.channel) {
      auto socket = port.listener.accept(Deadline(Clock::duration::zero()));
      if (!socket) continue;  // not yet
      port.channel.emplace(std::move(*socket));
    }
    if (auto done = messages(port.backend, *port.channel, port.backend.running() ? 0 : kIdleWait); !done)
      return done;
  }
  if (backend_.running()) {
    negotiated_ = backend_.negotiated();
    publish_rings();
  }
  return {};
}

bool Server::pass(std::uint64_t now) noexcept {
  bool moved = backend_.pass(now);
  for (Further& port : further_) moved |= port.backend.pass(now);
  return moved;
}

bool Server::running() const noexcept {
  return backend_.running() &&
         std::ranges::all_of(further_, [](const Further& port) { return port.backend.running(); });
}

void Server::disconnect() noexcept {
  backend_.disconnect();
  for (Further& port : further_) {
    port.backend.disconnect();
    port.channel.reset();
  }
}

bool Server::measuring() noexcept {
  const TrafficCounters& counters = backend_.traffic().counters();
  // Frames given to a driver that is not polling yet fill the ring and stop: not traffic.
  const TrafficOptions& wanted = options_.backend.traffic;
  return wanted.transmit ? counters.transmitted > 0
                         : counters.received > std::uint64_t{2} * backend_.ring_size();
}

void Server::publish() noexcept {
  if (!stats_) return;
  const TrafficCounters& counters = backend_.traffic().counters();
  stats_->stats().received.store(counters.received, std::memory_order_relaxed);
  stats_->stats().transmitted.store(counters.transmitted, std::memory_order_release);
}

void Server::publish_rings() noexcept {
  if (!stats_) return;
  auto to = stats_->stats().rings.begin();
  for (const std::size_t queue : {std::size_t{0}, std::size_t{1}}) {
    for (const Backend::Area& area : backend_.ring_areas(queue)) {
      to->start.store(area.start, std::memory_order_relaxed);
      to++->bytes.store(area.bytes, std::memory_order_relaxed);
    }
  }
}

bool Server::go_on(const NextWindow& next_window) {
  if (!next_window) return false;
  if (backend_.traffic().probes() != nullptr) drain();  // so that none comes back to the next
  const std::optional<Window> window = next_window(*this);
  if (!window) return false;
  recorder_.begin(window->warm_up, window->seconds);
  backend_.traffic().begin(pace_ticks(window->rate));
  return true;
}

Result<Ending> Server::serve(Channel& channel, const std::atomic<bool>& interrupted,
                             const NextWindow& next_window) {
  const Deadline patience(seconds(options_.timeout));
  const std::uint64_t look_ticks = tsc_hz() / 1000;
  std::uint64_t looked = read_tsc();
  bool look = true;
  std::uint64_t now = read_tsc();
  recorder_.resume(now);
  while (!interrupted.load(std::memory_order_relaxed)) {
    if (look) {
      if (auto done = all_messages(channel); !done) return fail(std::move(done));
      if (!flowing_ && patience.passed()) return Ending::kNoTraffic;
      look = false;
      looked = now = read_tsc();
      recorder_.resume(looked);
    }
    const bool moved = pass(now);
    if (moved) publish();
    now = read_tsc();
    const TrafficCounters& counters = backend_.traffic().counters();
    if (flowing_) {
      look = recorder_.pass(now, counters.received, counters.transmitted);
      if (Probes* const probes = backend_.traffic().probes(); look && probes != nullptr)
        probes->end_slice(recorder_.last_counts());
      if (look && options_.seconds > 0 && recorder_.full() && !go_on(next_window)) return Ending::kDone;
    } else {
      flowing_ = measuring();
      look = now - looked > look_ticks || !running();
    }
    if (!moved) {
      for (unsigned i = 0; i < options_.idle_pauses; ++i) cpu_pause();
    }
  }
  return Ending::kSignal;
}

void Server::drain() noexcept {
  backend_.traffic().stop_giving();
  const TrafficCounters& counters = backend_.traffic().counters();
  const bool returns = options_.backend.traffic.receive && options_.backend.traffic.transmit;
  const Deadline deadline(seconds(kDrainSeconds));
  Deadline quiet(seconds(kQuietSeconds));
  while (returns && !quiet.passed() && !deadline.passed()) {
    const std::uint64_t before = counters.transmitted;
    (void)pass(read_tsc());
    if (counters.transmitted != before) quiet = Deadline(seconds(kQuietSeconds));
  }
  if (Probes* const probes = backend_.traffic().probes()) probes->end_slice(false);
  publish();
}

Result<Ending> Server::run(const std::atomic<bool>& interrupted, const NextWindow& next_window) {
  while (true) {
    auto channel = next_front_end();
    if (!channel) {
      if (interrupted.load() || sessions_ > 0)
        return interrupted.load() ? Ending::kSignal : Ending::kNoTraffic;
      return fail(std::move(channel));
    }
    auto ending = serve(*channel, interrupted, next_window);
    if (!ending && ending.error().code != Errc::kDisconnected) return ending;
    if (ending) {
      if (backend_.running()) drain();
      disconnect();
      return ending;
    }
    disconnect();
    if (sessions_ >= options_.sessions) return Ending::kDisconnected;
  }
}

}  // namespace spinring::bench::vhost
