#pragma once

#include <cstdint>

#include "bench/vhost/batch.hpp"
#include "bench/vhost/plain.hpp"
#include "bench/vhost/plain_buffers_avx2.hpp"
#include "bench/vhost/plain_buffers_avx512.hpp"
#include "bench/vhost/vectors.hpp"

namespace spinring::bench::vhost {

/// What plain buffers are worked on by, if the CPU has no such vectors.
struct NoVectors {
  /// Writes `count` chains, which mean nothing if kSingly comes back: then not all are as expected.
  [[nodiscard]] static Taken take(const PlainBuffers& /*buffers*/, Chain* /*chains*/,
                                  unsigned /*count*/) noexcept {
    return Taken::kSingly;
  }
  /// Used entries from `index` on of the first `count` buffers that take() has taken, the same number of
  /// bytes in each.
  static void write_used(vring_used_elem* /*ring*/, std::uint16_t /*mask*/, std::uint16_t /*index*/,
                         const Batch& /*batch*/, std::uint32_t /*bytes*/, unsigned /*count*/) noexcept {}
  /// Takes buffers of up to `lines` whole lines, up to the first line that is not as expected; returns how
  /// many.
  [[nodiscard]] static unsigned take_lines(const PlainLines& /*plain*/, Chain* /*chains*/,
                                           unsigned /*lines*/) noexcept {
    return 0;
  }
  /// The descriptors of whole lines become used ones: ids as taken, one length and one set of flags in all;
  /// the first line last.
  static void write_used_lines(std::byte* /*to*/, const Chain* /*chains*/, std::uint32_t /*bytes*/,
                               std::uint16_t /*flags*/, unsigned /*lines*/) noexcept {}
};

class Avx2Buffers;
class Avx512Buffers;
/// What `work` returns with the class that does what NoVectors says by vectors of so many bits.
template <class Work>
decltype(auto) with_buffers(unsigned bits, Work work) noexcept {
  return by_vectors<Avx512Buffers, Avx2Buffers, NoVectors>(bits, work);
}

}  // namespace spinring::bench::vhost
