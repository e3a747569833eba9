#include "mempool/arena.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

namespace spinring::mempool {
namespace {

constexpr std::uintptr_t kStart = 0x7f0000200000;
constexpr std::size_t kBytes = 1UL << 20;

TEST(Arena, HandsOutTheWholeRangeAndNoByteMore) {
  Arena arena(kStart, kBytes);
  EXPECT_EQ(arena.allocate(kBytes + 1, 64), std::nullopt);
  EXPECT_EQ(arena.allocate(kBytes, 64), kStart);
  EXPECT_EQ(arena.free_bytes(), 0U);
  EXPECT_EQ(arena.allocate(1, 1), std::nullopt);
  EXPECT_TRUE(arena.release(kStart));
  EXPECT_EQ(arena.largest_free(), kBytes);
}

TEST(Arena, TakesTheFirstGapThatFits) {
  Arena arena(kStart, kBytes);
  const auto first = arena.allocate(4096, 64);
  const auto second = arena.allocate(4096, 64);
  const auto third = arena.allocate(4096, 64);
  ASSERT_TRUE(first && second && third);
  arena.release(*first);
  arena.release(*third);
  EXPECT_EQ(arena.allocate(4096, 64), *first);
  EXPECT_EQ(arena.allocate(4096, 64), *third);
}

TEST(Arena, NoTwoBlocksShareACacheLine) {
  Arena arena(kStart, kBytes);
  EXPECT_EQ(arena.allocate(1, 1), kStart);
  EXPECT_EQ(arena.allocate(1, 1), kStart + 64);
}

TEST(Arena, RefusesNothingAndWrappingSizes) {
  Arena arena(kStart, kBytes);
  EXPECT_EQ(arena.allocate(0, 64), std::nullopt);
  EXPECT_EQ(arena.allocate(SIZE_MAX, 64), std::nullopt);
  EXPECT_EQ(arena.allocate(64, 1UL << 63), std::nullopt);
}

TEST(Arena, ReleasesOnlyWhatItGave) {
  Arena arena(kStart, kBytes);
  const auto block = arena.allocate(4096, 64);
  ASSERT_TRUE(block);
  EXPECT_FALSE(arena.release(*block + 64));
  EXPECT_TRUE(arena.release(*block));
  EXPECT_FALSE(arena.release(*block));
  EXPECT_EQ(arena.used_blocks(), 0U);
}

/// The arena against a plain list of the blocks in use, over random calls.
class ArenaAgainstModel : public testing::TestWithParam<unsigned> {
 protected:
  void allocate_one() {
    const std::size_t bytes = 1 + random_() % (random_() % 4 == 0 ? kBytes / 4 : 4096);
    const std::size_t alignment = 1UL << (random_() % 15);
    const auto address = arena_.allocate(bytes, alignment);
    const std::size_t rounded = (bytes + 63) / 64 * 64;
    if (!address) {
      EXPECT_FALSE(fits_somewhere(rounded, alignment)) << bytes << " aligned to " << alignment;
      return;
    }
    EXPECT_EQ(*address % alignment, 0U);
    EXPECT_GE(*address, kStart);
    EXPECT_LE(*address + rounded, kStart + kBytes);
    const auto next = used_.lower_bound(*address);
    if (next != used_.end()) {
      EXPECT_LE(*address + rounded, next->first);
    }
    if (next != used_.begin()) {
      EXPECT_LE(std::prev(next)->first + std::prev(next)->second, *address);
    }
    used_[*address] = rounded;
  }

  void release_one() {
    auto it = used_.begin();
    std::advance(it, random_() % used_.size());
    EXPECT_TRUE(arena_.release(it->first));
    used_.erase(it);
  }

  /// Whether any gap between the blocks in use has room: what first fit must find.
  [[nodiscard]] bool fits_somewhere(std::size_t bytes, std::size_t alignment) const {
    std::uintptr_t gap = kStart;
    const auto fits = [&](std::uintptr_t end) {
      const std::uintptr_t start = (gap + alignment - 1) / alignment * alignment;
      return start + bytes <= end;
    };
    for (const auto& [address, length] : used_) {
      if (fits(address)) return true;
      gap = address + length;
    }
    return fits(kStart + kBytes);
  }

  [[nodiscard]] std::size_t used_bytes() const {
    std::size_t sum = 0;
    for (const auto& [address, length] : used_) sum += length;
    return sum;
  }

  std::mt19937 random_{GetParam()};
  Arena arena_{kStart, kBytes};
  std::map<std::uintptr_t, std::size_t> used_;
};

TEST_P(ArenaAgainstModel, NeverOverlapsNeverLosesAndFindsEveryGap) {
  for (int step = 0; step < 2000; ++step) {
    if (used_.empty() || random_() % 5 < 3) {
      allocate_one();
    } else {
      release_one();
    }
    ASSERT_EQ(arena_.free_bytes(), kBytes - used_bytes());
    ASSERT_EQ(arena_.used_blocks(), used_.size());
    ASSERT_FALSE(HasFailure()) << "step " << step;
  }
  while (!used_.empty()) release_one();
  EXPECT_EQ(arena_.largest_free(), kBytes);
}

INSTANTIATE_TEST_SUITE_P(Seeds, ArenaAgainstModel, testing::Range(0U, 10U));

}  // namespace
}  // namespace spinring::mempool
