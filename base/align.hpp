#pragma once

#include <bit>
#include <cassert>
#include <concepts>

namespace spinring {

/// Rounds up to a multiple of a power of two.
template <std::unsigned_integral T>
[[nodiscard]] constexpr T align_up(T value, T power_of_two) noexcept {
  assert(std::has_single_bit(power_of_two));
  return (value + power_of_two - 1) & ~(power_of_two - 1);
}

}  // namespace spinring
