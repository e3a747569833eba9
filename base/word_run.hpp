#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "base/cpu.hpp"
#include "base/word_pair.hpp"

namespace spinring {

/// A word of a run: what lies there may be of another type, such as a pointer.
using RunWord = std::uint64_t __attribute__((may_alias));

/// What 32 bytes are to be like: as `expected` in the bits of `mask`, and each part of 16 bits at least `least`.
struct BlockRule {
  alignas(32) std::array<std::uint64_t, 4> expected{};
  alignas(32) std::array<std::uint64_t, 4> mask{};
  alignas(32) std::array<std::uint16_t, 16> least{};
};

/// Runs of 4 or 8 neighbouring 64-bit words, by vectors that every CPU has.
struct NarrowRuns {
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
  /// Of the kCount pairs at `pairs`, which a device may write at the same time: whether each second word is, in
  /// the bits of `mask`, `expected` plus as many `step` as come before it. Their low halves go to `lows`.
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
  /// Writes kCount pairs that a device may read at the same time: `firsts`, and `seconds` with `base` plus as
  /// many `step` as come before it.
  template <unsigned kCount>
  static void write_pairs(RunWord* pairs, const RunWord* firsts, const RunWord* seconds, std::uint64_t base,
                          std::uint64_t step) noexcept {
#pragma GCC unroll 8
    for (unsigned i = 0; i < kCount; ++i) {
      pairs[2 * i] = firsts[i];
      __atomic_store_n(pairs + 2 * i + 1, seconds[i] + base + i * step, __ATOMIC_RELAXED);
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
  /// Makes a word of each number: it in both halves, and `added`.
  template <unsigned kCount>
  static void double_each(const std::uint32_t* numbers, std::uint64_t added, RunWord* words) noexcept {
#pragma GCC unroll 2
    for (unsigned i = 0; i < kCount; i += 4) {
      const auto four = std::bit_cast<Numbers>(load_pair(numbers + i));
      store_pair(words + i, std::bit_cast<WordPair>(__builtin_shufflevector(four, four, 0, 0, 1, 1)) + added);
      store_pair(words + i + 2,
                 std::bit_cast<WordPair>(__builtin_shufflevector(four, four, 2, 2, 3, 3)) + added);
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

#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
/// What has WideRuns inlined is compiled for.
#define SPINRING_WIDE_TARGET "avx512f,avx512vl,avx512dq,avx512bw"

/// The same by AVX-512. A load or store of an aligned line is one access on the CPUs that have it; nothing
/// here relies on more than that each 8-byte word is.
struct WideRuns {
  template <unsigned kCount>
  [[gnu::target(SPINRING_WIDE_TARGET)]] [[nodiscard]] static bool same(const RunWord* a,
                                                                       const RunWord* b) noexcept {
    if constexpr (kCount == 8)
      return _mm512_cmpneq_epi64_mask(_mm512_loadu_si512(a), _mm512_loadu_si512(b)) == 0;
    return _mm256_cmpneq_epi64_mask(load4(a), load4(b)) == 0;
  }
  template <unsigned kCount>
  [[gnu::target(SPINRING_WIDE_TARGET)]] [[nodiscard]] static bool fill_empty(RunWord* to,
                                                                             const RunWord* from) noexcept {
    if constexpr (kCount == 8) {
      const __m512i there = _mm512_loadu_si512(to);
      if (_mm512_test_epi64_mask(there, there) != 0) return false;
      _mm512_storeu_si512(to, _mm512_loadu_si512(from));
    } else {
      const __m256i there = load4(to);
      if (_mm256_test_epi64_mask(there, there) != 0) return false;
      store4(to, load4(from));
    }
    return true;
  }
  template <unsigned kCount>
  [[gnu::target(SPINRING_WIDE_TARGET)]] [[nodiscard]] static bool take_full(RunWord* from,
                                                                            RunWord* to) noexcept {
    if constexpr (kCount == 8) {
      const __m512i all = _mm512_loadu_si512(from);
      _mm512_storeu_si512(to, all);
      if (_mm512_testn_epi64_mask(all, all) != 0) return false;
      _mm512_storeu_si512(from, _mm512_setzero_si512());
    } else {
      const __m256i all = load4(from);
      store4(to, all);
      if (_mm256_testn_epi64_mask(all, all) != 0) return false;
      store4(from, _mm256_setzero_si256());
    }
    return true;
  }
  [[gnu::target(SPINRING_WIDE_TARGET)]] [[nodiscard]] static bool counts_up(const void* words,
                                                                            std::uint32_t first,
                                                                            std::uint32_t* highs) noexcept {
    const __m512i all = _mm512_loadu_si512(words);
    __atomic_signal_fence(__ATOMIC_ACQUIRE);
    store4(highs, _mm512_cvtepi64_epi32(_mm512_srli_epi64(all, 32)));
    const __m512i expected =
        _mm512_add_epi32(_mm512_set1_epi32(static_cast<int>(first)),
                         _mm512_setr_epi32(0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0));
    constexpr __mmask16 kLow = 0x5555;
    return _mm512_mask_cmpneq_epi32_mask(kLow, all, expected) == 0;
  }
  template <unsigned kCount>
  [[gnu::target(SPINRING_WIDE_TARGET)]] [[nodiscard]] static bool seconds_step(const RunWord* pairs,
                                                                               std::uint64_t mask,
                                                                               std::uint64_t expected,
                                                                               std::uint64_t step,
                                                                               std::uint32_t* lows) noexcept {
    const __m512i odd = _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15);
    const __m512i line = _mm512_loadu_si512(pairs);
    if constexpr (kCount == 8) {
      const __m512i words = _mm512_permutex2var_epi64(line, odd, _mm512_loadu_si512(pairs + 8));
      __atomic_signal_fence(__ATOMIC_ACQUIRE);
      store4(lows, _mm512_cvtepi64_epi32(words));
      const __m512i steps = _mm512_add_epi64(set8(expected), steps8(step));
      return _mm512_test_epi64_mask(_mm512_xor_si512(words, steps), set8(mask)) == 0;
    } else {
      __atomic_signal_fence(__ATOMIC_ACQUIRE);
      const __m256i words = _mm512_castsi512_si256(_mm512_maskz_permutexvar_epi64(0xF, odd, line));
      _mm_storeu_si128(reinterpret_cast<__m128i_u*>(lows), _mm256_cvtepi64_epi32(words));
      const __m256i steps = _mm256_add_epi64(set4(expected), steps4(step));
      return _mm256_test_epi64_mask(_mm256_xor_si256(words, steps), set4(mask)) == 0;
    }
  }
  template <unsigned kCount>
  [[gnu::target(SPINRING_WIDE_TARGET)]] static void write_pairs(RunWord* pairs, const RunWord* firsts,
                                                                const RunWord* seconds, std::uint64_t base,
                                                                std::uint64_t step) noexcept {
    const __m512i low = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
    if constexpr (kCount == 8) {
      const __m512i high = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);
      const __m512i first = _mm512_loadu_si512(firsts);
      const __m512i second =
          _mm512_add_epi64(_mm512_loadu_si512(seconds), _mm512_add_epi64(set8(base), steps8(step)));
      _mm512_storeu_si512(pairs, _mm512_permutex2var_epi64(first, low, second));
      _mm512_storeu_si512(pairs + 8, _mm512_permutex2var_epi64(first, high, second));
    } else {
      const __m256i second = _mm256_add_epi64(load4(seconds), _mm256_add_epi64(set4(base), steps4(step)));
      _mm512_storeu_si512(pairs, _mm512_permutex2var_epi64(_mm512_zextsi256_si512(load4(firsts)), low,
                                                           _mm512_zextsi256_si512(second)));
    }
    __atomic_signal_fence(__ATOMIC_RELEASE);
  }
  template <unsigned kCount>
  [[gnu::target(SPINRING_WIDE_TARGET)]] [[nodiscard]] static bool within(const std::uint32_t* numbers,
                                                                         std::uint32_t least,
                                                                         std::uint32_t most) noexcept {
    const auto from = static_cast<int>(least);
    const auto range = static_cast<int>(most - least);
    if constexpr (kCount == 8) {
      const __m256i over = _mm256_sub_epi32(load4(numbers), _mm256_set1_epi32(from));
      return _mm256_cmpgt_epu32_mask(over, _mm256_set1_epi32(range)) == 0;
    }
    const __m128i over = _mm_sub_epi32(load2(numbers), _mm_set1_epi32(from));
    return _mm_cmpgt_epu32_mask(over, _mm_set1_epi32(range)) == 0;
  }
  /// Whether the 32 bytes at each of these are as `rule` says.
  template <unsigned kCount>
  [[gnu::target(SPINRING_WIDE_TARGET)]] [[nodiscard]] static bool all_keep(const void* const* blocks,
                                                                           const BlockRule& rule) noexcept {
    const __m256i expected = load4(rule.expected.data());
    const __m256i first = load4(blocks[0]);
    __m256i difference = _mm256_xor_si256(expected, first);
    __m256i least = first;
#pragma GCC unroll 8
    for (unsigned i = 1; i < kCount; ++i) {
      const __m256i block = load4(blocks[i]);
      constexpr int kOrXor = 0xF6;  // a | (b ^ c)
      difference = _mm256_ternarylogic_epi64(difference, expected, block, kOrXor);
      least = _mm256_min_epu16(least, block);
    }
    const unsigned wrong = _mm256_test_epi64_mask(difference, load4(rule.mask.data()));
    const unsigned low = _mm256_cmplt_epu16_mask(least, load4(rule.least.data()));
    return (wrong | low) == 0;
  }
  template <unsigned kCount>
  [[gnu::target(SPINRING_WIDE_TARGET)]] static void double_each(const std::uint32_t* numbers,
                                                                std::uint64_t added, RunWord* words) noexcept {
    const auto more = static_cast<long long>(added);
    if constexpr (kCount == 8) {
      const __m512i all = _mm512_cvtepu32_epi64(load4(numbers));
      _mm512_storeu_si512(words, _mm512_add_epi64(_mm512_or_si512(all, _mm512_slli_epi64(all, 32)),
                                                  _mm512_set1_epi64(more)));
    } else {
      const __m256i all = _mm256_cvtepu32_epi64(load2(numbers));
      store4(words, _mm256_add_epi64(_mm256_or_si256(all, _mm256_slli_epi64(all, 32)),
                                     _mm256_set1_epi64x(more)));
    }
  }

 private:
  [[gnu::target(SPINRING_WIDE_TARGET)]] static __m128i load2(const void* at) noexcept {
    return _mm_loadu_si128(static_cast<const __m128i_u*>(at));
  }
  [[gnu::target(SPINRING_WIDE_TARGET)]] static __m256i load4(const void* at) noexcept {
    return _mm256_loadu_si256(static_cast<const __m256i_u*>(at));
  }
  [[gnu::target(SPINRING_WIDE_TARGET)]] static void store4(void* at, __m256i words) noexcept {
    _mm256_storeu_si256(static_cast<__m256i_u*>(at), words);
  }
  [[gnu::target(SPINRING_WIDE_TARGET)]] static __m512i set8(std::uint64_t word) noexcept {
    return _mm512_set1_epi64(static_cast<long long>(word));
  }
  [[gnu::target(SPINRING_WIDE_TARGET)]] static __m512i steps8(std::uint64_t step) noexcept {
    const auto one = static_cast<long long>(step);
    return _mm512_setr_epi64(0, one, 2 * one, 3 * one, 4 * one, 5 * one, 6 * one, 7 * one);
  }
  [[gnu::target(SPINRING_WIDE_TARGET)]] static __m256i set4(std::uint64_t word) noexcept {
    return _mm256_set1_epi64x(static_cast<long long>(word));
  }
  [[gnu::target(SPINRING_WIDE_TARGET)]] static __m256i steps4(std::uint64_t step) noexcept {
    const auto one = static_cast<long long>(step);
    return _mm256_setr_epi64x(0, one, 2 * one, 3 * one);
  }
};

/// Whether the CPU has what WideRuns takes. SPINRING_VECTOR_BITS=128 in the environment says no: to compare.
[[nodiscard]] inline bool has_wide_vectors() noexcept {
  static const bool has = [] {
    const char* const limit = std::getenv("SPINRING_VECTOR_BITS");
    if (limit != nullptr && std::strcmp(limit, "512") != 0) return false;
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
  }();
  return has;
}
#endif

}  // namespace spinring
