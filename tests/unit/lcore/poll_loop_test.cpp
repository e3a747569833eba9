#include "lcore/poll_loop.hpp"

#include <gtest/gtest.h>

#include <atomic>

#include "base/time.hpp"
#include "lcore/thread.hpp"

namespace spinring::lcore {
namespace {

using namespace std::chrono_literals;

void spin_cycles(std::uint64_t cycles) {
  const std::uint64_t end = read_tsc() + cycles;
  while (read_tsc() < end) cpu_pause();
}

TEST(PollLoop, CountsPollsAndPackets) {
  StopToken stop;
  LcoreCounters counters;
  int call = 0;
  poll_until(stop, counters, {.kind = Idle::kSpin}, [&]() -> std::uint32_t {
    if (++call == 10) stop.request();
    return call % 2 == 0 ? 32 : 0;
  });
  const LcoreStats stats = counters.read();
  EXPECT_EQ(stats.polls, 10U);
  EXPECT_EQ(stats.empty_polls, 5U);
  EXPECT_EQ(stats.packets, 160U);
}

TEST(PollLoop, ARequestedStopPollsNoMore) {
  StopToken stop;
  stop.request();
  LcoreCounters counters;
  poll_until(stop, counters, {}, []() -> std::uint32_t {
    ADD_FAILURE();
    return 0;
  });
  EXPECT_EQ(counters.read().polls, 0U);
}

TEST(PollLoop, EmptyPollsAreNotChargedToPackets) {
  StopToken stop;
  LcoreCounters counters;
  constexpr std::uint64_t kBusy = 200'000;
  constexpr std::uint64_t kEmpty = 2'000'000;
  int call = 0;
  poll_until(stop, counters, {.kind = Idle::kPause}, [&]() -> std::uint32_t {
    const bool empty = ++call % 2 == 0;
    if (call == 20) stop.request();
    spin_cycles(empty ? kEmpty : kBusy);
    return empty ? 0 : 100;
  });
  const LcoreStats stats = counters.read();
  EXPECT_GE(stats.busy_cycles, 10 * kBusy);
  EXPECT_GE(stats.total_cycles - stats.busy_cycles, 10 * kEmpty);
  EXPECT_DOUBLE_EQ(stats.cycles_per_packet(), static_cast<double>(stats.busy_cycles) / 1000.0);
  EXPECT_LT(stats.busy_share(), 1.0);
}

TEST(PollLoop, SleepIsIdleTimeAndEndsWithTraffic) {
  StopToken stop;
  LcoreCounters counters;
  int call = 0;
  const IdlePolicy policy{.kind = Idle::kSleep, .empty_polls_before_sleep = 8, .sleep = 40ms};
  const Clock::time_point start = Clock::now();
  poll_until(stop, counters, policy, [&]() -> std::uint32_t {
    if (++call == 18) stop.request();
    return call == 9 ? 1 : 0;  // after eight empty polls, of which the eighth slept
  });
  const auto took = Clock::now() - start;
  EXPECT_GE(took, 120ms) << "slept after polls 8 and 17, and 18";
  const LcoreStats stats = counters.read();
  EXPECT_EQ(stats.packets, 1U);
  EXPECT_LT(stats.busy_cycles, tsc_hz() / 1000 * 30) << "the sleep before the packet is not part of it";
  EXPECT_GT(stats.total_cycles, tsc_hz() / 1000 * 100);
}

TEST(PollLoop, ThatNeverHadPacketsHasNoCost) {
  EXPECT_EQ(LcoreStats{}.cycles_per_packet(), 0.0);
  EXPECT_EQ(LcoreStats{}.busy_share(), 0.0);
}

TEST(PollLoop, CountersAreReadWhileTheLcoreRuns) {
  const CpuSet allowed = allowed_cpus().value();
  LcoreCounters counters;
  auto lcore = LcoreThread::launch({0, allowed.cpus().back()}, allowed, [&](const StopToken& stop) {
    poll_until(stop, counters, {}, []() -> std::uint32_t { return 4; });
  });
  ASSERT_TRUE(lcore) << lcore.error().message();
  std::uint64_t before = 0;
  for (int reading = 0; reading < 20; ++reading) {
    ASSERT_TRUE(wait_until([&] { return counters.read().packets > before; }, Deadline(5s)));
    before = counters.read().packets;
  }
  ASSERT_TRUE((*lcore)->stop(Deadline(5s)));
  const LcoreStats stats = counters.read();
  EXPECT_EQ(stats.packets, 4 * stats.polls);
  EXPECT_GT(stats.cycles_per_packet(), 0.0);
}

TEST(Idle, NamesAreTheOptionsValues) {
  EXPECT_EQ(parse_idle("spin"), Idle::kSpin);
  EXPECT_EQ(parse_idle("pause"), Idle::kPause);
  EXPECT_EQ(parse_idle("sleep"), Idle::kSleep);
  EXPECT_FALSE(parse_idle("nap"));
}

}  // namespace
}  // namespace spinring::lcore
