#pragma once

#include <cstdint>

#include "base/cpu.hpp"
#include "base/word_run.hpp"

#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
/// What has Avx2Runs inlined is compiled for.
#define SPINRING_AVX2_TARGET "avx2"

namespace spinring {

/// What NarrowRuns does, by AVX2; its comments hold. Nothing here relies on more than that each 8-byte word
/// of a load or store is one access.
struct Avx2Runs {
  template <unsigned kCount>
  [[gnu::target(SPINRING_AVX2_TARGET)]] static void copy(RunWord* to, const RunWord* from) noexcept {
    if constexpr (kCount == 2) return store_pair(to, load_pair(from));
#pragma GCC unroll 2
    for (unsigned i = 0; i < kCount; i += 4) store(to + i, load(from + i));
  }
  template <unsigned kCount>
  [[gnu::target(SPINRING_AVX2_TARGET)]] static void add(RunWord* to, const RunWord* from,
                                                        std::uint64_t more) noexcept {
#pragma GCC unroll 2
    for (unsigned i = 0; i < kCount; i += 4) store(to + i, _mm256_add_epi64(load(from + i), set(more)));
  }
  template <unsigned kCount>
  [[gnu::target(SPINRING_AVX2_TARGET)]] static void fill(RunWord* to, std::uint64_t word) noexcept {
#pragma GCC unroll 2
    for (unsigned i = 0; i < kCount; i += 4) store(to + i, set(word));
  }
  template <unsigned kCount>
  [[gnu::target(SPINRING_AVX2_TARGET)]] static void store_words(
      RunWord* to, const std::array<std::uint64_t, kCount>& words) noexcept {
#pragma GCC unroll 2
    for (unsigned i = 0; i < kCount; i += 4) store(to + i, gather(&words[i]));
  }
  template <unsigned kCount>
  [[gnu::target(SPINRING_AVX2_TARGET)]] [[nodiscard]] static bool same(const RunWord* a,
                                                                       const RunWord* b) noexcept {
    __m256i difference = _mm256_xor_si256(load(a), load(b));
    if constexpr (kCount == 8)
      difference = _mm256_or_si256(difference, _mm256_xor_si256(load(a + 4), load(b + 4)));
    return _mm256_testz_si256(difference, difference) != 0;
  }
  template <unsigned kCount>
  [[gnu::target(SPINRING_AVX2_TARGET)]] [[nodiscard]] static bool fill_empty(RunWord* to,
                                                                             const RunWord* from) noexcept {
    __m256i there = load(to);
    if constexpr (kCount == 8) there = _mm256_or_si256(there, load(to + 4));
    if (_mm256_testz_si256(there, there) == 0) return false;
    store(to, load(from));
    if constexpr (kCount == 8) store(to + 4, load(from + 4));
    return true;
  }
  template <unsigned kCount>
  [[gnu::target(SPINRING_AVX2_TARGET)]] [[nodiscard]] static bool take_full(RunWord* from,
                                                                            RunWord* to) noexcept {
    const __m256i none = _mm256_setzero_si256();
    const __m256i low = load(from);
    __m256i empty = _mm256_cmpeq_epi64(low, none);
    store(to, low);
    if constexpr (kCount == 8) {
      const __m256i high = load(from + 4);
      empty = _mm256_or_si256(empty, _mm256_cmpeq_epi64(high, none));
      store(to + 4, high);
    }
    if (_mm256_testz_si256(empty, empty) == 0) return false;
    store(from, none);
    if constexpr (kCount == 8) store(from + 4, none);
    return true;
  }
  [[gnu::target(SPINRING_AVX2_TARGET)]] [[nodiscard]] static bool counts_up(const void* words,
                                                                            std::uint32_t first,
                                                                            std::uint32_t* highs) noexcept {
    const __m256i low = load(words);
    const __m256i high = load(static_cast<const std::byte*>(words) + sizeof(low));
    __atomic_signal_fence(__ATOMIC_ACQUIRE);
    const __m256i odd = _mm256_castps_si256(
        _mm256_shuffle_ps(_mm256_castsi256_ps(low), _mm256_castsi256_ps(high), 0b11'01'11'01));
    store(highs, _mm256_permute4x64_epi64(odd, kEvenFirst));
    const __m256i expected = _mm256_add_epi32(_mm256_set1_epi64x(first), _mm256_setr_epi64x(0, 1, 2, 3));
    const __m256i difference =
        _mm256_or_si256(_mm256_xor_si256(low, expected),
                        _mm256_xor_si256(high, _mm256_add_epi32(expected, _mm256_set1_epi64x(4))));
    return _mm256_testz_si256(difference, _mm256_set1_epi64x(0xFFFF'FFFF)) != 0;
  }
  template <unsigned kCount>
  [[gnu::target(SPINRING_AVX2_TARGET)]] [[nodiscard]] static bool seconds_step(const RunWord* pairs,
                                                                               std::uint64_t mask,
                                                                               std::uint64_t expected,
                                                                               std::uint64_t step,
                                                                               std::uint32_t* lows) noexcept {
    __m256i difference = seconds_differ(pairs, expected, step, lows);
    if constexpr (kCount == 8)
      difference =
          _mm256_or_si256(difference, seconds_differ(pairs + 8, expected + 4 * step, step, lows + 4));
    return _mm256_testz_si256(difference, set(mask)) != 0;
  }
  template <unsigned kCount>
  [[gnu::target(SPINRING_AVX2_TARGET)]] static void write_pairs(RunWord* pairs, const RunWord* firsts,
                                                                const RunWord* seconds,
                                                                const StepsMore& more) noexcept {
    __m256i added =
        _mm256_add_epi64(_mm256_add_epi64(set(more.base), steps(more.step)),
                         _mm256_zextsi128_si256(_mm_cvtsi64_si128(static_cast<long long>(more.first))));
#pragma GCC unroll 2
    for (unsigned i = 0; i < kCount; i += 4) {
      const __m256i first = load(firsts + i);
      const __m256i second = _mm256_add_epi64(load(seconds + i), added);
      const __m256i even = _mm256_unpacklo_epi64(first, second);
      const __m256i odd = _mm256_unpackhi_epi64(first, second);
      store(pairs + 2 * i, _mm256_permute2x128_si256(even, odd, 0x20));
      store(pairs + 2 * i + 4, _mm256_permute2x128_si256(even, odd, 0x31));
      added = _mm256_add_epi64(set(more.base + 4 * more.step), steps(more.step));
    }
    __atomic_signal_fence(__ATOMIC_RELEASE);
  }
  template <unsigned kCount>
  [[gnu::target(SPINRING_AVX2_TARGET)]] [[nodiscard]] static bool within(const std::uint32_t* numbers,
                                                                         std::uint32_t least,
                                                                         std::uint32_t most) noexcept {
    const __m256i all = kCount == 8 ? load(numbers) : _mm256_broadcastsi128_si256(load_half(numbers));
    const __m256i over = _mm256_sub_epi32(all, _mm256_set1_epi32(static_cast<int>(least)));
    const __m256i range = _mm256_set1_epi32(static_cast<int>(most - least));
    return _mm256_movemask_epi8(_mm256_cmpeq_epi32(_mm256_max_epu32(over, range), range)) == -1;
  }
  template <unsigned kCount>
  [[gnu::target(SPINRING_AVX2_TARGET)]] static void write_blocks(void* const* blocks, const Block& block,
                                                                 const std::uint32_t* numbers) noexcept {
    const __m256i all = gather(block.data());
    const __m256i evens = _mm256_unpacklo_epi64(all, all);
    const __m256i last = _mm256_permute4x64_epi64(all, 0b11'11'11'11);
#pragma GCC unroll 2
    for (unsigned i = 0; i < kCount; i += 4) {
      const __m256i four = _mm256_shuffle_epi32(_mm256_cvtepu32_epi64(load_half(numbers + i)), 0b10'10'00'00);
      const __m256i seconds = _mm256_add_epi64(four, set(block[1]));
      const __m256i low = _mm256_blend_epi32(last, seconds, 0b0000'1111);
      const __m256i high = _mm256_permute2x128_si256(seconds, last, 0x21);
      store(blocks[i], _mm256_unpacklo_epi64(evens, low));
      store(blocks[i + 1], _mm256_unpackhi_epi64(evens, low));
      store(blocks[i + 2], _mm256_unpacklo_epi64(evens, high));
      store(blocks[i + 3], _mm256_unpackhi_epi64(evens, high));
    }
  }
  /// Whether blocks lie in the range and are as `rule` says. Then two words for each: in `places` its address
  /// and the top 16 bits of its second word, in `others` the 16 bits below those, with what is to be added.
  /// Addresses are of user space (their top bit is clear).
  template <unsigned kCount>
  [[gnu::target(SPINRING_AVX2_TARGET)]] [[nodiscard]] static bool place_blocks(const void* const* blocks,
                                                                               const BlockRule& rule,
                                                                               const BlockPlaces& to,
                                                                               RunWord* places,
                                                                               RunWord* others) noexcept {
    const __m256i expected = load(rule.expected.data());
    __m256i difference = _mm256_setzero_si256();
    __m256i least = _mm256_set1_epi64x(-1);
    __m256i signs = difference;  // of what is out of range
#pragma GCC unroll 2
    for (unsigned i = 0; i < kCount; i += 4) {
      const __m256i seconds = _mm256_inserti128_si256(
          two_seconds(blocks + i, expected, difference, least),
          _mm256_castsi256_si128(two_seconds(blocks + i + 2, expected, difference, least)), 1);
      const __m256i at = load(blocks + i);
      signs = _mm256_or_si256(signs, _mm256_or_si256(_mm256_sub_epi64(at, set(to.range.first)),
                                                     _mm256_sub_epi64(set(to.range.last), at)));
      store(places + i,
            _mm256_add_epi64(_mm256_add_epi64(at, set(to.to_place)), _mm256_srli_epi64(seconds, 48)));
      store(others + i,
            _mm256_add_epi64(_mm256_srli_epi64(_mm256_slli_epi64(seconds, 16), 48), set(to.to_other)));
    }
    const __m256i wrong = _mm256_or_si256(_mm256_and_si256(difference, load(rule.mask.data())),
                                          _mm256_subs_epu16(load(rule.least.data()), least));
    return _mm256_testz_si256(wrong, wrong) != 0 && _mm256_movemask_pd(_mm256_castsi256_pd(signs)) == 0;
  }
  template <unsigned kCount>
  [[gnu::target(SPINRING_AVX2_TARGET)]] [[nodiscard]] static std::uint64_t sum(
      const RunWord* words) noexcept {
    __m256i all = load(words);
    if constexpr (kCount == 8) all = _mm256_add_epi64(all, load(words + 4));
    const __m128i two = _mm_add_epi64(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
    return static_cast<std::uint64_t>(_mm_extract_epi64(two, 0) + _mm_extract_epi64(two, 1));
  }

  /// Four words in a register. If they were worked out one by one a load would wait for the stores of them,
  /// and for all stores before (NarrowRuns::store_words()).
  [[gnu::target(SPINRING_AVX2_TARGET)]] static __m256i gather(const std::uint64_t* words) noexcept {
    const auto word = [words](unsigned at) { return static_cast<long long>(words[at]); };
    return _mm256_setr_epi64x(word(0), word(1), word(2), word(3));
  }
  /// For what else works by AVX2.
  [[gnu::target(SPINRING_AVX2_TARGET)]] static __m256i load(const void* at) noexcept {
    return _mm256_loadu_si256(static_cast<const __m256i_u*>(at));
  }
  [[gnu::target(SPINRING_AVX2_TARGET)]] static void store(void* at, __m256i words) noexcept {
    _mm256_storeu_si256(static_cast<__m256i_u*>(at), words);
  }
  [[gnu::target(SPINRING_AVX2_TARGET)]] static __m256i set(std::uint64_t word) noexcept {
    return _mm256_set1_epi64x(static_cast<long long>(word));
  }
  static constexpr int kEvenFirst = 0b11'01'10'00;  ///< words 0, 2, 1, 3

 private:
  /// The second words of two blocks, in the low half; gathers what differs from `expected`, and the least of
  /// each part.
  [[gnu::target(SPINRING_AVX2_TARGET)]] static __m256i two_seconds(const void* const* blocks,
                                                                   __m256i expected, __m256i& difference,
                                                                   __m256i& least) noexcept {
    const __m256i a = load(blocks[0]);
    const __m256i b = load(blocks[1]);
    difference = _mm256_or_si256(
        difference, _mm256_or_si256(_mm256_xor_si256(a, expected), _mm256_xor_si256(b, expected)));
    least = _mm256_min_epu16(least, _mm256_min_epu16(a, b));
    return _mm256_unpackhi_epi64(a, b);
  }
  /// Of 4 pairs: how each second word differs from `expected` and as many `step` as come before it.
  [[gnu::target(SPINRING_AVX2_TARGET)]] static __m256i seconds_differ(const RunWord* pairs,
                                                                      std::uint64_t expected,
                                                                      std::uint64_t step,
                                                                      std::uint32_t* lows) noexcept {
    const __m256i second =
        _mm256_permute4x64_epi64(_mm256_unpackhi_epi64(load(pairs), load(pairs + 4)), kEvenFirst);
    __atomic_signal_fence(__ATOMIC_ACQUIRE);
    const __m256i low = _mm256_permutevar8x32_epi32(second, _mm256_setr_epi32(0, 2, 4, 6, 0, 0, 0, 0));
    _mm_storeu_si128(reinterpret_cast<__m128i_u*>(lows), _mm256_castsi256_si128(low));
    return _mm256_xor_si256(second, _mm256_add_epi64(set(expected), steps(step)));
  }
  [[gnu::target(SPINRING_AVX2_TARGET)]] static __m128i load_half(const void* at) noexcept {
    return _mm_loadu_si128(static_cast<const __m128i_u*>(at));
  }
  [[gnu::target(SPINRING_AVX2_TARGET)]] static __m256i steps(std::uint64_t step) noexcept {
    const auto one = static_cast<long long>(step);
    return _mm256_setr_epi64x(0, one, 2 * one, 3 * one);
  }
};

}  // namespace spinring
#endif
