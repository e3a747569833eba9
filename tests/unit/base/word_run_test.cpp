#include "base/word_run.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

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
  bool (*counts_up)(const void*, std::uint32_t);
  bool (*seconds_step)(const RunWord*, std::uint64_t, std::uint64_t, std::uint64_t, RunWord*);
  void (*write_pairs)(RunWord*, const RunWord*, const RunWord*, std::uint64_t, std::uint64_t);
};
template <class Runs>
Kind kind(const char* name) {
  return {name,
          Runs::template same<4>,
          Runs::template same<8>,
          Runs::template fill_empty<4>,
          Runs::template fill_empty<8>,
          Runs::template take_full<4>,
          Runs::template take_full<8>,
          Runs::counts_up,
          Runs::seconds_step,
          Runs::write_pairs};
}
std::vector<Kind> kinds() {
  std::vector<Kind> all{kind<NarrowRuns>("narrow")};
#ifdef SPINRING_WIDE_TARGET
  if (has_wide_vectors()) all.push_back(kind<WideRuns>("wide"));
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
        EXPECT_TRUE(of.counts_up(&memory[at], first));
        for (unsigned i = 0; i < 8; ++i) {
          memory[at + 2 * i] ^= 0x8000'0000;
          EXPECT_FALSE(of.counts_up(&memory[at], first)) << i;
          memory[at + 2 * i] ^= 0x8000'0000;
        }
      }
    }
  }
}

TEST(WordRun, NeighbouringNumbersOf16BitsCountUp) {
  std::array<std::uint16_t, 9> numbers{};
  for (unsigned at = 0; at < 2; ++at) {
    std::iota(numbers.begin() + at, numbers.begin() + at + 8, std::uint16_t{1000});
    EXPECT_TRUE(counts_up_8(&numbers[at], 1000));
    EXPECT_FALSE(counts_up_8(&numbers[at], 999));
    for (unsigned i = 0; i < 8; ++i) {
      ++numbers[at + i];
      EXPECT_FALSE(counts_up_8(&numbers[at], 1000)) << i;
      --numbers[at + i];
    }
  }
}

TEST(WordRun, SecondWordsOfPairsAreHeldAgainstTheirMaskAndHandedOut) {
  constexpr std::uint64_t kMask = 0x8080'FFFF'0000'0000;
  constexpr std::uint64_t kStep = std::uint64_t{1} << 32;
  constexpr std::uint64_t kFirst = 0x8000'0012'0000'0000;
  for (const Kind& of : kinds()) {
    SCOPED_TRACE(of.name);
    alignas(64) Eight pairs;
    for (unsigned i = 0; i < 4; ++i) {
      pairs[2 * i] = 100 + i;
      pairs[2 * i + 1] = kFirst + i * kStep + 0x72 + i;  // what the mask leaves out may be anything
    }
    Eight seconds{};
    EXPECT_TRUE(of.seconds_step(pairs.data(), kMask, kFirst, kStep, seconds.data()));
    for (unsigned i = 0; i < 4; ++i) EXPECT_EQ(seconds[i], pairs[2 * i + 1]);
    for (unsigned i = 0; i < 4; ++i) {
      for (unsigned bit = 0; bit < 64; ++bit) {
        pairs[2 * i + 1] ^= std::uint64_t{1} << bit;
        EXPECT_EQ(of.seconds_step(pairs.data(), kMask, kFirst, kStep, seconds.data()),
                  (kMask >> bit & 1) == 0)
            << i << ", bit " << bit;
        pairs[2 * i + 1] ^= std::uint64_t{1} << bit;
      }
    }
  }
}

TEST(WordRun, PairsAreWrittenFromTheirHalves) {
  for (const Kind& of : kinds()) {
    SCOPED_TRACE(of.name);
    const Eight firsts{11, 12, 13, 14};
    const Eight seconds{60, 61, 62, 63};
    alignas(64) Eight pairs{};
    of.write_pairs(pairs.data(), firsts.data(), seconds.data(), 0x1000, 0x100);
    EXPECT_EQ(pairs, (Eight{11, 0x1000 + 60, 12, 0x1100 + 61, 13, 0x1200 + 62, 14, 0x1300 + 63}));
  }
}

}  // namespace
}  // namespace spinring
