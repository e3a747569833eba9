#include "mempool/scattered.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

namespace spinring::mempool {
namespace {

class Scattered : public ::testing::TestWithParam<std::uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Counts, Scattered, ::testing::Values(0, 1, 2, 63, 64, 65, 1000, 8192));

TEST_P(Scattered, HasEachNumberOnce) {
  std::vector<std::uint32_t> all(GetParam());
  std::iota(all.begin(), all.end(), 0U);
  std::vector<std::uint32_t> sorted = scattered(GetParam());
  std::ranges::sort(sorted);
  EXPECT_EQ(sorted, all);
}

TEST_P(Scattered, RepeatsItself) { EXPECT_EQ(scattered(GetParam()), scattered(GetParam())); }

TEST(ScatteredStretches, LieInTheirOrderAndAreNotAlike) {
  const std::vector<std::uint32_t> order = scattered(256);
  for (std::uint32_t i = 0; i < order.size(); ++i) EXPECT_EQ(order[i] / 64, i / 64);
  EXPECT_FALSE(std::equal(order.begin(), order.begin() + 64, order.begin() + 64,
                          [](std::uint32_t first, std::uint32_t second) { return first + 64 == second; }));
}

TEST(ScatteredStretches, HaveHardlyAnyEvenSteps) {
  const std::vector<std::uint32_t> order = scattered(8192);
  for (const std::size_t apart : {1U, 2U, 4U, 8U, 16U}) {
    std::size_t even = 0;
    for (std::size_t i = 2 * apart; i < order.size(); ++i) {
      if (order[i] - order[i - apart] == order[i - apart] - order[i - 2 * apart]) ++even;
    }
    EXPECT_LT(even, order.size() / 50) << "steps of " << apart;
  }
}

}  // namespace
}  // namespace spinring::mempool
