#pragma once

#include <vector>

#include "base/vector_bits.hpp"

namespace spinring::bench::vhost {

/// Bits of vectors that stand for none.
inline constexpr unsigned kNoVectors = 128;

/// Widths of vectors that this CPU has, or kNoVectors.
[[nodiscard]] inline std::vector<unsigned> vector_widths() {
  std::vector<unsigned> all;
  for (const unsigned bits : {256U, 512U}) {
    if (bits <= vector_bits()) all.push_back(bits);
  }
  return all.empty() ? std::vector{kNoVectors} : all;
}

}  // namespace spinring::bench::vhost
