#pragma once

#include <cstdint>
#include <span>

namespace spinring::test {

/// Bytes that tell one frame from another and shifted ones from those in place: a generator's, from `state`
/// on.
template <class Byte>
void fill_pattern(std::span<Byte> bytes, std::uint32_t state) noexcept {
  for (Byte& byte : bytes) {
    state = state * 1664525U + 1013904223U;
    byte = static_cast<Byte>(state >> 24);
  }
}

}  // namespace spinring::test
