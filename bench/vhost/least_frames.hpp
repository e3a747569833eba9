#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "base/vector_bits.hpp"
#include "bench/vhost/batch.hpp"
#include "bench/vhost/frames.hpp"
#include "bench/vhost/protocol.hpp"
#include "bench/vhost/vectors.hpp"

namespace spinring::bench::vhost {

struct Avx2Frames;
struct Avx512Frames;

/// Header and frame of the least size, as they lie in a buffer.
struct LeastFrame {
  static constexpr std::uint32_t kHeader = sizeof(virtio_net_hdr_v1);

  std::array<std::byte, kHeader + kLeastFrame> bytes{};
};

/// What the reading of whole frames of the least size has found.
struct FramesRead {
  bool requests = false;      ///< one header at least has flags or gso_type
  unsigned with_buffers = 0;  ///< headers with num_buffers
  std::uint64_t buffers = 0;  ///< those, or'ed together
  std::uint64_t sum = 0;      ///< of all that was read
};

/// The 9 words of such a frame. The header is the first 12 bytes.
struct LeastFrameWords {
  static constexpr std::size_t kCount = sizeof(LeastFrame) / sizeof(std::uint64_t);
  static constexpr std::uint64_t kRequest = 0xffff;      ///< of word 0: flags, gso_type
  static constexpr std::uint64_t kBuffers = 0xffff0000;  ///< of word 1: num_buffers
  static_assert(sizeof(LeastFrame) % sizeof(std::uint64_t) == 0 &&
                offsetof(virtio_net_hdr_v1, num_buffers) == 10);
};

/// By what every CPU has.
struct NarrowFrames {
  static void write(std::span<const Chain> to, const LeastFrame& frame) noexcept {
    const LeastFrame copy = frame;
    for (const Chain& chain : to) std::memcpy(chain.data, &copy, sizeof(copy));
  }
  [[nodiscard]] static FramesRead read(std::span<const Chain> from) noexcept {
    FramesRead read;
    std::uint64_t first = 0;
    std::uint64_t second = 0;
    for (const Chain& chain : from) {
      std::array<std::uint64_t, LeastFrameWords::kCount> words;
      std::memcpy(&words, chain.data, sizeof(words));
      first |= words[0];
      second |= words[1];
      read.with_buffers += static_cast<unsigned>((words[1] & LeastFrameWords::kBuffers) != 0);
      for (const std::uint64_t word : words) read.sum ^= word;
    }
    read.requests = (first & LeastFrameWords::kRequest) != 0;
    read.buffers = (second & LeastFrameWords::kBuffers) >> 16U;
    return read;
  }
  /// Reads all of a stretch of any length.
  [[nodiscard]] static std::uint64_t sum(std::span<const std::byte> bytes) noexcept {
    std::uint64_t sum = 0;
    std::uint64_t word = 0;
    for (; bytes.size() >= sizeof(word); bytes = bytes.subspan(sizeof(word))) {
      std::memcpy(&word, bytes.data(), sizeof(word));
      sum ^= word;
    }
    word = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i)
      word |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * i);
    return sum ^ word;
  }
};

#if defined(SPINRING_AVX2_TARGET)
/// By AVX2: the first 64 bytes of each by halves.
struct Avx2Frames {
  static constexpr std::size_t kHalf = sizeof(__m256i);
  static_assert(sizeof(LeastFrame) == 2 * kHalf + sizeof(std::uint64_t));

  [[gnu::target(SPINRING_AVX2_TARGET)]] static void write(std::span<const Chain> to,
                                                          const LeastFrame& frame) noexcept {
    const __m256i first = Avx2Runs::load(frame.bytes.data());
    const __m256i second = Avx2Runs::load(frame.bytes.data() + kHalf);
    std::uint64_t rest = 0;
    std::memcpy(&rest, frame.bytes.data() + 2 * kHalf, sizeof(rest));
    for (const Chain& chain : to) {
      Avx2Runs::store(chain.data, first);
      Avx2Runs::store(chain.data + kHalf, second);
      std::memcpy(chain.data + 2 * kHalf, &rest, sizeof(rest));
    }
  }
  [[gnu::target(SPINRING_AVX2_TARGET)]] [[nodiscard]] static FramesRead read(
      std::span<const Chain> from) noexcept {
    FramesRead read;
    const __m256i buffers = _mm256_setr_epi64x(0, static_cast<long long>(LeastFrameWords::kBuffers), 0, 0);
    __m256i sum = _mm256_setzero_si256();
    __m256i any = sum;
    for (const Chain& chain : from) {
      const __m256i first = Avx2Runs::load(chain.data);
      std::uint64_t rest = 0;
      std::memcpy(&rest, chain.data + 2 * kHalf, sizeof(rest));
      sum = _mm256_xor_si256(sum, _mm256_xor_si256(first, Avx2Runs::load(chain.data + kHalf)));
      any = _mm256_or_si256(any, first);
      read.with_buffers += static_cast<unsigned>(_mm256_testz_si256(first, buffers) == 0);
      read.sum ^= rest;
    }
    std::array<std::uint64_t, 4> words;
    Avx2Runs::store(words.data(), any);
    read.requests = (words[0] & LeastFrameWords::kRequest) != 0;
    read.buffers = (words[1] & LeastFrameWords::kBuffers) >> 16U;
    read.sum ^= folded(sum);
    return read;
  }
  [[gnu::target(SPINRING_AVX2_TARGET)]] [[nodiscard]] static std::uint64_t sum(
      std::span<const std::byte> bytes) noexcept {
    __m256i sum = _mm256_setzero_si256();
    for (; bytes.size() >= kHalf; bytes = bytes.subspan(kHalf))
      sum = _mm256_xor_si256(sum, Avx2Runs::load(bytes.data()));
    return folded(sum) ^ NarrowFrames::sum(bytes);
  }

 private:
  [[gnu::target(SPINRING_AVX2_TARGET)]] static std::uint64_t folded(__m256i sum) noexcept {
    std::array<std::uint64_t, 4> words;
    Avx2Runs::store(words.data(), sum);
    return words[0] ^ words[1] ^ words[2] ^ words[3];
  }
};
#endif

#if defined(SPINRING_AVX512_TARGET)
/// By AVX-512: the first 64 bytes of each at once.
struct Avx512Frames {
  static constexpr std::size_t kRest = sizeof(__m512i);
  static_assert(sizeof(LeastFrame) == kRest + sizeof(std::uint64_t));

  [[gnu::target(SPINRING_AVX512_TARGET)]] static void write(std::span<const Chain> to,
                                                            const LeastFrame& frame) noexcept {
    const __m512i start = _mm512_loadu_si512(frame.bytes.data());
    std::uint64_t rest = 0;
    std::memcpy(&rest, frame.bytes.data() + kRest, sizeof(rest));
    for (const Chain& chain : to) {
      _mm512_storeu_si512(chain.data, start);
      std::memcpy(chain.data + kRest, &rest, sizeof(rest));
    }
  }
  [[gnu::target(SPINRING_AVX512_TARGET)]] [[nodiscard]] static FramesRead read(
      std::span<const Chain> from) noexcept {
    FramesRead read;
    const __m512i buffers =
        _mm512_setr_epi64(0, static_cast<long long>(LeastFrameWords::kBuffers), 0, 0, 0, 0, 0, 0);
    __m512i sum = _mm512_setzero_si512();
    __m512i any = sum;
    for (const Chain& chain : from) {
      const __m512i start = _mm512_loadu_si512(chain.data);
      std::uint64_t rest = 0;
      std::memcpy(&rest, chain.data + kRest, sizeof(rest));
      sum = _mm512_xor_si512(sum, start);
      any = _mm512_or_si512(any, start);
      read.with_buffers += static_cast<unsigned>(_mm512_test_epi64_mask(start, buffers)) >> 1U;
      read.sum ^= rest;
    }
    std::array<std::uint64_t, 8> words;
    _mm512_storeu_si512(words.data(), any);
    read.requests = (words[0] & LeastFrameWords::kRequest) != 0;
    read.buffers = (words[1] & LeastFrameWords::kBuffers) >> 16U;
    read.sum ^= folded(sum);
    return read;
  }
  [[gnu::target(SPINRING_AVX512_TARGET)]] [[nodiscard]] static std::uint64_t sum(
      std::span<const std::byte> bytes) noexcept {
    __m512i sum = _mm512_setzero_si512();
    for (; bytes.size() >= sizeof(sum); bytes = bytes.subspan(sizeof(sum)))
      sum = _mm512_xor_si512(sum, _mm512_loadu_si512(bytes.data()));
    const auto rest = static_cast<__mmask64>((std::uint64_t{1} << bytes.size()) - 1);
    return folded(_mm512_xor_si512(sum, _mm512_maskz_loadu_epi8(rest, bytes.data())));
  }

 private:
  [[gnu::target(SPINRING_AVX512_TARGET)]] static std::uint64_t folded(__m512i sum) noexcept {
    std::array<std::uint64_t, 8> words;
    _mm512_storeu_si512(words.data(), sum);
    std::uint64_t all = 0;
    for (const std::uint64_t word : words) all ^= word;
    return all;
  }
};
#endif

/// Writes one frame into each buffer. All are one piece and long enough.
inline void write_frames(unsigned bits, std::span<const Chain> to, const LeastFrame& frame) noexcept {
  by_vectors<Avx512Frames, Avx2Frames, NarrowFrames>(bits, [&](auto by) { decltype(by)::write(to, frame); });
}
/// Reads the whole of each. All are one piece of this length.
[[nodiscard]] inline FramesRead read_frames(unsigned bits, std::span<const Chain> from) noexcept {
  return by_vectors<Avx512Frames, Avx2Frames, NarrowFrames>(
      bits, [&](auto by) { return decltype(by)::read(from); });
}
/// Reads all of a stretch of any length.
[[nodiscard]] inline std::uint64_t read_bytes(unsigned bits, std::span<const std::byte> bytes) noexcept {
  return by_vectors<Avx512Frames, Avx2Frames, NarrowFrames>(
      bits, [&](auto by) { return decltype(by)::sum(bytes); });
}

}  // namespace spinring::bench::vhost
