#pragma once

#include <cstdint>

namespace spinring::testpmd {

// What options accept; the device may allow less and says so at start.
inline constexpr std::uint16_t kMaxBurst = 512;
inline constexpr std::uint16_t kMinRing = 8;
inline constexpr std::uint16_t kMaxRing = 32768;
/// A short ring keeps its packets in the CPU's cache.
inline constexpr std::uint16_t kDefaultRing = 256;
inline constexpr std::uint16_t kMaxQueues = 64;
inline constexpr unsigned kMaxPorts = 32;
inline constexpr std::uint16_t kMinFrame = 60;       ///< of Ethernet, without its checksum
inline constexpr std::uint16_t kFrameOverhead = 18;  ///< Ethernet header and checksum
inline constexpr std::uint16_t kMinMtu = 68;
inline constexpr std::uint16_t kMinBuffer = 256;
inline constexpr std::uint16_t kMaxBuffer = 65472;  ///< a whole number of cache lines in 16 bits

}  // namespace spinring::testpmd
