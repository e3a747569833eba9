#pragma once

#include <algorithm>
#include <cstdint>

#include "pmd/port.hpp"

namespace spinring::pmd::e1000 {

[[nodiscard]] constexpr bool is_multicast(const MacAddress& mac) noexcept { return (mac[0] & 1U) != 0; }

/// What a port's own address can be.
[[nodiscard]] constexpr bool is_unicast(const MacAddress& mac) noexcept {
  return !is_multicast(mac) && std::any_of(mac.begin(), mac.end(), [](auto byte) { return byte != 0; });
}

/// Where the multicast table has an address: [8254x] 13.5.1 with RCTL.MO 0, bits 47:36 of it as it goes over
/// the wire.
[[nodiscard]] constexpr std::uint32_t multicast_hash(const MacAddress& mac) noexcept {
  return (static_cast<std::uint32_t>(mac[4]) >> 4 | static_cast<std::uint32_t>(mac[5]) << 4) & 0xFFFU;
}

}  // namespace spinring::pmd::e1000
