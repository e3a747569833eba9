#include "vfio_glue/iova_allocator.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <random>

namespace spinring::vfio_glue {
namespace {

constexpr std::uint64_t kSmall = 4096;
constexpr std::uint64_t kHuge = 2UL << 20;
constexpr std::uint64_t kGiant = 1UL << 30;
constexpr std::uint64_t kTop = std::numeric_limits<std::uint64_t>::max();

IovaAllocator with(std::vector<IovaRange> ranges) { return IovaAllocator(std::move(ranges)); }

TEST(IovaAllocation, NeverGivesAddressZero) {
  IovaAllocator allocator = with({{0, kGiant}});
  EXPECT_EQ(allocator.allocate(kSmall, kSmall), kSmall);
}

TEST(IovaAllocation, AlignsToThePageSize) {
  IovaAllocator allocator = with({{0, 16 * kGiant}});
  EXPECT_EQ(allocator.allocate(kSmall, kSmall), kSmall);
  EXPECT_EQ(allocator.allocate(kHuge, kHuge), kHuge);
  EXPECT_EQ(allocator.allocate(kGiant, kGiant), kGiant);
  EXPECT_EQ(allocator.allocate(kSmall, kSmall), 2 * kSmall);  // the gaps are used
}

TEST(IovaAllocation, SkipsTheHoleBetweenRanges) {
  IovaAllocator allocator = with({{0, 0xfedf'ffff}, {0xfef0'0000, (1ULL << 39) - 1}});
  // 4 GiB do not fit below the interrupt window.
  EXPECT_EQ(allocator.allocate(4 * kGiant, kGiant), 4 * kGiant);
}

TEST(IovaAllocation, FillsARangeToItsLastByte) {
  IovaAllocator allocator = with({{kSmall, 3 * kSmall - 1}});
  EXPECT_EQ(allocator.allocate(2 * kSmall, kSmall), kSmall);
  EXPECT_EQ(allocator.allocate(kSmall, kSmall), std::nullopt);
}

TEST(IovaAllocation, WorksAtTheTopOfTheAddressSpace) {
  IovaAllocator allocator = with({{kTop - kSmall + 1, kTop}});
  EXPECT_EQ(allocator.allocate(2 * kSmall, kSmall), std::nullopt);
  EXPECT_EQ(allocator.allocate(kSmall, kSmall), kTop - kSmall + 1);
  EXPECT_EQ(allocator.allocate(kSmall, kSmall), std::nullopt);
  EXPECT_EQ(with({{kTop - 10, kTop}}).allocate(1, kSmall), std::nullopt);  // rounding up would wrap
}

TEST(IovaAllocation, TooMuchOrNothingIsRefused) {
  IovaAllocator allocator = with({{0, kGiant - 1}});
  EXPECT_EQ(allocator.allocate(kGiant, kSmall), std::nullopt);  // address 0 is not given
  EXPECT_EQ(allocator.allocate(0, kSmall), std::nullopt);
  EXPECT_EQ(with({}).allocate(kSmall, kSmall), std::nullopt);
}

TEST(IovaAllocation, NewRangesKeepWhatIsAllocated) {
  IovaAllocator allocator = with({{0, kGiant}});
  const auto first = allocator.allocate(kHuge, kSmall);
  allocator.set_ranges({{0, kGiant / 2}});
  const auto second = allocator.allocate(kHuge, kSmall);
  ASSERT_TRUE(first && second);
  EXPECT_GE(*second, *first + kHuge);
}

TEST(DefaultRanges, LeaveOutX86sInterruptWindow) {
  for (const IovaRange& range : default_iova_ranges()) {
    EXPECT_TRUE(range.last < 0xfee0'0000 || range.first > 0xfeef'ffff);
    EXPECT_LT(range.last, 1ULL << 39);
  }
}

TEST(IovaAllocation, RandomUseNeverOverlapsAndStaysInside) {
  const std::vector<IovaRange> ranges{{0, 0x3fff'ffff}, {0x5000'0000, 0x7fff'ffff}};
  IovaAllocator allocator = with(ranges);
  std::map<std::uint64_t, std::uint64_t> model;  // start -> length
  std::mt19937_64 random(42);
  std::size_t given = 0;
  for (int step = 0; step < 20'000; ++step) {
    if (random() % 2 == 0 && !model.empty()) {
      auto victim = std::next(model.begin(), static_cast<long>(random() % model.size()));
      allocator.free(victim->first);
      model.erase(victim);
      continue;
    }
    const std::uint64_t length = (random() % 64 + 1) * kSmall;
    const std::uint64_t alignment = random() % 8 == 0 ? kHuge : kSmall;
    const auto start = allocator.allocate(length, alignment);
    if (!start) continue;
    ++given;
    ASSERT_NE(*start, 0U);
    ASSERT_EQ(*start % alignment, 0U);
    const auto next = model.lower_bound(*start);
    if (next != model.end()) {
      ASSERT_LE(*start + length, next->first);
    }
    if (next != model.begin()) {
      const auto before = std::prev(next);
      ASSERT_LE(before->first + before->second, *start);
    }
    ASSERT_TRUE(std::any_of(ranges.begin(), ranges.end(), [&](const IovaRange& range) {
      return *start >= range.first && *start + length - 1 <= range.last;
    }));
    model[*start] = length;
  }
  EXPECT_GT(given, 5'000U);
}

}  // namespace
}  // namespace spinring::vfio_glue
