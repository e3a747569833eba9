#include "base/word_run.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "base/vector_bits.hpp"

namespace spinring {
namespace {

/// The members of a kind of runs, so that a test can try each kind that this CPU has.
struct Kind {
  std::string name;
  bool (*same4)(const RunWord*, const RunWord*);
  bool (*same8)(const RunWord*, const RunWord*);
  bool (*fill4)(RunWord*, const RunWord*);
  bool (*fill8)(RunWord*, const RunWord*);
  bool (*take4)(RunWord*, RunWord*);
  bool (*take8)(RunWord*, RunWord*);
  bool (*counts_up)(const void*, std::uint32_t, std::uint32_t*);
  bool (*seconds_step4)(const RunWord*, std::uint64_t, std::uint64_t, std::uint64_t, std::uint32_t*);
  bool (*seconds_step8)(const RunWord*, std::uint64_t, std::uint64_t, std::uint64_t, std::uint32_t*);
  void (*write_pairs4)(RunWord*, const RunWord*, const RunWord*, const StepsMore&);
  void (*write_pairs8)(RunWord*, const RunWord*, const RunWord*, const StepsMore&);
  bool (*within4)(const std::uint32_t*, std::uint32_t, std::uint32_t);
  bool (*within8)(const std::uint32_t*, std::uint32_t, std::uint32_t);
  void (*blocks4)(void* const*, const Block&, const std::uint32_t*);
  void (*blocks8)(void* const*, const Block&, const std::uint32_t*);
  void (*store4)(RunWord*, const std::array<std::uint64_t, 4>&);
  void (*store8)(RunWord*, const std::array<std::uint64_t, 8>&);
  void (*copy2)(RunWord*, const RunWord*);
  void (*copy4)(RunWord*, const RunWord*);
  void (*copy8)(RunWord*, const RunWord*);
  void (*add4)(RunWord*, const RunWord*, std::uint64_t);
  void (*add8)(RunWord*, const RunWord*, std::uint64_t);
  void (*put4)(RunWord*, std::uint64_t);
  void (*put8)(RunWord*, std::uint64_t);
  // Not of all kinds:
  bool (*place4)(const void* const*, const BlockRule&, const BlockPlaces&, RunWord*, RunWord*) = nullptr;
  bool (*place8)(const void* const*, const BlockRule&, const BlockPlaces&, RunWord*, RunWord*) = nullptr;
  std::uint64_t (*sum4)(const RunWord*) = nullptr;
  std::uint64_t (*sum8)(const RunWord*) = nullptr;
};
template <class Runs>
Kind kind(const char* name) {
  Kind of{name,
          Runs::template same<4>,
          Runs::template same<8>,
          Runs::template fill_empty<4>,
          Runs::template fill_empty<8>,
          Runs::template take_full<4>,
          Runs::template take_full<8>,
          Runs::counts_up,
          Runs::template seconds_step<4>,
          Runs::template seconds_step<8>,
          Runs::template write_pairs<4>,
          Runs::template write_pairs<8>,
          Runs::template within<4>,
          Runs::template within<8>,
          Runs::template write_blocks<4>,
          Runs::template write_blocks<8>,
          Runs::template store_words<4>,
          Runs::template store_words<8>,
          Runs::template copy<2>,
          Runs::template copy<4>,
          Runs::template copy<8>,
          Runs::template add<4>,
          Runs::template add<8>,
          Runs::template fill<4>,
          Runs::template fill<8>};
  if constexpr (requires { Runs::template place_blocks<4>; }) {
    of.place4 = Runs::template place_blocks<4>;
    of.place8 = Runs::template place_blocks<8>;
    of.sum4 = Runs::template sum<4>;
    of.sum8 = Runs::template sum<8>;
  }
  return of;
}
std::vector<Kind> kinds() {
  std::vector<Kind> all{kind<NarrowRuns>("narrow")};
#ifdef SPINRING_AVX2_TARGET
  if (vector_bits() >= 256) all.push_back(kind<Avx2Runs>("AVX2"));
#endif
#ifdef SPINRING_AVX512_TARGET
  if (vector_bits() >= 512) all.push_back(kind<Avx512Runs>("AVX-512"));
#endif
  return all;
}
using Eight = std::array<std::uint64_t, 8>;

TEST(WordRun, RunsAreTheSameUnlessOneBitDiffers) {
  for (const Kind& of : kinds()) {
    SCOPED_TRACE(of.name);
    Eight a;
    std::iota(a.begin(), a.end(), 0x1122'3344'5566'7788U);
    Eight b = a;
    EXPECT_TRUE(of.same4(a.data(), b.data()));
    EXPECT_TRUE(of.same8(a.data(), b.data()));
    for (unsigned word = 0; word < 8; ++word) {
      for (unsigned bit = 0; bit < 64; ++bit) {
        b[word] ^= std::uint64_t{1} << bit;
        EXPECT_EQ(of.same4(a.data(), b.data()), word >= 4) << word << ", bit " << bit;
        EXPECT_FALSE(of.same8(a.data(), b.data())) << word << ", bit " << bit;
        b[word] = a[word];
      }
    }
  }
}

TEST(WordRun, OnlyAnEmptyRunIsFilledAndOnlyAFullOneTaken) {
  for (const Kind& of : kinds()) {
    for (const unsigned count : {4U, 8U}) {
      SCOPED_TRACE(of.name + " " + std::to_string(count));
      const auto& fill = count == 4 ? of.fill4 : of.fill8;
      const auto& take = count == 4 ? of.take4 : of.take8;
      Eight from;
      std::iota(from.begin(), from.end(), 1U);
      for (unsigned odd = 0; odd <= count; ++odd) {  // one word that is not as it should be, then none
        const bool good = odd == count;
        Eight to{};
        if (!good) to[odd] = 7;
        const Eight before = to;
        EXPECT_EQ(fill(to.data(), from.data()), good) << odd;
        for (unsigned i = 0; i < 8; ++i) EXPECT_EQ(to[i], good && i < count ? from[i] : before[i]) << odd;

        Eight held = from;
        if (!good) held[odd] = 0;
        const Eight was = held;
        Eight taken{};
        EXPECT_EQ(take(held.data(), taken.data()), good) << odd;
        for (unsigned i = 0; i < 8; ++i) {
          EXPECT_EQ(held[i], good && i < count ? 0 : was[i]) << odd;
          const bool is_taken = good && i < count;
          if (is_taken || i >= count) {  // nothing beyond the run is written
            EXPECT_EQ(taken[i], is_taken ? from[i] : 0U) << odd;
          }
        }
      }
    }
  }
}

/// A used ring's entries lie at every multiple of 4 bytes.
TEST(WordRun, NumbersThatCountUpAreFoundAtAnyPlaceOfARing) {
  alignas(64) std::array<std::uint32_t, 32> memory{};
  for (const Kind& of : kinds()) {
    for (unsigned at = 0; at < 16; ++at) {
      SCOPED_TRACE(of.name + " at " + std::to_string(at));
      for (const std::uint32_t first : {0U, 5U, 0xFFFFU}) {
        for (unsigned i = 0; i < 8; ++i) {
          memory[at + 2 * i] = first + i;
          memory[at + 2 * i + 1] = 0xDEAD'0000 + i;
        }
        std::array<std::uint32_t, 8> highs{};
        EXPECT_TRUE(of.counts_up(&memory[at], first, highs.data()));
        for (unsigned i = 0; i < 8; ++i) EXPECT_EQ(highs[i], 0xDEAD'0000 + i);
        for (unsigned i = 0; i < 8; ++i) {
          memory[at + 2 * i] ^= 0x8000'0000;
          EXPECT_FALSE(of.counts_up(&memory[at], first, highs.data())) << i;
          memory[at + 2 * i] ^= 0x8000'0000;
        }
      }
    }
  }
}

TEST(WordRun, EightNumbersOf16BitsCountUp) {
  for (const unsigned first : {0U, 1000U, 0xFFF8U}) {
    std::array<std::uint16_t, 8> numbers{};
    store_pair(numbers.data(), counting_8(static_cast<std::uint16_t>(first)));
    for (unsigned i = 0; i < 8; ++i) EXPECT_EQ(numbers[i], first + i);
  }
}

TEST(WordRun, SecondWordsOfPairsAreHeldAgainstTheirMaskAndHandedOut) {
  constexpr std::uint64_t kMask = 0x8080'FFFF'0000'0000;
  constexpr std::uint64_t kStep = std::uint64_t{1} << 32;
  constexpr std::uint64_t kFirst = 0x8000'0012'0000'0000;
  for (const Kind& of : kinds()) {
    for (const unsigned count : {4U, 8U}) {
      SCOPED_TRACE(of.name + " " + std::to_string(count));
      const auto& step = count == 4 ? of.seconds_step4 : of.seconds_step8;
      alignas(64) std::array<std::uint64_t, 16> pairs;
      for (unsigned i = 0; i < 8; ++i) {
        pairs[2 * i] = 100 + i;
        pairs[2 * i + 1] = kFirst + i * kStep + 0x72 + i;  // what the mask leaves out may be anything
      }
      std::array<std::uint32_t, 8> lows{};
      EXPECT_TRUE(step(pairs.data(), kMask, kFirst, kStep, lows.data()));
      for (unsigned i = 0; i < 8; ++i) EXPECT_EQ(lows[i], i < count ? 0x72 + i : 0U) << i;
      for (unsigned i = 0; i < count; ++i) {
        for (unsigned bit = 0; bit < 64; ++bit) {
          pairs[2 * i + 1] ^= std::uint64_t{1} << bit;
          EXPECT_EQ(step(pairs.data(), kMask, kFirst, kStep, lows.data()), (kMask >> bit & 1) == 0)
              << i << ", bit " << bit;
          pairs[2 * i + 1] ^= std::uint64_t{1} << bit;
        }
      }
    }
  }
}

TEST(WordRun, PairsAreWrittenFromTheirHalves) {
  for (const Kind& of : kinds()) {
    for (const unsigned count : {4U, 8U}) {
      SCOPED_TRACE(of.name + " " + std::to_string(count));
      const Eight firsts{11, 12, 13, 14, 15, 16, 17, 18};
      const Eight seconds{60, 61, 62, 63, 64, 65, 66, 67};
      alignas(64) std::array<std::uint64_t, 16> pairs{};
      (count == 4 ? of.write_pairs4 : of.write_pairs8)(pairs.data(), firsts.data(), seconds.data(),
                                                       {0x1000, 0x100, 0xA'0000});
      for (unsigned i = 0; i < 8; ++i) {
        EXPECT_EQ(pairs[2 * i], i < count ? firsts[i] : 0) << i;
        const std::uint64_t more = 0x1000 + i * 0x100 + (i == 0 ? 0xA'0000 : 0);
        EXPECT_EQ(pairs[2 * i + 1], i < count ? more + seconds[i] : 0) << i;
      }
    }
  }
}

TEST(WordRun, NumbersAreWithinTheirBoundsUnlessOneIsNot) {
  for (const Kind& of : kinds()) {
    for (const unsigned count : {4U, 8U}) {
      const auto& within = count == 4 ? of.within4 : of.within8;
      for (const auto& [least, most] :
           {std::pair{26U, 2176U}, std::pair{0U, 0U}, std::pair{1U, 0x7FFF'FFFFU}, std::pair{14U, 14U}}) {
        SCOPED_TRACE(of.name + " " + std::to_string(count) + " from " + std::to_string(least));
        std::array<std::uint32_t, 8> numbers;
        numbers.fill(most);
        numbers[0] = least;
        EXPECT_TRUE(within(numbers.data(), least, most));
        for (unsigned i = 0; i < count; ++i) {
          for (const std::uint32_t outside :
               {least - 1, most + 1, 0x8000'0000U, 0x8000'0000U + least, 0x8000'0000U + most, 0xFFFF'FFFFU}) {
            if (outside >= least && outside <= most) continue;
            const std::uint32_t was = std::exchange(numbers[i], outside);
            EXPECT_FALSE(within(numbers.data(), least, most)) << i << ": " << outside;
            numbers[i] = was;
          }
        }
      }
    }
  }
}

TEST(WordRun, WordsAreStoredInTheirOrder) {
  for (const Kind& of : kinds()) {
    SCOPED_TRACE(of.name);
    Eight to{};
    of.store4(to.data(), {11, 12, 13, ~std::uint64_t{0}});
    EXPECT_EQ(to, (Eight{11, 12, 13, ~std::uint64_t{0}, 0, 0, 0, 0}));
    of.store8(to.data(), {21, 22, 23, 24, 25, 26, 27, ~std::uint64_t{1}});
    EXPECT_EQ(to, (Eight{21, 22, 23, 24, 25, 26, 27, ~std::uint64_t{1}}));
  }
}

TEST(WordRun, BlocksAreWrittenWithANumberInBothHalvesOfTheirSecondWord) {
  for (const Kind& of : kinds()) {
    for (const unsigned count : {4U, 8U}) {
      SCOPED_TRACE(of.name + " " + std::to_string(count));
      const std::array<std::uint32_t, 8> numbers{72, 0, 1526, 65535, 26, 27, 0x10000, 3};
      constexpr Block kBlock{1, 0x008C'0000'0000'0005, ~std::uint64_t{3}, 4};
      std::array<std::array<std::uint64_t, 5>, 8> blocks{};  // with a word behind each
      std::array<void*, 8> at{};
      for (unsigned i = 0; i < 8; ++i) at[i] = &blocks[7 - i];
      (count == 4 ? of.blocks4 : of.blocks8)(at.data(), kBlock, numbers.data());
      for (unsigned i = 0; i < 8; ++i) {
        std::array<std::uint64_t, 5> expected{};
        if (i < count) {
          std::copy(kBlock.begin(), kBlock.end(), expected.begin());
          expected[1] += numbers[i] * std::uint64_t{0x1'0000'0001};
        }
        EXPECT_EQ(blocks[7 - i], expected) << i;
      }
    }
  }
}

TEST(WordRun, WordsAreCopiedAddedToAndFilledAndNoOthers) {
  for (const Kind& of : kinds()) {
    SCOPED_TRACE(of.name);
    Eight from;
    std::iota(from.begin(), from.end(), 0xFFFF'FFFF'FFFF'FFFCU);
    for (const auto& [count, copy] : {std::pair{2U, of.copy2}, {4U, of.copy4}, {8U, of.copy8}}) {
      Eight to{};
      copy(to.data(), from.data());
      for (unsigned i = 0; i < 8; ++i) EXPECT_EQ(to[i], i < count ? from[i] : 0) << count << ": " << i;
    }
    for (const auto& [count, add] : {std::pair{4U, of.add4}, {8U, of.add8}}) {
      Eight to{};
      add(to.data(), from.data(), 0x1'0000'0005);
      for (unsigned i = 0; i < 8; ++i)
        EXPECT_EQ(to[i], i < count ? from[i] + 0x1'0000'0005 : 0) << count << ": " << i;
    }
    for (const auto& [count, put] : {std::pair{4U, of.put4}, {8U, of.put8}}) {
      Eight to{};
      put(to.data(), ~std::uint64_t{1});
      for (unsigned i = 0; i < 8; ++i)
        EXPECT_EQ(to[i], i < count ? ~std::uint64_t{1} : 0) << count << ": " << i;
    }
  }
}

/// Blocks side by side, as packets of a pool lie.
struct Blocks {
  std::array<std::array<std::uint64_t, 4>, 10> all{};  ///< the first and the last are out of range
  std::array<const void*, 8> at{};
  BlockPlaces to{.to_place = 0x1'0000'0000, .to_other = 5};

  Blocks() {
    to.range = {address(1), address(8)};
    for (std::size_t i = 0; i < 8; ++i) {
      at[i] = &all[8 - i];
      all[8 - i] = {0, (12 + i) << 48 | (i * 0x1FFF) << 32 | 0xABCD'0123, 1, std::uint64_t{0x8001} << 48};
    }
  }
  [[nodiscard]] std::uintptr_t address(std::size_t i) const {
    return reinterpret_cast<std::uintptr_t>(&all[i]);
  }
};
BlockRule rule_of_blocks() {
  BlockRule rule;
  rule.expected = {0, 7, 1, 0};
  rule.mask = {~std::uint64_t{0}, 0, 0xFFFF'0000'FFFF, 0};
  rule.least[7] = 12;
  rule.least[15] = 0x8001;
  return rule;
}

/// Calls `check` for each kind that places blocks, and each length of a run.
template <class Check>
void for_each_placing(Check check) {
  for (const Kind& of : kinds()) {
    if (of.place4 == nullptr) continue;
    for (const unsigned count : {4U, 8U}) {
      SCOPED_TRACE(of.name + " " + std::to_string(count));
      Blocks blocks;
      check(of, count, blocks);
    }
  }
}

TEST(WordRun, BlocksKeepARuleUnlessABitOfTheMaskDiffersOrAPartIsTooLow) {
  const BlockRule rule = rule_of_blocks();
  for_each_placing([&rule](const Kind& of, unsigned count, Blocks& blocks) {
    const auto& place = count == 4 ? of.place4 : of.place8;
    Eight places;
    Eight others;
    EXPECT_TRUE(place(blocks.at.data(), rule, blocks.to, places.data(), others.data()));
    for (unsigned i = 0; i < count; ++i) {
      auto& block = blocks.all[8 - i];
      for (unsigned bit = 0; bit < 256; ++bit) {
        block[bit / 64] ^= std::uint64_t{1} << bit % 64;
        const bool too_low = block[1] >> 48 < 12 || block[3] >> 48 < 0x8001;
        EXPECT_EQ(place(blocks.at.data(), rule, blocks.to, places.data(), others.data()),
                  (rule.mask[bit / 64] >> bit % 64 & 1) == 0 && !too_low)
            << i << ", bit " << bit;
        block[bit / 64] ^= std::uint64_t{1} << bit % 64;
      }
    }
  });
}

TEST(WordRun, BlocksInRangeAreToldByTheirPlacesAndOthersAreRefused) {
  for_each_placing([](const Kind& of, unsigned count, Blocks& blocks) {
    const auto& place = count == 4 ? of.place4 : of.place8;
    Eight places{};
    Eight others{};
    ASSERT_TRUE(place(blocks.at.data(), rule_of_blocks(), blocks.to, places.data(), others.data()));
    std::uint64_t sum = 0;
    for (unsigned i = 0; i < 8; ++i) {
      EXPECT_EQ(places[i], i < count ? blocks.address(8 - i) + 0x1'0000'0000 + 12 + i : 0) << i;
      EXPECT_EQ(others[i], i < count ? i * 0x1FFF + 5 : 0) << i;
      sum += others[i];
    }
    EXPECT_EQ((count == 4 ? of.sum4 : of.sum8)(others.data()), sum);
    for (unsigned i = 0; i < count; ++i) {
      for (const std::size_t outside : {std::size_t{0}, std::size_t{9}}) {
        const auto was = std::exchange(blocks.at[i], &blocks.all[outside]);
        blocks.all[outside] = blocks.all[8 - i];
        EXPECT_FALSE(place(blocks.at.data(), rule_of_blocks(), blocks.to, places.data(), others.data()))
            << i << ": " << outside;
        blocks.at[i] = was;
      }
    }
  });
}

}  // namespace
}  // namespace spinring
