#include "bench/vhost/probes.hpp"

#include <gtest/gtest.h>

#include "bench/vhost/pace.hpp"

namespace spinring::bench::vhost {
namespace {

TEST(Histogram, QuantilesAreWithinABucketOfTheTruth) {
  Histogram histogram;
  EXPECT_EQ(histogram.quantile(0.5), 0U);
  for (std::uint64_t value = 1; value <= 100'000; ++value) histogram.add(value);
  EXPECT_EQ(histogram.total(), 100'000U);
  for (const double share : {0.0005, 0.01, 0.5, 0.9, 0.99, 0.999, 1.0}) {
    const double truth = share * 100'000;
    EXPECT_GE(static_cast<double>(histogram.quantile(share)), truth);
    EXPECT_LE(static_cast<double>(histogram.quantile(share)), truth * (1 + 1.0 / 64) + 1);
  }
}

TEST(Histogram, SmallValuesAreExactAndLargeOnesAreHeld) {
  for (std::uint64_t value = 0; value < 128; ++value) {
    Histogram histogram;
    histogram.add(value);
    EXPECT_EQ(histogram.quantile(0.5), value);
  }
  Histogram histogram;
  histogram.add(~std::uint64_t{0});
  EXPECT_EQ(histogram.quantile(1), (std::uint64_t{1} << 40U) - 1);
}

TEST(Probes, EveryProbeIsAccountedFor) {
  Probes probes;
  const std::uint64_t first = probes.send(1000);
  const std::uint64_t second = probes.send(2000);
  const std::uint64_t lost = probes.send(3000);
  EXPECT_NE(lost, second);
  probes.see(second, 2100);
  probes.end_slice(true);
  probes.see(first, 5000);
  probes.end_slice(false);  // a slice in which somebody was off its CPU
  probes.see(first, 5001);  // twice
  probes.see(0, 1);
  probes.see(lost + 1, 1);  // never sent
  EXPECT_EQ(probes.counts().sent, 3U);
  EXPECT_EQ(probes.counts().returned, 2U);
  EXPECT_EQ(probes.counts().unknown, 3U);
  EXPECT_EQ(probes.counts().discarded, 1U);
  EXPECT_EQ(probes.histogram().total(), 1U);
  EXPECT_EQ(probes.histogram().quantile(1), 100U);
}

TEST(Pace, FramesAreDueAtEvenDistancesAndLateOnesKeepTheirTime) {
  Pace pace(100, 10'000);
  EXPECT_EQ(pace.due(5000, 32), 1U) << "the first at once";
  pace.sent(1);
  EXPECT_EQ(pace.due(5099, 32), 0U);
  EXPECT_EQ(pace.due(5100, 32), 1U);
  EXPECT_EQ(pace.due(5350, 32), 3U);
  EXPECT_EQ(pace.time_of(0), 5100U);
  EXPECT_EQ(pace.time_of(2), 5300U);
  pace.sent(2);  // the third found no buffer, and is as late as it is
  EXPECT_EQ(pace.due(5360, 32), 1U);
  EXPECT_EQ(pace.time_of(0), 5300U);
  EXPECT_EQ(pace.due(9300, 32), 32U) << "as many as are asked for";
  EXPECT_EQ(pace.skipped(), 0U);
  EXPECT_EQ(pace.due(16'300, 32), 1U) << "too late for those before";
  EXPECT_EQ(pace.skipped(), 110U);
}

}  // namespace
}  // namespace spinring::bench::vhost
