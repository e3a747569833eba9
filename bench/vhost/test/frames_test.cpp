#include "bench/vhost/frames.hpp"

#include <gtest/gtest.h>

#include "bench/vhost/slices.hpp"

namespace spinring::bench::vhost {
namespace {

TEST(SequenceChecker, CountsGapsLateOnesAndDoubles) {
  StreamRecord record;
  SequenceChecker checker(record);
  for (const std::uint64_t sequence : {0UL, 1UL, 4UL, 3UL, 3UL, 1UL, 5UL}) checker.see(sequence);
  EXPECT_EQ(checker.verified(), 7U);
  EXPECT_EQ(checker.lost(), 1U);  // 2
  EXPECT_EQ(checker.reordered(), 1U);
  EXPECT_EQ(checker.duplicated(), 2U);
  EXPECT_EQ(checker.next(), 6U);
}

TEST(SequenceChecker, ALongGapIsLossAndItsWindowStartsAnew) {
  StreamRecord record;
  SequenceChecker checker(record);
  checker.see(0);
  checker.see(1'000'000);
  EXPECT_EQ(checker.lost(), 999'999U);
  checker.see(1'000'000 - 100);
  EXPECT_EQ(checker.reordered(), 1U);
  EXPECT_EQ(checker.lost(), 999'998U);
  checker.see(0);  // longer ago than is remembered
  EXPECT_EQ(checker.duplicated(), 1U);
}

TEST(FrameTemplate, IsIntactWithOtherAddressesAndSequenceOnly) {
  const FrameTemplate frame(60);
  std::vector<std::byte> bytes(60);
  frame.write(bytes.data());
  FrameTemplate::stamp(bytes.data(), 3, 77);
  for (std::size_t i = 0; i < FrameTemplate::kAddresses; ++i) bytes[i] = std::byte{0xee};
  EXPECT_TRUE(frame.intact(bytes));
  for (std::size_t i = FrameTemplate::kAddresses; i < bytes.size(); ++i) {
    if (i >= FrameTemplate::kStream && i < FrameTemplate::kSequenceEnd) continue;
    bytes[i] ^= std::byte{1};
    EXPECT_FALSE(frame.intact(bytes)) << i;
    bytes[i] ^= std::byte{1};
  }
  bytes.pop_back();
  EXPECT_FALSE(frame.intact(bytes));
}

TEST(SliceRecorder, LeavesOutSlicesInWhichASideWasAway) {
  constexpr std::uint64_t kHz = 1'000'000'000;  // a tick is 1 ns
  SliceRecorder recorder(kHz, 0, 0.004);
  std::uint64_t now = 0;
  std::uint64_t frames = 0;
  recorder.resume(now);
  const auto slice = [&](std::uint64_t step, bool progress) {
    bool ended = false;
    while (!ended) {
      now += step;
      frames += progress ? 10 : 0;
      ended = recorder.pass(now, frames, frames);
    }
  };
  slice(1000, true);     // 10 frames a microsecond
  slice(200'000, true);  // this side away
  slice(1000, false);    // the driver away
  slice(2000, true);
  ASSERT_TRUE(recorder.full());
  const SliceReport report = recorder.report();
  EXPECT_EQ(report.kept, 2U);
  EXPECT_EQ(report.preempted_here, 1U);
  EXPECT_EQ(report.preempted_there, 1U);
  EXPECT_NEAR(report.transmitted.most, 10.0, 0.1);
  EXPECT_NEAR(report.transmitted.least, 5.0, 0.1);
  EXPECT_NEAR(report.seconds, 0.004, 1e-4);
}

TEST(SliceRecorder, CountsSlowSidesWhereTheGapIsLonger) {
  constexpr std::uint64_t kHz = 1'000'000'000;
  SliceRecorder recorder(kHz, 0, 0.004, 0.001);
  recorder.resume(0);
  std::uint64_t passes = 0;
  while (!recorder.full()) {  // progress in every second pass, at 400 microseconds
    ++passes;
    (void)recorder.pass(passes * 200'000, passes / 2, 0);
  }
  EXPECT_EQ(recorder.report().kept, 4U);
}

TEST(SliceRecorder, BeginsAnewWithTotalsThatGoOn) {
  constexpr std::uint64_t kHz = 1'000'000'000;
  SliceRecorder recorder(kHz, 0, 0.008);
  std::uint64_t now = 0;
  std::uint64_t frames = 0;
  const auto fill = [&](std::uint64_t rate) {  // of frames in a microsecond
    recorder.resume(now);
    while (!recorder.full()) {
      now += 1000;
      frames += rate;
      (void)recorder.pass(now, frames, 0);
    }
  };
  fill(10);
  now += kHz;  // a second's rest
  recorder.begin(0.002, 0.004);
  EXPECT_FALSE(recorder.full());
  fill(20);
  const SliceReport report = recorder.report();
  EXPECT_EQ(report.kept, 4U);
  EXPECT_NEAR(report.seconds, 0.004, 1e-4);
  EXPECT_NEAR(report.received.least, 20.0, 0.1);
  EXPECT_NEAR(report.received.most, 20.0, 0.1);
  EXPECT_EQ(report.preempted_here + report.preempted_there, 0U);
}

TEST(Spread, OfFourValues) {
  const Spread spread = spread_of({4, 1, 3, 2});
  EXPECT_DOUBLE_EQ(spread.least, 1);
  EXPECT_DOUBLE_EQ(spread.lower, 1.75);
  EXPECT_DOUBLE_EQ(spread.median, 2.5);
  EXPECT_DOUBLE_EQ(spread.most, 4);
  EXPECT_DOUBLE_EQ(spread_of({}).median, 0);
}

}  // namespace
}  // namespace spinring::bench::vhost
