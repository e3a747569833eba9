#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "base/ring_index.hpp"
#include "bench/vhost/batch.hpp"
#include "bench/vhost/vectors.hpp"

namespace spinring::bench::vhost {

/// What a batch from a split ring is expected to be: heads that count up, and each descriptor in one region
/// of memory, with the first's length and flags.
struct PlainBuffers {
  const std::uint16_t* ring = nullptr;  ///< the available ring's entries
  const std::byte* table = nullptr;     ///< the descriptors
  std::uint16_t mask = 0;
  std::uint16_t slot = 0;  ///< of the first entry
  std::uint16_t head = 0;  ///< that it holds; within the table
  std::uint32_t length = 0;
  std::uint16_t flags = 0;
  std::uint64_t guest = 0;    ///< the region's first address,
  std::uint64_t last = 0;     ///< how far from there a buffer may begin,
  std::uint64_t to_here = 0;  ///< and what makes its addresses this process's
};

#if defined(SPINRING_WIDE_TARGET)
/// Eight at a time, fewer where either ring ends.
class WideBuffers {
 public:
  static constexpr unsigned kAtOnce = 8;
  static_assert(Batch::kVector >= kAtOnce);

  /// Writes `count` chains, which mean nothing unless true comes back: all are as expected.
  [[gnu::target(SPINRING_WIDE_TARGET)]] [[nodiscard]] static bool take(const PlainBuffers buffers,
                                                                       Chain* chains,
                                                                       unsigned count) noexcept {
    const __m128i up16 = _mm_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7);
    const auto length = static_cast<long long>(buffers.length);
    constexpr long long kOneHead = 1LL << 32U;
    const __m512i tails = _mm512_setr_epi64(0, length, 0, length + kOneHead, 0, length + 2 * kOneHead, 0,
                                            length + 3 * kOneHead);
    unsigned slot = buffers.slot;
    unsigned head = buffers.head;
    for (unsigned done = 0; done < count;) {
      const unsigned ring_end = buffers.mask + 1U;
      const unsigned now = std::min({kAtOnce, count - done, ring_end - slot, ring_end - head});
      const auto entries = static_cast<__mmask8>((1U << now) - 1);
      const __m128i heads = _mm_add_epi16(_mm_set1_epi16(static_cast<short>(head)), up16);
      unsigned wrong =
          _mm_mask_cmpneq_epu16_mask(entries, _mm_maskz_loadu_epi16(entries, buffers.ring + slot), heads);
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
  [[gnu::target(SPINRING_WIDE_TARGET)]] static void write_used(vring_used_elem* ring, std::uint16_t mask,
                                                               std::uint16_t index, std::uint16_t id,
                                                               std::uint32_t bytes, unsigned count) noexcept {
    const __m512i up = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
    const __m512i within = _mm512_set1_epi64(mask);
    const __m512i written = _mm512_set1_epi64(static_cast<long long>(std::uint64_t{bytes} << 32U));
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

 private:
  /// Up to four descriptors become chains: the address is moved to this process, and the head takes the place
  /// of the flags. Bits: what is not as expected.
  [[gnu::target(SPINRING_WIDE_TARGET)]] static unsigned four(const PlainBuffers& buffers,
                                                             const std::byte* from, __mmask8 words,
                                                             __m512i tails, Chain* to) noexcept {
    constexpr __mmask8 kAddresses = 0x55;
    constexpr long long kLengthAndFlags = 0xffff'ffff'ffff;
    const auto tail =
        static_cast<long long>(std::uint64_t{buffers.length} | std::uint64_t{buffers.flags} << 32U);
    const __m512i descriptors = _mm512_maskz_loadu_epi64(words, from);
    const __m512i offsets =
        _mm512_sub_epi64(descriptors, _mm512_set1_epi64(static_cast<long long>(buffers.guest)));
    const unsigned outside = _mm512_mask_cmpgt_epu64_mask(
        words & kAddresses, offsets, _mm512_set1_epi64(static_cast<long long>(buffers.last)));
    const unsigned unlike = _mm512_mask_test_epi64_mask(
        words & static_cast<__mmask8>(~kAddresses), _mm512_xor_si512(descriptors, _mm512_set1_epi64(tail)),
        _mm512_set1_epi64(kLengthAndFlags));
    const __m512i moved =
        _mm512_add_epi64(descriptors, _mm512_set1_epi64(static_cast<long long>(buffers.to_here)));
    _mm512_storeu_si512(to, _mm512_mask_blend_epi64(kAddresses, tails, moved));
    return outside | unlike;
  }
};
#else
/// Never called: nothing is wide here.
struct WideBuffers {
  static bool take(const PlainBuffers& /*buffers*/, Chain* /*chains*/, unsigned /*count*/) noexcept {
    return false;
  }
  static void write_used(vring_used_elem* /*ring*/, std::uint16_t /*mask*/, std::uint16_t /*index*/,
                         std::uint16_t /*id*/, std::uint32_t /*bytes*/, unsigned /*count*/) noexcept {}
};
#endif

}  // namespace spinring::bench::vhost
