#pragma once

#include <tins/tins.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tests/device/virtio_lab.hpp"

/// Frames built and judged by libtins, which knows nothing of our driver: it fills in lengths and checksums
/// itself.
namespace spinring::test {

/// What a frame is made of.
struct Flow {
  bool ipv6 = false;
  bool tcp = true;
  std::string source = "10.1.2.3";
  std::string destination = "192.168.77.88";
  std::uint16_t source_port = 12345;
  std::uint16_t destination_port = 443;
};

inline const Flow kTcp4{};
inline const Flow kUdp4{.tcp = false};
inline const Flow kTcp6{.ipv6 = true, .source = "fd00::1:2:3", .destination = "fd00:7:8::9"};
inline const Flow kUdp6{.ipv6 = true, .tcp = false, .source = "fd00::1:2:3", .destination = "fd00:7:8::9"};

/// A packet of the flow with `payload` pseudo-random bytes; TCP with options, sequence number and flags.
Tins::EthernetII make_packet(const Flow& flow, std::size_t payload, std::uint32_t sequence = 1000);

/// Its bytes, with all checksums right.
Frame bytes_of(Tins::EthernetII packet);

/// Whether a frame's lengths and checksums are what libtins makes of its other fields.
bool tins_finds_sound(const Frame& frame);

/// Where L4 starts in a frame of the flow, and the checksum in L4's header.
std::uint16_t l4_start(const Flow& flow);
std::uint16_t checksum_at(const Flow& flow);

/// The frame as a sender leaves it to a device: the pseudo-header's sum for a checksum, and 0 for IPv4's.
Frame without_checksums(const Flow& flow, const Frame& frame);

}  // namespace spinring::test
