// What a driver could reach at most: a loop written by hand on the driver's rings, with nothing in it that is
// not needed to forward a frame (loop.hpp). Takes the place of a driver in bench/vhost/compare.py.
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cstdio>
#include <exception>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "apps/testpmd/report.hpp"
#include "apps/testpmd/stop_signals.hpp"
#include "bench/vhost/limit/front_end.hpp"
#include "bench/vhost/limit/loop.hpp"
#include "bench/vhost/limit/packed_loop.hpp"
#include "bench/vhost/limit/split_loop.hpp"
#include "lcore/poll_loop.hpp"
#include "lcore/thread.hpp"
#include "pmd/virtio/vhost_user/virtio_user_vdev.hpp"

namespace spinring::bench::limit {
namespace {

using namespace std::chrono_literals;

constexpr int kLookMilliseconds = 100;  ///< between looks at the other side
constexpr auto kStopTimeout = 5s;

struct Options {
  std::string vdev;
  std::string json;
  int cpu = 0;
  std::uint16_t buffers = 0;
  LoopOptions loop;
};

struct Bench {
  FrontEnd& port;
  const Options& options;
  const testpmd::StopSignals& signals;
  lcore::LcoreCounters counters;
};

/// Until a signal comes or the switch has gone. Whatever line comes, its answer is what the forwarder did.
void wait(const Bench& bench) {
  std::array<pollfd, 2> watched{{{bench.signals.fd(), POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}}};
  while (bench.port.alive() && watched[0].revents == 0) {
    if (::poll(watched.data(), watched.size(), kLookMilliseconds) <= 0 || watched[1].revents == 0) continue;
    std::array<char, 256> line{};
    if (::read(STDIN_FILENO, line.data(), line.size()) <= 0)
      watched[1].fd = -1;  // its end: not looked at again
    fmt::print("{}", testpmd::cycles_text(bench.counters.read()));
    std::fflush(stdout);
  }
}

template <class Queue, bool kMergeable, bool kLookAhead>
Result<void> forward(Bench& bench) {
  const auto allowed = lcore::allowed_cpus();
  if (!allowed) return tl::unexpected(allowed.error());
  const std::uint16_t ring = bench.options.loop.ring;
  const Buffers& buffers = bench.port.buffers();
  Rewrite rewrite;
  rewrite.bytes[sizeof(pmd::virtio::NetHeader)] = std::byte{2};  // some addresses of one's own
  Loop<Queue, kMergeable, kLookAhead> loop(Queue(bench.port.rx(), ring, buffers, pmd::virtio::kDescWrite),
                                           Queue(bench.port.tx(), ring, buffers, 0), buffers, rewrite,
                                           bench.options.loop);
  loop.fill();
  if (auto started = bench.port.start(); !started) return started;
  auto thread =
      lcore::LcoreThread::launch({1, bench.options.cpu}, *allowed, [&](const lcore::StopToken& stop) {
        lcore::poll_until(stop, bench.counters, {}, [&]() noexcept { return loop.poll(); });
      });
  if (!thread) return fail(std::move(thread));
  wait(bench);
  return (*thread)->stop(Deadline(kStopTimeout));
}

template <template <bool> class Queue, bool kLookAhead>
Result<void> forward(Bench& bench, const pmd::virtio::vhost_user::Config& config) {
  if (config.in_order) {
    return config.mergeable ? forward<Queue<true>, true, kLookAhead>(bench)
                            : forward<Queue<true>, false, kLookAhead>(bench);
  }
  return config.mergeable ? forward<Queue<false>, true, kLookAhead>(bench)
                          : forward<Queue<false>, false, kLookAhead>(bench);
}

Result<void> run(Options& options) {
  auto config = pmd::virtio::vhost_user::parse_virtio_user_vdev(options.vdev);
  if (!config) return fail(std::move(config));
  auto signals = testpmd::StopSignals::create();
  if (!signals) return fail(std::move(signals));
  options.loop.ring = config->queue_size;
  options.loop.batch = std::min<std::uint16_t>(options.loop.batch, config->queue_size / 4);
  if (options.buffers == 0) options.buffers = std::min<std::uint16_t>(config->queue_size / 2, 512);
  auto port = FrontEnd::open(*config, std::min(options.buffers, config->queue_size));
  if (!port) return fail(std::move(port));
  Bench bench{*port, options, *signals, {}};
  if (auto done = config->packed ? forward<PackedQueue, false>(bench, *config)
                                 : forward<SplitQueue, true>(bench, *config);
      !done)
    return done;
  const lcore::LcoreStats stats = bench.counters.read();
  if (!options.json.empty()) {
    const nlohmann::ordered_json lcore = {{"packets", stats.packets},
                                          {"cycles_per_packet", stats.cycles_per_packet()},
                                          {"busy_share", stats.busy_share()}};
    std::ofstream(options.json) << nlohmann::ordered_json{{"lcores", {lcore}}}.dump() << '\n';
  }
  return {};
}

int main_of(int argc, char** argv) {
  CLI::App app("forwards on a vhost-user port by a loop that has only what it cannot do without");
  Options options;
  app.add_option("--vdev", options.vdev, "the port, as spinring-testpmd takes it: virtio_user0,path=...,...")
      ->required();
  app.add_option("--cpu", options.cpu, "CPU to forward on");
  app.add_option("--burst", options.loop.burst, "frames of one poll at most")
      ->check(CLI::Range(1U, unsigned{kMostBurst}));
  app.add_option("--batch", options.loop.batch, "buffers published, and taken back, together at most");
  app.add_option("--buffers", options.buffers, "in circulation; 0: half of a ring, 512 at most");
  app.add_option("--json", options.json, "file of the last statistics");
  CLI11_PARSE(app, argc, argv);
  if (auto done = run(options); !done) {
    fmt::print(stderr, "spinring-vhost-limit: {}\n", done.error().message());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace spinring::bench::limit

int main(int argc, char** argv) {
  try {
    return spinring::bench::limit::main_of(argc, argv);
  } catch (const std::exception& error) {
    std::fputs(error.what(), stderr);
    return 1;
  }
}
