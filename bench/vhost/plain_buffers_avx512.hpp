#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "base/ring_index.hpp"
#include "base/word_run_avx512.hpp"
#include "bench/vhost/batch.hpp"
#include "bench/vhost/plain.hpp"

#if defined(SPINRING_AVX512_TARGET)
namespace spinring::bench::vhost {

/// Eight at a time, fewer where either ring ends. Runs must not be short. The comments of NoVectors hold.
class Avx512Buffers {
 public:
  static constexpr unsigned kAtOnce = 8;
  static_assert(Batch::kVector >= kAtOnce);

  [[nodiscard]] static Taken take(const PlainBuffers& buffers, Chain* chains, unsigned count) noexcept {
    if (take_runs<false>(buffers, chains, count)) [[likely]]
      return Taken::kOneRun;
    return !buffers.in_order && take_runs<true>(buffers, chains, count) ? Taken::kRuns : Taken::kSingly;
  }

  static void write_used(vring_used_elem* ring, std::uint16_t mask, std::uint16_t index, const Batch& batch,
                         std::uint32_t bytes, unsigned count) noexcept {
    if (batch.taken == Taken::kOneRun) {
      write_used_run(ring, mask, index, batch.chains[0].id, bytes, count);
    } else {
      write_used_runs(ring, mask, index, batch.chains.data(), bytes, count);
    }
  }

  [[gnu::target(SPINRING_AVX512_TARGET)]] [[nodiscard]] static unsigned take_lines(const PlainLines plain,
                                                                                   Chain* chains,
                                                                                   unsigned lines) noexcept {
    const __m512i tail = set(std::uint64_t{plain.length} | std::uint64_t{plain.flags} << 48U);
    unsigned line = 0;
    for (; line < lines; ++line) {
      const std::byte* const from = plain.first + kCacheLine * line;
      const __m512i tails = _mm512_loadu_si512(from);
      const __m512i ids = _mm512_and_si512(tails, set(kIdBits));
      unsigned wrong = _mm512_mask_test_epi64_mask(kTails, _mm512_xor_si512(tails, tail), set(~kIdBits));
      wrong |= _mm512_mask_cmpge_epu64_mask(kTails, ids, set(std::uint64_t{plain.size} << 32U));
      // 2.8.13: the rest of a descriptor is good once its flags have been seen.
      const __m512i addresses = load_again(from);
      wrong |= _mm512_mask_cmpgt_epu64_mask(kAddresses, _mm512_sub_epi64(addresses, set(plain.guest)),
                                            set(plain.last));
      if (wrong != 0) [[unlikely]]
        break;
      const __m512i moved = _mm512_add_epi64(addresses, set(plain.to_here));
      _mm512_storeu_si512(
          chains + kDescriptorsOfLine * line,
          _mm512_mask_blend_epi64(kAddresses, _mm512_or_si512(ids, set(plain.length)), moved));
    }
    return line * kDescriptorsOfLine;
  }

  [[gnu::target(SPINRING_AVX512_TARGET)]] static void write_used_lines(std::byte* to, const Chain* chains,
                                                                       std::uint32_t bytes,
                                                                       std::uint16_t flags,
                                                                       unsigned lines) noexcept {
    const __m512i tail = set(std::uint64_t{bytes} | std::uint64_t{flags} << 48U);
    // The payload before the descriptors that hand it over.
    __atomic_signal_fence(__ATOMIC_RELEASE);
    for (unsigned line = lines; line-- > 0;) {
      const __m512i ids =
          _mm512_and_si512(_mm512_loadu_si512(chains + kDescriptorsOfLine * line), set(kIdBits));
      _mm512_mask_storeu_epi64(to + kCacheLine * line, kTails, _mm512_or_si512(ids, tail));
    }
  }

 private:
  static constexpr unsigned kShortest = 4;
  static constexpr __mmask8 kAddresses = 0x55;  ///< of four descriptors: the first words,
  static constexpr __mmask8 kTails = 0xaa;      ///< and the second

  /// take() of one run or (kRuns) several that are not short.
  template <bool kRuns>
  [[gnu::target(SPINRING_AVX512_TARGET)]] [[nodiscard]] static bool take_runs(const PlainBuffers buffers,
                                                                              Chain* chains,
                                                                              unsigned count) noexcept {
    const auto length = static_cast<long long>(buffers.length);
    constexpr long long kOneHead = 1LL << 32U;
    const __m512i tails = _mm512_setr_epi64(0, length, 0, length + kOneHead, 0, length + 2 * kOneHead, 0,
                                            length + 3 * kOneHead);
    unsigned slot = buffers.slot;
    unsigned head = buffers.head;
    for (unsigned done = 0; done < count;) {
      unsigned now = 0;
      unsigned wrong = 0;
      if constexpr (kRuns) {
        const Run run = next_run(buffers, slot, head, count - done);
        if (run.count == 0) return false;
        head = run.head;
        now = run.count;
      } else {
        now = room(buffers, slot, head, count - done);
        wrong = first_of(now) & ~counting(buffers, slot, head, now);
      }
      const unsigned words = (1U << (2 * now)) - 1;
      const std::byte* const from = buffers.table + sizeof(vring_desc) * head;
      const __m512i first = _mm512_add_epi64(tails, _mm512_set1_epi64(static_cast<long long>(head) << 32U));
      const __m512i second = _mm512_add_epi64(first, _mm512_set1_epi64(4 * kOneHead));
      wrong |= four(buffers, from, static_cast<__mmask8>(words), first, chains + done);
      wrong |= four(buffers, from + 4 * sizeof(vring_desc), static_cast<__mmask8>(words >> 8U), second,
                    chains + done + 4);
      if (wrong != 0) [[unlikely]]
        return false;
      done += now;
      slot = (slot + now) & buffers.mask;
      head = (head + now) & buffers.mask;
    }
    return true;
  }

  /// Used entries of `count` buffers whose ids count up from `id`, the same number of bytes in each.
  [[gnu::target(SPINRING_AVX512_TARGET)]] static void write_used_run(vring_used_elem* ring,
                                                                     std::uint16_t mask, std::uint16_t index,
                                                                     std::uint16_t id, std::uint32_t bytes,
                                                                     unsigned count) noexcept {
    const __m512i up = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
    const __m512i within = _mm512_set1_epi64(mask);
    const __m512i written = set(std::uint64_t{bytes} << 32U);
    __m512i ids = _mm512_add_epi64(_mm512_set1_epi64(id), up);
    unsigned slot = ring_slot(index, mask);
    for (unsigned done = 0; done < count;) {
      const unsigned now = std::min({kAtOnce, count - done, mask + 1U - slot});
      const auto entries = static_cast<__mmask8>((1U << now) - 1);
      _mm512_mask_storeu_epi64(ring + slot, entries, _mm512_or_si512(_mm512_and_si512(ids, within), written));
      ids = _mm512_add_epi64(ids, _mm512_set1_epi64(now));
      done += now;
      slot = (slot + now) & mask;
    }
  }
  /// The same of chains that take() has written.
  [[gnu::target(SPINRING_AVX512_TARGET)]] static void write_used_runs(vring_used_elem* ring,
                                                                      std::uint16_t mask, std::uint16_t index,
                                                                      const Chain* chains,
                                                                      std::uint32_t bytes,
                                                                      unsigned count) noexcept {
    const __m512i second_words = _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15);
    const __m512i written = set(std::uint64_t{bytes} << 32U);
    unsigned slot = ring_slot(index, mask);
    for (unsigned done = 0; done < count;) {
      const unsigned now = std::min({kAtOnce, count - done, mask + 1U - slot});
      const auto entries = static_cast<__mmask8>((1U << now) - 1);
      const __m512i words = _mm512_permutex2var_epi64(_mm512_loadu_si512(chains + done), second_words,
                                                      _mm512_loadu_si512(chains + done + 4));
      const __m512i ids = _mm512_srli_epi64(_mm512_and_si512(words, set(kIdBits)), 32);
      _mm512_mask_storeu_epi64(ring + slot, entries, _mm512_or_si512(ids, written));
      done += now;
      slot = (slot + now) & mask;
    }
  }

  [[gnu::target(SPINRING_AVX512_TARGET)]] static __m512i set(std::uint64_t word) noexcept {
    return _mm512_set1_epi64(static_cast<long long>(word));
  }
  /// Entries from `slot` on that are looked at together: of the next eight and of `most`, as far as neither
  /// ring ends.
  static unsigned room(const PlainBuffers& buffers, unsigned slot, unsigned head, unsigned most) noexcept {
    const unsigned ring_end = buffers.mask + 1U;
    return std::min({kAtOnce, most, ring_end - slot, ring_end - head});
  }
  /// Bits of so many entries.
  static unsigned first_of(unsigned entries) noexcept { return (1U << entries) - 1; }
  /// Which of the first `most` entries from `slot` on are as if they counted up from `head`.
  [[gnu::target(SPINRING_AVX512_TARGET)]] static unsigned counting(const PlainBuffers& buffers, unsigned slot,
                                                                   unsigned head, unsigned most) noexcept {
    const auto entries = static_cast<__mmask8>(first_of(most));
    const __m128i heads =
        _mm_add_epi16(_mm_set1_epi16(static_cast<short>(head)), _mm_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7));
    return _mm_mask_cmpeq_epu16_mask(entries, _mm_maskz_loadu_epi16(entries, buffers.ring + slot), heads);
  }
  struct Run {
    unsigned head;
    unsigned count;
  };
  /// What is left of a run that goes on at `head`, or one that begins here, at another. None: a short one.
  [[gnu::target(SPINRING_AVX512_TARGET)]] static Run next_run(const PlainBuffers& buffers, unsigned slot,
                                                              unsigned head, unsigned most) noexcept {
    const auto length = [](unsigned alike) { return static_cast<unsigned>(std::countr_one(alike)); };
    const unsigned left = length(counting(buffers, slot, head, room(buffers, slot, head, most)));
    if (left != 0) return {head, left};
    head = __atomic_load_n(buffers.ring + slot, __ATOMIC_RELAXED);
    if (head > buffers.mask) return {head, 0};
    const unsigned count = length(counting(buffers, slot, head, room(buffers, slot, head, most)));
    return {head, count < kShortest && count < most ? 0 : count};
  }
  /// A line that may have changed since it was loaded.
  [[gnu::target(SPINRING_AVX512_TARGET)]] static __m512i load_again(const std::byte* from) noexcept {
    asm volatile("" : "+r"(from) : : "memory");
    return _mm512_loadu_si512(from);
  }

  /// Up to four descriptors become chains: the address is moved to this process, and the head takes the place
  /// of the flags. Bits: what is not as expected.
  [[gnu::target(SPINRING_AVX512_TARGET)]] static unsigned four(const PlainBuffers& buffers,
                                                               const std::byte* from, __mmask8 words,
                                                               __m512i tails, Chain* to) noexcept {
    constexpr long long kLengthAndFlags = 0xffff'ffff'ffff;
    const auto tail =
        static_cast<long long>(std::uint64_t{buffers.length} | std::uint64_t{buffers.flags} << 32U);
    const __m512i descriptors = _mm512_maskz_loadu_epi64(words, from);
    const __m512i offsets =
        _mm512_sub_epi64(descriptors, _mm512_set1_epi64(static_cast<long long>(buffers.guest)));
    const unsigned outside = _mm512_mask_cmpgt_epu64_mask(
        words & kAddresses, offsets, _mm512_set1_epi64(static_cast<long long>(buffers.last)));
    const unsigned unlike =
        _mm512_mask_test_epi64_mask(words & kTails, _mm512_xor_si512(descriptors, _mm512_set1_epi64(tail)),
                                    _mm512_set1_epi64(kLengthAndFlags));
    const __m512i moved =
        _mm512_add_epi64(descriptors, _mm512_set1_epi64(static_cast<long long>(buffers.to_here)));
    _mm512_storeu_si512(to, _mm512_mask_blend_epi64(kAddresses, tails, moved));
    return outside | unlike;
  }
};

}  // namespace spinring::bench::vhost
#endif
