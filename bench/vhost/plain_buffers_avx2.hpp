#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/ring_index.hpp"
#include "base/word_run_avx2.hpp"
#include "bench/vhost/batch.hpp"
#include "bench/vhost/plain.hpp"

#if defined(SPINRING_AVX2_TARGET)
namespace spinring::bench::vhost {

/// Four at a time, one by one where a run or either ring ends. The comments of NoVectors hold.
class Avx2Buffers {
 public:
  static constexpr unsigned kAtOnce = 4;
  static_assert(kDescriptorsOfLine == kAtOnce);

  [[gnu::target(SPINRING_AVX2_TARGET)]] [[nodiscard]] static Taken take(const PlainBuffers buffers,
                                                                        Chain* chains,
                                                                        unsigned count) noexcept {
    __m256i wrong = _mm256_setzero_si256();
    bool one_run = true;
    unsigned slot = buffers.slot;
    unsigned next = buffers.head;
    for (unsigned done = 0; done < count;) {
      const std::uint16_t* const entries = buffers.ring + slot;
      const unsigned head = __atomic_load_n(entries, __ATOMIC_RELAXED);
      one_run = one_run && head == next;
      unsigned now = 1;
      if (done + kAtOnce <= count && slot + kAtOnce <= buffers.mask + 1U &&
          count_up(entries, head, buffers.mask)) [[likely]] {
        wrong = _mm256_or_si256(wrong, take_four(buffers, head, chains + done));
        now = kAtOnce;
      } else if (head > buffers.mask || !take_one(buffers, head, chains[done])) {
        return Taken::kSingly;
      }
      done += now;
      slot = (slot + now) & buffers.mask;
      next = (head + now) & buffers.mask;
    }
    if (_mm256_testz_si256(wrong, wrong) == 0 || (buffers.in_order && !one_run)) [[unlikely]]
      return Taken::kSingly;
    return one_run ? Taken::kOneRun : Taken::kRuns;
  }

  [[gnu::target(SPINRING_AVX2_TARGET)]] static void write_used(vring_used_elem* ring, std::uint16_t mask,
                                                               std::uint16_t index, const Batch& batch,
                                                               std::uint32_t bytes, unsigned count) noexcept {
    const __m256i written = Avx2Runs::set(std::uint64_t{bytes} << 32U);
    unsigned slot = ring_slot(index, mask);
    for (unsigned done = 0; done < count;) {
      const Chain* const chains = &batch.chains[done];
      unsigned now = 1;
      if (done + kAtOnce <= count && slot + kAtOnce <= mask + 1U) [[likely]] {
        const __m256i tails = _mm256_permute4x64_epi64(Pairs(chains).seconds(), Avx2Runs::kEvenFirst);
        const __m256i ids = _mm256_srli_epi64(_mm256_and_si256(tails, Avx2Runs::set(kIdBits)), 32);
        Avx2Runs::store(ring + slot, _mm256_or_si256(ids, written));
        now = kAtOnce;
      } else {
        const vring_used_elem element{chains->id, bytes};
        std::memcpy(ring + slot, &element, sizeof(element));
      }
      done += now;
      slot = (slot + now) & mask;
    }
  }

  [[gnu::target(SPINRING_AVX2_TARGET)]] [[nodiscard]] static unsigned take_lines(const PlainLines plain,
                                                                                 Chain* chains,
                                                                                 unsigned lines) noexcept {
    const __m256i tail = Avx2Runs::set(std::uint64_t{plain.length} | std::uint64_t{plain.flags} << 48U);
    unsigned line = 0;
    for (; line < lines; ++line) {
      const std::byte* const from = plain.first + kCacheLine * line;
      const __m256i tails = Pairs(from).seconds();
      const __m256i ids = _mm256_and_si256(tails, Avx2Runs::set(kIdBits));
      // An id takes 48 bits of its word, with what is below: nothing has a sign.
      const __m256i too_high = _mm256_cmpgt_epi64(ids, Avx2Runs::set((std::uint64_t{plain.size} << 32U) - 1));
      const __m256i unlike = _mm256_andnot_si256(Avx2Runs::set(kIdBits), _mm256_xor_si256(tails, tail));
      // 2.8.13: the rest of a descriptor is good once its flags have been seen.
      asm volatile("" : : : "memory");
      const __m256i addresses = Pairs(from).firsts();
      const __m256i wrong = _mm256_or_si256(_mm256_or_si256(too_high, unlike), outside(plain, addresses));
      if (_mm256_testz_si256(wrong, wrong) == 0) [[unlikely]]
        break;
      store_pairs(chains + kDescriptorsOfLine * line,
                  _mm256_add_epi64(addresses, Avx2Runs::set(plain.to_here)),
                  _mm256_or_si256(ids, Avx2Runs::set(plain.length)));
    }
    return line * kDescriptorsOfLine;
  }

  /// Addresses stay as they are: so each second word is a store of its own.
  static void write_used_lines(std::byte* to, const Chain* chains, std::uint32_t bytes, std::uint16_t flags,
                               unsigned lines) noexcept {
    const std::uint64_t tail = std::uint64_t{bytes} | std::uint64_t{flags} << 48U;
    // The payload before the descriptors that hand it over.
    __atomic_signal_fence(__ATOMIC_RELEASE);
    for (unsigned i = lines * kDescriptorsOfLine; i-- > 0;) {
      auto* const second = reinterpret_cast<std::uint64_t*>(to + sizeof(vring_packed_desc) * i + 8);
      __atomic_store_n(second, tail | std::uint64_t{chains[i].id} << 32U, __ATOMIC_RELAXED);
    }
  }

 private:
  /// Four pairs of words. Their firsts and seconds are those of pairs 0, 2, 1, 3.
  struct Pairs {
    [[gnu::target(SPINRING_AVX2_TARGET)]] explicit Pairs(const void* at) noexcept
        : low(Avx2Runs::load(at)), high(Avx2Runs::load(static_cast<const std::byte*>(at) + sizeof(low))) {}
    [[gnu::target(SPINRING_AVX2_TARGET)]] [[nodiscard]] __m256i firsts() const noexcept {
      return _mm256_unpacklo_epi64(low, high);
    }
    [[gnu::target(SPINRING_AVX2_TARGET)]] [[nodiscard]] __m256i seconds() const noexcept {
      return _mm256_unpackhi_epi64(low, high);
    }
    __m256i low;
    __m256i high;
  };
  [[gnu::target(SPINRING_AVX2_TARGET)]] static void store_pairs(Chain* to, __m256i firsts,
                                                                __m256i seconds) noexcept {
    Avx2Runs::store(to, _mm256_unpacklo_epi64(firsts, seconds));
    Avx2Runs::store(to + 2, _mm256_unpackhi_epi64(firsts, seconds));
  }

  /// Whether four entries count up from `head`, in the table.
  [[nodiscard]] static bool count_up(const std::uint16_t* entries, unsigned head, unsigned mask) noexcept {
    std::uint64_t four = 0;
    std::memcpy(&four, entries, sizeof(four));
    return head + 3 <= mask && four == head * 0x0001'0001'0001'0001U + 0x0003'0002'0001'0000U;
  }
  /// Words that are not zero where an address is none of a buffer's.
  template <class Plain>
  [[gnu::target(SPINRING_AVX2_TARGET)]] static __m256i outside(const Plain& plain,
                                                               __m256i addresses) noexcept {
    constexpr std::uint64_t kSign = std::uint64_t{1} << 63U;  // AVX2 compares words with signs only
    const __m256i offsets = _mm256_sub_epi64(addresses, Avx2Runs::set(plain.guest));
    return _mm256_cmpgt_epi64(_mm256_xor_si256(offsets, Avx2Runs::set(kSign)),
                              Avx2Runs::set(plain.last ^ kSign));
  }
  /// Four descriptors become chains: the address is moved to this process, and the head takes the place of
  /// the flags. Zero, if they are as expected.
  [[gnu::target(SPINRING_AVX2_TARGET)]] static __m256i take_four(const PlainBuffers& buffers, unsigned head,
                                                                 Chain* to) noexcept {
    constexpr std::uint64_t kLengthAndFlags = 0xffff'ffff'ffff;
    constexpr long long kOneHead = 1LL << 32U;
    const Pairs from(buffers.table + sizeof(vring_desc) * head);
    const __m256i addresses = from.firsts();
    const __m256i tail = Avx2Runs::set(std::uint64_t{buffers.length} | std::uint64_t{buffers.flags} << 32U);
    const __m256i unlike =
        _mm256_and_si256(_mm256_xor_si256(from.seconds(), tail), Avx2Runs::set(kLengthAndFlags));
    const __m256i heads = _mm256_add_epi64(Avx2Runs::set(std::uint64_t{head} << 32U | buffers.length),
                                           _mm256_setr_epi64x(0, 2 * kOneHead, kOneHead, 3 * kOneHead));
    store_pairs(to, _mm256_add_epi64(addresses, Avx2Runs::set(buffers.to_here)), heads);
    return _mm256_or_si256(unlike, outside(buffers, addresses));
  }
  /// False: it is not as expected.
  static bool take_one(const PlainBuffers& buffers, unsigned head, Chain& to) noexcept {
    vring_desc descriptor;
    std::memcpy(&descriptor, buffers.table + sizeof(descriptor) * head, sizeof(descriptor));
    if (descriptor.len != buffers.length || descriptor.flags != buffers.flags ||
        descriptor.addr - buffers.guest > buffers.last)
      return false;
    to = {.data = reinterpret_cast<std::byte*>(descriptor.addr + buffers.to_here),
          .length = descriptor.len,
          .id = static_cast<std::uint16_t>(head)};
    return true;
  }
};

}  // namespace spinring::bench::vhost
#endif
