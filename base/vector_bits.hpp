#pragma once

#include <cstdlib>

#include "base/word_run_avx2.hpp"
#include "base/word_run_avx512.hpp"

namespace spinring {

/// Bits of the vectors that loops use: 512 (AVX-512 with VL, DQ and BW), 256 (AVX2) or 128, which every CPU
/// has. SPINRING_VECTOR_BITS in the environment forbids wider ones than it says: to compare. Any thread.
[[nodiscard]] inline unsigned vector_bits() noexcept {
  static const unsigned bits = [] {
    unsigned has = 128;
#if defined(SPINRING_AVX2_TARGET)
    if (__builtin_cpu_supports("avx2")) has = 256;
#endif
#if defined(SPINRING_AVX512_TARGET)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw"))
      has = 512;
#endif
    const char* const limit = std::getenv("SPINRING_VECTOR_BITS");
    const unsigned long most = limit == nullptr ? has : std::strtoul(limit, nullptr, 10);
    while (has > 128 && has > most) has /= 2;
    return has;
  }();
  return bits;
}

}  // namespace spinring
