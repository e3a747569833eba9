#pragma once

#include "base/vector_bits.hpp"

namespace spinring::bench::vhost {

/// What `work` returns with an object of the class for vectors of so many `bits`, `Narrow` where there are
/// none. The other two may be incomplete where the compiler does not know such vectors.
template <class Avx512, class Avx2, class Narrow, class Work>
decltype(auto) by_vectors([[maybe_unused]] unsigned bits, Work work) noexcept {
#if defined(SPINRING_AVX512_TARGET)
  if (bits == 512) return work(Avx512());
#endif
#if defined(SPINRING_AVX2_TARGET)
  if (bits == 256) return work(Avx2());
#endif
  return work(Narrow());
}

}  // namespace spinring::bench::vhost
