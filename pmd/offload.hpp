#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace spinring::pmd {

/// Work that a device can take over from the program. A port offers a set (PortInfo::offloads) and is asked
/// for a part of it (PortConfig::offloads). What a packet wants or got is in its own `offloads` bits.
enum class Offload : std::uint32_t {
  kRxChecksum = 1U << 0,   ///< L3/L4 checksums of received frames are verified and the result noted
  kRxCoalesce = 1U << 1,   ///< TCP segments of one flow may arrive as one frame (LRO, guest TSO)
  kRxVlanStrip = 1U << 2,  ///< the VLAN tag is taken out of the frame and noted
  kRxHash = 1U << 3,       ///< the RSS hash is noted in the packet
  kRxTimestamp =
      1U << 4,  ///< the device's time of arrival is noted (82576: kept, of one PTP event at a time)
  kRxCoalesceUdp = 1U << 5,    ///< UDP datagrams of one flow may arrive as one frame (guest USO)
  kTxChecksum = 1U << 8,       ///< the L4 checksum of packets that ask for it is filled in
  kTxIpChecksum = 1U << 9,     ///< the IPv4 header checksum of packets that ask for it is filled in
  kTxSegment = 1U << 10,       ///< TCP packets that ask for it are cut into segments (TSO)
  kTxSegmentUdp = 1U << 11,    ///< UDP packets that ask for it are cut into datagrams (USO)
  kTxVlanInsert = 1U << 12,    ///< a VLAN tag is put into packets that ask for it
  kTxSctpChecksum = 1U << 13,  ///< SCTP's CRC32c of packets that ask for it is filled in
  kRss = 1U << 16,             ///< flows are spread over the RX queues by a Toeplitz hash
};

/// A set of offloads, offered or asked for.
class Offloads {
 public:
  constexpr Offloads() = default;
  constexpr Offloads(Offload offload) : bits_(static_cast<std::uint32_t>(offload)) {}  // NOLINT: a set of one
  [[nodiscard]] constexpr bool has(Offload offload) const noexcept {
    return (bits_ & static_cast<std::uint32_t>(offload)) != 0;
  }
  [[nodiscard]] constexpr Offloads without(Offloads other) const noexcept {
    return from_bits(bits_ & ~other.bits_);
  }
  [[nodiscard]] constexpr bool empty() const noexcept { return bits_ == 0; }
  [[nodiscard]] constexpr std::uint32_t bits() const noexcept { return bits_; }
  [[nodiscard]] static constexpr Offloads from_bits(std::uint32_t bits) noexcept {
    Offloads set;
    set.bits_ = bits;
    return set;
  }
  friend constexpr Offloads operator|(Offloads a, Offloads b) noexcept {
    return from_bits(a.bits_ | b.bits_);
  }
  friend constexpr Offloads operator&(Offloads a, Offloads b) noexcept {
    return from_bits(a.bits_ & b.bits_);
  }
  constexpr bool operator==(const Offloads&) const = default;

 private:
  std::uint32_t bits_ = 0;
};

constexpr Offloads operator|(Offload a, Offload b) noexcept { return Offloads(a) | Offloads(b); }

/// Names separated by spaces: "rx-checksum tx-segment"; "none" for the empty set.
[[nodiscard]] std::string to_string(Offloads offloads);

/// What frames are hashed over for RSS. Bits of RssConfig::types.
enum RssTypes : std::uint32_t {
  kRssIpv4 = 1U << 0,
  kRssTcpIpv4 = 1U << 1,
  kRssUdpIpv4 = 1U << 2,
  kRssIpv6 = 1U << 3,
  kRssTcpIpv6 = 1U << 4,
  kRssUdpIpv6 = 1U << 5,
};

/// Bytes of a Toeplitz key for the longest input (two IPv6 addresses and two ports).
inline constexpr std::size_t kRssKeyBytes = 40;

/// How flows are spread over RX queues. The default is always complete: a key that nobody has set would send
/// all flows to one queue.
struct RssConfig {
  /// Microsoft's published verification key.
  std::array<std::uint8_t, kRssKeyBytes> key{0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67,
                                             0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb,
                                             0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
                                             0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa};
  std::uint32_t types =
      kRssIpv4 | kRssTcpIpv4 | kRssIpv6 | kRssTcpIpv6;  ///< those the device lacks are left out
  std::vector<std::uint16_t> table;  ///< RX queue by the hash's low bits; empty: all queues in turn
};

/// The Toeplitz hash of `input` under `key`: what a device computes for RSS.
[[nodiscard]] std::uint32_t toeplitz_hash(const std::array<std::uint8_t, kRssKeyBytes>& key,
                                          const std::uint8_t* input, std::size_t bytes) noexcept;

}  // namespace spinring::pmd
