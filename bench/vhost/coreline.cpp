// How long a cache line takes from one CPU to another and back: two pinned threads bounce a counter. Prints
// one line of JSON. The host of a virtual machine moves its CPUs about, and this is what changes then.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <thread>
#include <vector>

#include "base/cpu.hpp"
#include "base/time.hpp"
#include "bench/vhost/slices.hpp"
#include "lcore/cpu_set.hpp"

namespace spinring::bench::vhost {
namespace {

constexpr std::uint64_t kTripsOfSample = 200;

struct alignas(kCacheLine) Ball {
  std::atomic<std::uint64_t> trips{0};
};

/// Answers every odd number with the next even one, until told to stop.
void answer(Ball& ball, const std::atomic<bool>& stop) {
  std::uint64_t next = 1;
  while (!stop.load(std::memory_order_relaxed)) {
    if (ball.trips.load(std::memory_order_acquire) != next) continue;
    ball.trips.store(next + 1, std::memory_order_release);
    next += 2;
  }
}

/// Nanoseconds a round trip, one value for each sample.
std::vector<double> measure(Ball& ball, double seconds) {
  const double ticks_of_ns = static_cast<double>(tsc_hz()) / 1e9;
  std::vector<double> samples;
  const Deadline deadline(
      std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds)));
  std::uint64_t next = 1;
  while (!deadline.passed()) {
    const std::uint64_t start = read_tsc();
    for (std::uint64_t i = 0; i < kTripsOfSample; ++i, next += 2) {
      ball.trips.store(next, std::memory_order_release);
      while (ball.trips.load(std::memory_order_acquire) != next + 1) {
      }
    }
    samples.push_back(static_cast<double>(read_tsc() - start) / ticks_of_ns /
                      static_cast<double>(kTripsOfSample));
  }
  return samples;
}

int run(int argc, char** argv) {
  CLI::App app("round trip of a cache line between two CPUs");
  std::vector<int> cpus{0, 1};
  double seconds = 0.05;
  app.add_option("--cpus", cpus, "two CPUs")->delimiter(',')->expected(2);
  app.add_option("--duration", seconds, "seconds");
  CLI11_PARSE(app, argc, argv);
  const auto allowed = lcore::allowed_cpus();
  const auto pinned = allowed ? lcore::pin_this_thread(cpus[0], *allowed) : tl::unexpected(allowed.error());
  if (!pinned) {
    fmt::print(stderr, "spinring-coreline: {}\n", pinned.error().message());
    return 1;
  }
  Ball ball;
  std::atomic<bool> stop{false};
  std::atomic<int> ready{0};
  std::jthread other([&] {
    const bool good = lcore::pin_this_thread(cpus[1], *allowed).has_value();
    ready.store(good ? 1 : -1);
    if (good) answer(ball, stop);
  });
  if (!wait_until([&] { return ready.load() != 0; }, Deadline(std::chrono::seconds(5))) || ready.load() < 0) {
    fmt::print(stderr, "spinring-coreline: no thread on CPU {}. Name a CPU of this process with --cpus.\n",
               cpus[1]);
    std::_Exit(1);  // the other thread may never run, and joining it would never end
  }
  const Spread spread = spread_of(measure(ball, seconds));
  stop.store(true);
  fmt::print(
      R"({{"cpus": [{}, {}], "ns": {{"median": {:.1f}, "min": {:.1f}, "p25": {:.1f}, "p75": {:.1f}, "max": {:.1f}}}}})"
      "\n",
      cpus[0], cpus[1], spread.median, spread.least, spread.lower, spread.upper, spread.most);
  return 0;
}

}  // namespace
}  // namespace spinring::bench::vhost

int main(int argc, char** argv) {
  try {
    return spinring::bench::vhost::run(argc, argv);
  } catch (const std::exception& error) {
    std::fputs(error.what(), stderr);
    return 1;
  }
}
