#pragma once

#include <cstdint>

#include "base/cpu.hpp"
#include "base/word_run.hpp"
#include "base/word_run_avx2.hpp"

#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
/// What has Avx512Runs inlined is compiled for.
#define SPINRING_AVX512_TARGET "avx512f,avx512vl,avx512dq,avx512bw"

namespace spinring {

/// What NarrowRuns does, by AVX-512; its comments hold. A load or store of an aligned line is one access on
/// the CPUs that have it; nothing here relies on more than that each 8-byte word is.
struct Avx512Runs {
  template <unsigned kCount>
  [[gnu::target(SPINRING_AVX512_TARGET)]] static void copy(RunWord* to, const RunWord* from) noexcept {
    if constexpr (kCount == 8) return _mm512_storeu_si512(to, _mm512_loadu_si512(from));
    Avx2Runs::copy<kCount>(to, from);
  }
  template <unsigned kCount>
  [[gnu::target(SPINRING_AVX512_TARGET)]] static void add(RunWord* to, const RunWord* from,
                                                          std::uint64_t more) noexcept {
    if constexpr (kCount == 8)
      return _mm512_storeu_si512(to, _mm512_add_epi64(_mm512_loadu_si512(from), set8(more)));
    Avx2Runs::add<kCount>(to, from, more);
  }
  template <unsigned kCount>
  [[gnu::target(SPINRING_AVX512_TARGET)]] static void fill(RunWord* to, std::uint64_t word) noexcept {
    if constexpr (kCount == 8) return _mm512_storeu_si512(to, set8(word));
    Avx2Runs::fill<kCount>(to, word);
  }
  template <unsigned kCount>
  [[gnu::target(SPINRING_AVX512_TARGET)]] static void store_words(
      RunWord* to, const std::array<std::uint64_t, kCount>& words) noexcept {
    const auto word = [&words](unsigned at) { return static_cast<long long>(words[at]); };
    if constexpr (kCount == 8) {
      _mm512_storeu_si512(
          to, _mm512_setr_epi64(word(0), word(1), word(2), word(3), word(4), word(5), word(6), word(7)));
    } else {
      Avx2Runs::store_words<kCount>(to, words);
    }
  }
  template <unsigned kCount>
  [[gnu::target(SPINRING_AVX512_TARGET)]] [[nodiscard]] static bool same(const RunWord* a,
                                                                         const RunWord* b) noexcept {
    if constexpr (kCount == 8)
      return _mm512_cmpneq_epi64_mask(_mm512_loadu_si512(a), _mm512_loadu_si512(b)) == 0;
    return _mm256_cmpneq_epi64_mask(load4(a), load4(b)) == 0;
  }
  template <unsigned kCount>
  [[gnu::target(SPINRING_AVX512_TARGET)]] [[nodiscard]] static bool fill_empty(RunWord* to,
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
  [[gnu::target(SPINRING_AVX512_TARGET)]] [[nodiscard]] static bool take_full(RunWord* from,
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
  [[gnu::target(SPINRING_AVX512_TARGET)]] [[nodiscard]] static bool counts_up(const void* words,
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
  [[gnu::target(SPINRING_AVX512_TARGET)]] [[nodiscard]] static bool seconds_step(
      const RunWord* pairs, std::uint64_t mask, std::uint64_t expected, std::uint64_t step,
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
  [[gnu::target(SPINRING_AVX512_TARGET)]] static void write_pairs(RunWord* pairs, const RunWord* firsts,
                                                                  const RunWord* seconds,
                                                                  const StepsMore& more) noexcept {
    const __m128i to_first = _mm_cvtsi64_si128(static_cast<long long>(more.first));
    const __m512i low = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
    if constexpr (kCount == 8) {
      const __m512i high = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);
      const __m512i first = _mm512_loadu_si512(firsts);
      const __m512i added = _mm512_add_epi64(_mm512_add_epi64(set8(more.base), steps8(more.step)),
                                             _mm512_zextsi128_si512(to_first));
      const __m512i second = _mm512_add_epi64(_mm512_loadu_si512(seconds), added);
      _mm512_storeu_si512(pairs, _mm512_permutex2var_epi64(first, low, second));
      _mm512_storeu_si512(pairs + 8, _mm512_permutex2var_epi64(first, high, second));
    } else {
      const __m256i added = _mm256_add_epi64(_mm256_add_epi64(set4(more.base), steps4(more.step)),
                                             _mm256_zextsi128_si256(to_first));
      const __m256i second = _mm256_add_epi64(load4(seconds), added);
      _mm512_storeu_si512(pairs, _mm512_permutex2var_epi64(_mm512_zextsi256_si512(load4(firsts)), low,
                                                           _mm512_zextsi256_si512(second)));
    }
    __atomic_signal_fence(__ATOMIC_RELEASE);
  }
  template <unsigned kCount>
  [[gnu::target(SPINRING_AVX512_TARGET)]] [[nodiscard]] static bool within(const std::uint32_t* numbers,
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
  /// As Avx2Runs::place_blocks().
  template <unsigned kCount>
  [[gnu::target(SPINRING_AVX512_TARGET)]] [[nodiscard]] static bool place_blocks(const void* const* blocks,
                                                                                 const BlockRule& rule,
                                                                                 const BlockPlaces& to,
                                                                                 RunWord* places,
                                                                                 RunWord* others) noexcept {
    if constexpr (kCount == 4) return Avx2Runs::place_blocks<kCount>(blocks, rule, to, places, others);
    const __m256i expected = load4(rule.expected.data());
    __m256i difference = _mm256_setzero_si256();
    __m256i least = _mm256_set1_epi64x(-1);
    const __m512i low = four_seconds(blocks, expected, difference, least);
    const __m512i high = four_seconds(blocks + 4, expected, difference, least);
    const __m512i seconds = _mm512_shuffle_i64x2(low, high, 0b10'00'10'00);
    const __m512i at = _mm512_loadu_si512(blocks);
    _mm512_storeu_si512(
        places, _mm512_add_epi64(_mm512_add_epi64(at, set8(to.to_place)), _mm512_srli_epi64(seconds, 48)));
    _mm512_storeu_si512(
        others, _mm512_add_epi64(_mm512_srli_epi64(_mm512_slli_epi64(seconds, 16), 48), set8(to.to_other)));
    const unsigned wrong = _mm256_test_epi64_mask(difference, load4(rule.mask.data()));
    const unsigned under = _mm256_cmplt_epu16_mask(least, load4(rule.least.data()));
    const unsigned outside = _mm512_cmpgt_epu64_mask(_mm512_sub_epi64(at, set8(to.range.first)),
                                                     set8(to.range.last - to.range.first));
    return (wrong | under | outside) == 0;
  }
  template <unsigned kCount>
  [[gnu::target(SPINRING_AVX512_TARGET)]] [[nodiscard]] static std::uint64_t sum(
      const RunWord* words) noexcept {
    return Avx2Runs::sum<kCount>(words);
  }
  template <unsigned kCount>
  [[gnu::target(SPINRING_AVX512_TARGET)]] static void write_blocks(void* const* blocks, const Block& block,
                                                                   const std::uint32_t* numbers) noexcept {
    const __m512i all =
        _mm512_cvtepu32_epi64(kCount == 8 ? load4(numbers) : _mm256_zextsi128_si256(load2(numbers)));
    const __m512i seconds =
        _mm512_add_epi64(_mm512_or_si512(all, _mm512_slli_epi64(all, 32)), set8(block[1]));
    const __m512i two = _mm512_broadcast_i64x4(Avx2Runs::gather(block.data()));
#pragma GCC unroll 4
    for (unsigned i = 0; i < kCount; i += 2) {
      constexpr __mmask8 kSeconds = 0b0010'0010;
      const __m512i words = _mm512_setr_epi64(0, i, 0, 0, 0, i + 1, 0, 0);
      const __m512i made = _mm512_mask_permutexvar_epi64(two, kSeconds, words, seconds);
      store4(blocks[i], _mm512_castsi512_si256(made));
      store4(blocks[i + 1], _mm512_extracti64x4_epi64(made, 1));
    }
  }

 private:
  /// The second words of two blocks, in the low half; gathers what differs from `expected`, and the least of
  /// each part.
  [[gnu::target(SPINRING_AVX512_TARGET)]] static __m256i two_seconds(const void* const* blocks,
                                                                     __m256i expected, __m256i& difference,
                                                                     __m256i& least) noexcept {
    const __m256i a = load4(blocks[0]);
    const __m256i b = load4(blocks[1]);
    constexpr int kOrXor = 0xF6;  // a | (b ^ c)
    difference = _mm256_ternarylogic_epi64(difference, expected, a, kOrXor);
    difference = _mm256_ternarylogic_epi64(difference, expected, b, kOrXor);
    least = _mm256_min_epu16(least, _mm256_min_epu16(a, b));
    return _mm256_unpackhi_epi64(a, b);
  }
  /// Of four blocks, two in the low quarter, two in the third.
  [[gnu::target(SPINRING_AVX512_TARGET)]] static __m512i four_seconds(const void* const* blocks,
                                                                      __m256i expected, __m256i& difference,
                                                                      __m256i& least) noexcept {
    const __m256i two = two_seconds(blocks, expected, difference, least);
    return _mm512_inserti64x4(_mm512_zextsi256_si512(two),
                              two_seconds(blocks + 2, expected, difference, least), 1);
  }
  [[gnu::target(SPINRING_AVX512_TARGET)]] static __m128i load2(const void* at) noexcept {
    return _mm_loadu_si128(static_cast<const __m128i_u*>(at));
  }
  [[gnu::target(SPINRING_AVX512_TARGET)]] static __m256i load4(const void* at) noexcept {
    return _mm256_loadu_si256(static_cast<const __m256i_u*>(at));
  }
  [[gnu::target(SPINRING_AVX512_TARGET)]] static void store4(void* at, __m256i words) noexcept {
    _mm256_storeu_si256(static_cast<__m256i_u*>(at), words);
  }
  [[gnu::target(SPINRING_AVX512_TARGET)]] static __m512i set8(std::uint64_t word) noexcept {
    return _mm512_set1_epi64(static_cast<long long>(word));
  }
  [[gnu::target(SPINRING_AVX512_TARGET)]] static __m512i steps8(std::uint64_t step) noexcept {
    const auto one = static_cast<long long>(step);
    return _mm512_setr_epi64(0, one, 2 * one, 3 * one, 4 * one, 5 * one, 6 * one, 7 * one);
  }
  [[gnu::target(SPINRING_AVX512_TARGET)]] static __m256i set4(std::uint64_t word) noexcept {
    return _mm256_set1_epi64x(static_cast<long long>(word));
  }
  [[gnu::target(SPINRING_AVX512_TARGET)]] static __m256i steps4(std::uint64_t step) noexcept {
    const auto one = static_cast<long long>(step);
    return _mm256_setr_epi64x(0, one, 2 * one, 3 * one);
  }
};

}  // namespace spinring
#endif
