#pragma once

#include <bit>
#include <concepts>
#include <cstdint>

namespace spinring {

/// Entries between two free-running indexes: how far `ahead` has run past `behind`. The one place where ring
/// distance is computed; wraps by itself.
template <std::unsigned_integral T>
[[nodiscard]] constexpr T ring_distance(T ahead, T behind) noexcept {
  return static_cast<T>(ahead - behind);
}

/// Slot of a free-running index in a ring of a power-of-two size.
template <std::unsigned_integral T>
[[nodiscard]] constexpr T ring_slot(T index, T mask) noexcept {
  return static_cast<T>(index & mask);
}

[[nodiscard]] constexpr bool is_ring_size(std::uint32_t size) noexcept { return std::has_single_bit(size); }

}  // namespace spinring
