#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "tests/device/rig.hpp"

/// TCP and UDP frames, made and checked by RFC 791, 768, 8200, 9293 and 1071 alone.
namespace spinring::test {

inline constexpr std::uint8_t kTcp = 6;
inline constexpr std::uint8_t kUdp = 17;
inline constexpr std::array<std::uint8_t, 6> kFarMac{0x52, 0x54, 0x00, 0xaa, 0xbb, 0xcc};

/// What stands in the L4 checksum field.
enum class L4Sum { kFull, kPseudoHeader, kPseudoHeaderWithoutLength };

struct IpFrame {
  bool ipv6 = false;
  std::uint8_t protocol = kTcp;
  std::size_t payload = 100;
  std::uint32_t seed = 1;
  std::uint16_t source_port = 1000;
  L4Sum sum = L4Sum::kFull;
  std::array<std::uint8_t, 6> source = kFarMac;
  std::array<std::uint8_t, 6> destination = kFarMac;

  [[nodiscard]] std::uint16_t l4() const { return static_cast<std::uint16_t>(14 + (ipv6 ? 40 : 20)); }
  /// Of the checksum field, from l4().
  [[nodiscard]] std::uint16_t sum_offset() const { return protocol == kTcp ? 16 : 6; }
  [[nodiscard]] std::uint16_t header_length() const {
    return static_cast<std::uint16_t>(l4() + (protocol == kTcp ? 20 : 8));
  }
  [[nodiscard]] Frame bytes() const;
};

/// Lengths and checksums of all headers of a frame are right.
[[nodiscard]] bool is_sound(const Frame& frame);
/// The part behind the headers.
[[nodiscard]] Frame payload_of(const Frame& frame);

}  // namespace spinring::test
