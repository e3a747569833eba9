// The packet pool beside rte_mempool (ring_mp_mc) in one program: bursts of 1 to 256 taken and given back,
// with and without the per-lcore cache, by one thread and by two. Prints the ratio of the rates with its
// spread.
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/cpu.hpp"
#include "base/time.hpp"
#include "bench/compare_reporter.hpp"
#include "bench/rte_pool.hpp"
#include "mempool/pool.hpp"

namespace spinring::bench {
namespace {

constexpr std::uint32_t kObjects = 8191;  // what suits rte_ring best: a power of two less one
constexpr std::uint32_t kRteCache = 512;  // the largest that DPDK allows
constexpr std::uint16_t kBuffer = 2304;
constexpr std::size_t kMostBurst = 256;
/// More than a cache holds: every round passes through the shared ring.
constexpr std::size_t kSpill = 2048;

std::vector<int> allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cpus;
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

void pin_to(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  ::pthread_setaffinity_np(::pthread_self(), sizeof(set), &set);
}

/// What both sides work on; made before the first row.
struct World {
  std::vector<int> cpus;
  std::unique_ptr<mempool::Memory> memory;
  std::unique_ptr<mempool::Pool> pool;
  RtePool rte;
};
World world;

// ---- The two sides: one thread's way to its pool.

class SpinringCached {
 public:
  using Object = mempool::Packet*;
  std::size_t get(Object* out, std::size_t count) { return cache_.get(std::span(out, count)); }
  void put(Object* in, std::size_t count) { cache_.put(std::span<Object const>(in, count)); }

 private:
  mempool::PoolCache cache_{*world.pool};
};

class SpinringShared {
 public:
  using Object = mempool::Packet*;
  std::size_t get(Object* out, std::size_t count) { return world.pool->get(std::span(out, count)); }
  void put(Object* in, std::size_t count) { world.pool->put(std::span<Object const>(in, count)); }
};

class RteCached {
 public:
  using Object = void*;
  std::size_t get(Object* out, std::size_t count) {
    return rte_mempool_get_bulk(pool_, out, static_cast<unsigned>(count)) == 0 ? count : 0;
  }
  void put(Object* in, std::size_t count) { rte_mempool_put_bulk(pool_, in, static_cast<unsigned>(count)); }
  ~RteCached() { rte_mempool_cache_flush(rte_mempool_default_cache(pool_, rte_lcore_id()), pool_); }

 private:
  RteThread thread_;
  rte_mempool* pool_ = world.rte.get();
};

class RteShared {
 public:
  using Object = void*;
  std::size_t get(Object* out, std::size_t count) {
    return rte_mempool_generic_get(pool_, out, static_cast<unsigned>(count), nullptr) == 0 ? count : 0;
  }
  void put(Object* in, std::size_t count) {
    rte_mempool_generic_put(pool_, in, static_cast<unsigned>(count), nullptr);
  }

 private:
  RteThread thread_;
  rte_mempool* pool_ = world.rte.get();
};

// ---- The rows

/// Takes a burst and gives it back.
template <class Side>
void take_and_give(benchmark::State& state, std::size_t burst) {
  pin_to(world.cpus[static_cast<std::size_t>(state.thread_index()) % world.cpus.size()]);
  Side side;
  std::array<typename Side::Object, kMostBurst> objects{};
  for (auto _ : state) {
    if (side.get(objects.data(), burst) != burst) state.SkipWithError("the pool ran empty");
    benchmark::DoNotOptimize(objects.data());
    benchmark::ClobberMemory();
    side.put(objects.data(), burst);
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(burst) * state.iterations());
}

/// The same with the burst known to the compiler.
template <class Side, std::size_t kBurst>
void take_and_give_fixed(benchmark::State& state) {
  take_and_give<Side>(state, kBurst);
}

/// Takes more than a cache holds, in bursts, then gives it all back: the cost of refill and flush.
template <class Side>
void spill(benchmark::State& state, std::size_t burst) {
  pin_to(world.cpus[static_cast<std::size_t>(state.thread_index()) % world.cpus.size()]);
  Side side;
  std::array<typename Side::Object, kSpill> objects{};
  for (auto _ : state) {
    for (std::size_t at = 0; at < kSpill; at += burst) {
      if (side.get(&objects[at], burst) != burst) state.SkipWithError("the pool ran empty");
    }
    benchmark::DoNotOptimize(objects.data());
    benchmark::ClobberMemory();
    for (std::size_t at = 0; at < kSpill; at += burst) side.put(&objects[at], burst);
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(kSpill) * state.iterations());
}

/// Rows in the order of the table.
std::vector<std::string> rows;

template <class Body>
void add_row(const std::string& side, const std::string& what, int threads, Body body) {
  const std::string row = fmt::format("{}, {} thread{}", what, threads, threads == 1 ? "" : "s");
  benchmark::RegisterBenchmark((side + "/" + row).c_str(), body)->Threads(threads)->UseRealTime();
  if (std::find(rows.begin(), rows.end(), row) == rows.end()) rows.push_back(row);
}

template <class Cached, class Shared>
void add_side(const std::string& side, int most_threads) {
  for (int threads = 1; threads <= most_threads; ++threads) {
    for (const std::size_t burst : {1UL, 4UL, 8UL, 32UL, 256UL}) {
      add_row(side, fmt::format("cached {:>3}", burst), threads,
              [burst](benchmark::State& state) { take_and_give<Cached>(state, burst); });
    }
    for (const std::size_t burst : {1UL, 4UL, 8UL, 32UL, 256UL}) {
      add_row(side, fmt::format("uncached {:>3}", burst), threads,
              [burst](benchmark::State& state) { take_and_give<Shared>(state, burst); });
    }
    add_row(side, "cached, spilling  32", threads, [](benchmark::State& state) { spill<Cached>(state, 32); });
  }
  add_row(side, "cached, constant   1", 1, take_and_give_fixed<Cached, 1>);
  add_row(side, "cached, constant  32", 1, take_and_give_fixed<Cached, 32>);
}

/// A cache line's way to the other CPU and back. Rows of two threads depend on it, and a host may move its
/// virtual CPUs: results of runs that differ in it cannot be compared.
double round_trip_ns() {
  constexpr int kRounds = 20000;
  struct alignas(kCacheLine) {
    std::atomic<int> value = 0;
  } line;
  std::atomic<bool> started = false;
  std::thread other([&] {
    pin_to(world.cpus[1]);
    started = true;
    for (int i = 0; i < kRounds; ++i) {
      while (line.value.load(std::memory_order_acquire) != 2 * i + 1) cpu_pause();
      line.value.store(2 * i + 2, std::memory_order_release);
    }
  });
  pin_to(world.cpus[0]);
  while (!started) std::this_thread::yield();  // it begins on this thread's CPU
  const auto start = Clock::now();
  for (int i = 0; i < kRounds; ++i) {
    line.value.store(2 * i + 1, std::memory_order_release);
    while (line.value.load(std::memory_order_acquire) != 2 * i + 2) cpu_pause();
  }
  const std::chrono::duration<double, std::nano> took = Clock::now() - start;
  other.join();
  return took.count() / kRounds;
}

void print_round_trip(const char* when) {
  if (world.cpus.size() > 1)
    fmt::print(stderr, "round trip between the two CPUs {}: {:.0f} ns\n", when, round_trip_ns());
}

/// Both pools in memory of the same kind: hugepages where there are enough, else normal pages.
bool make_world() {
  world.cpus = allowed_cpus();
  mempool::MemoryConfig config{.bytes = 32UL << 20};
  auto memory = mempool::Memory::create(config);
  const bool hugepages = memory && start_eal(true, world.cpus.at(0));
  if (!hugepages) {
    config.hugepages = false;
    memory = mempool::Memory::create(config);
    if (!memory || !start_eal(false, world.cpus.at(0))) {
      fmt::print(stderr, "no memory for the pools: {}\n", memory ? "rte_eal_init" : memory.error().message());
      return false;
    }
  }
  world.memory = std::move(*memory);
  auto pool =
      mempool::Pool::create(*world.memory, {.name = "bench", .packets = kObjects, .buffer_length = kBuffer});
  world.rte = make_rte_pool(kObjects, sizeof(mempool::Packet) + kBuffer, kRteCache);
  if (!pool || world.rte == nullptr) {
    fmt::print(stderr, "no pools: {}\n", pool ? "rte_mempool" : pool.error().message());
    return false;
  }
  world.pool = std::move(*pool);
  fmt::print(stderr, "{} objects in {}\n", kObjects, hugepages ? "hugepages" : "normal pages");
  return true;
}

}  // namespace
}  // namespace spinring::bench

int main(int argc, char** argv) {
  using namespace spinring::bench;
  // Before the user's arguments, so that those win.
  std::vector<std::string> words = {argv[0], "--benchmark_enable_random_interleaving=true",
                                    "--benchmark_repetitions=21", "--benchmark_min_time=0.02"};
  words.insert(words.end(), argv + 1, argv + argc);
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  int count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 2;
  if (!make_world()) return 1;

  const int most_threads = world.cpus.size() > 1 ? 2 : 1;
  add_side<SpinringCached, SpinringShared>("spinring", most_threads);
  add_side<RteCached, RteShared>("rte", most_threads);
  add_side<RteCached, RteShared>("rte again", 1);
  CompareReporter reporter("spinring", "rte", "rte again", rows);
  print_round_trip("before");
  benchmark::RunSpecifiedBenchmarks(&reporter);
  print_round_trip("after");
  benchmark::Shutdown();
  world.pool.reset();  // before the memory that it lies in
  world.memory.reset();
  world.rte.reset();
  return 0;
}
