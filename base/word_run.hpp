#pragma once

#include <array>
#include <bit>
#include <cstdint>

#include "base/word_pair.hpp"

namespace spinring {

/// A word of a run: what lies there may be of another type, such as a pointer.
using RunWord = std::uint64_t __attribute__((may_alias));

/// Times a number of 32 bits: it in both halves of a word.
inline constexpr std::uint64_t kBothHalves = 0x1'0000'0001;
/// 32 bytes.
using Block = std::array<std::uint64_t, 4>;
/// What a block is to be like: as `expected` in the bits of `mask`, and each part of 16 bits at least
/// `least`.
struct BlockRule {
  alignas(32) Block expected{};
  alignas(32) Block mask{};
  alignas(32) std::array<std::uint16_t, 16> least{};
};

/// Addresses from `first` to `last`.
struct AddressRange {
  std::uintptr_t first = 0;
  std::uintptr_t last = 0;
};
/// Where blocks are to lie, and what their words are to have added.
struct BlockPlaces {
  AddressRange range;
  std::uint64_t to_place = 0;
  std::uint64_t to_other = 0;
};

/// What is added to the words of a run: to each `base` and as many `step` as come before it, to the first
/// `first` as well.
struct StepsMore {
  std::uint64_t base = 0;
  std::uint64_t step = 0;
  std::uint64_t first = 0;
};

/// Runs of 4 or 8 neighbouring 64-bit words, by vectors that every CPU has.
struct NarrowRuns {
  /// Copies kCount words (2 as well), whole vectors as they will be loaded; `to` and `from` lie apart.
  template <unsigned kCount>
  static void copy(RunWord* to, const RunWord* from) noexcept {
#pragma GCC unroll 4
    for (unsigned i = 0; i < kCount; i += 2) store_pair(to + i, load_pair(from + i));
  }
  /// The words of `from` with `more` added to each.
  template <unsigned kCount>
  static void add(RunWord* to, const RunWord* from, std::uint64_t more) noexcept {
#pragma GCC unroll 4
    for (unsigned i = 0; i < kCount; i += 2) store_pair(to + i, load_pair(from + i) + more);
  }
  template <unsigned kCount>
  static void fill(RunWord* to, std::uint64_t word) noexcept {
#pragma GCC unroll 4
    for (unsigned i = 0; i < kCount; i += 2) store_pair(to + i, WordPair{word, word});
  }
  /// Stores words that were worked out one by one as the vectors that they are loaded as. A load that takes
  /// what several stores have written waits until the CPU has let all stores before them out, such as those
  /// to lines that a device holds.
  template <unsigned kCount>
  static void store_words(RunWord* to, const std::array<std::uint64_t, kCount>& words) noexcept {
#pragma GCC unroll 4
    for (unsigned i = 0; i < kCount; i += 2) store_pair(to + i, WordPair{words[i], words[i + 1]});
  }
  template <unsigned kCount>
  [[nodiscard]] static bool same(const RunWord* a, const RunWord* b) noexcept {
    WordPair difference{};
#pragma GCC unroll 4
    for (unsigned i = 0; i < kCount; i += 2) difference |= load_pair(a + i) ^ load_pair(b + i);
    return !any_bit(difference);
  }
  /// Copies the words of `from` if all of `to` are zero.
  template <unsigned kCount>
  [[nodiscard]] static bool fill_empty(RunWord* to, const RunWord* from) noexcept {
    WordPair taken{};
#pragma GCC unroll 4
    for (unsigned i = 0; i < kCount; i += 2) taken |= load_pair(to + i);
    if (any_bit(taken)) return false;
#pragma GCC unroll 4
    for (unsigned i = 0; i < kCount; i += 2) store_pair(to + i, load_pair(from + i));
    return true;
  }
  /// The other way round, for addresses of user space (their top bit is clear): moves them away if none is
  /// null.
  template <unsigned kCount>
  [[nodiscard]] static bool take_full(RunWord* from, RunWord* to) noexcept {
    WordPair signs{};  // what has one after 1 was taken from it was null
#pragma GCC unroll 4
    for (unsigned i = 0; i < kCount; i += 2) {
      const WordPair pair = load_pair(from + i);
      signs |= pair - 1;
      store_pair(to + i, pair);
    }
    if (any_sign(signs)) return false;
#pragma GCC unroll 4
    for (unsigned i = 0; i < kCount; i += 2) store_pair(from + i, WordPair{});
    return true;
  }
  /// Whether the low halves of 8 words, which a device may write at the same time, count up from `first`. The
  /// high halves go to `highs`.
  [[nodiscard]] static bool counts_up(const void* words, std::uint32_t first, std::uint32_t* highs) noexcept {
    const auto* const at = static_cast<const std::byte*>(words);
    WordPair difference{};
    WordPair expected{first, std::uint64_t{first} + 1};
#pragma GCC unroll 4
    for (unsigned i = 0; i < 4; i += 2) {
      const WordPair two = load_pair_relaxed(at + i * sizeof(WordPair));
      const WordPair next = load_pair_relaxed(at + (i + 1) * sizeof(WordPair));
      difference |= (two ^ expected) | (next ^ (expected + 2));
      expected += 4;
      store_pair(highs + 2 * i, high_halves(two, next));
    }
    constexpr std::uint64_t kLow = 0xFFFF'FFFF;
    return !any_bit(difference & kLow);
  }
  /// Of the kCount pairs at `pairs`, which a device may write at the same time: whether each second word is,
  /// in the bits of `mask`, `expected` plus as many `step` as come before it. Their low halves go to `lows`.
  template <unsigned kCount>
  [[nodiscard]] static bool seconds_step(const RunWord* pairs, std::uint64_t mask, std::uint64_t expected,
                                         std::uint64_t step, std::uint32_t* lows) noexcept {
    std::uint64_t difference = 0;
#pragma GCC unroll 8
    for (unsigned i = 0; i < kCount; ++i) {
      const std::uint64_t second = __atomic_load_n(pairs + 2 * i + 1, __ATOMIC_ACQUIRE);
      difference |= second ^ (expected + i * step);
      lows[i] = static_cast<std::uint32_t>(second);
    }
    return (difference & mask) == 0;
  }
  /// Writes kCount pairs that a device may read at the same time: `firsts`, and `seconds` with what is
  /// `more`.
  template <unsigned kCount>
  static void write_pairs(RunWord* pairs, const RunWord* firsts, const RunWord* seconds,
                          const StepsMore& more) noexcept {
#pragma GCC unroll 8
    for (unsigned i = 0; i < kCount; ++i) {
      pairs[2 * i] = firsts[i];
      const std::uint64_t second = seconds[i] + more.base + i * more.step + (i == 0 ? more.first : 0);
      __atomic_store_n(pairs + 2 * i + 1, second, __ATOMIC_RELAXED);
    }
  }
  /// Whether each of the numbers is one from `least` to `most`, which are below 2^31.
  template <unsigned kCount>
  [[nodiscard]] static bool within(const std::uint32_t* numbers, std::uint32_t least,
                                   std::uint32_t most) noexcept {
    Numbers outside{};  // their top bits: neither difference has it, or the number is not one of these
#pragma GCC unroll 2
    for (unsigned i = 0; i < kCount; i += 4) {
      const auto four = std::bit_cast<Numbers>(load_pair(numbers + i));
      outside |= (four - least) | (most - four);
    }
    constexpr std::uint64_t kTops = 0x8000'0000'8000'0000;
    return !any_bit(std::bit_cast<WordPair>(outside) & kTops);
  }
  /// Writes a block to each of these: `block`, and one of the numbers added to both halves of its second
  /// word.
  template <unsigned kCount>
  static void write_blocks(void* const* blocks, const Block& block, const std::uint32_t* numbers) noexcept {
#pragma GCC unroll 8
    for (unsigned i = 0; i < kCount; ++i) {
      auto* const to = static_cast<std::byte*>(blocks[i]);
      store_pair(to, WordPair{block[0], block[1] + numbers[i] * kBothHalves});
      store_pair(to + sizeof(WordPair), WordPair{block[2], block[3]});
    }
  }

 private:
  using Numbers = std::uint32_t __attribute__((vector_size(16)));

  [[nodiscard]] static WordPair high_halves(const WordPair& a, const WordPair& b) noexcept {
    return std::bit_cast<WordPair>(
        __builtin_shufflevector(std::bit_cast<Numbers>(a), std::bit_cast<Numbers>(b), 1, 3, 5, 7));
  }
};

/// The 8 numbers of 16 bits that count up from `first`.
[[nodiscard]] inline WordPair counting_8(std::uint16_t first) noexcept {
  using Numbers = std::uint16_t __attribute__((vector_size(16)));
  return std::bit_cast<WordPair>(Numbers{0, 1, 2, 3, 4, 5, 6, 7} + first);
}

}  // namespace spinring
