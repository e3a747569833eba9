#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/cpu.hpp"
#include "pmd/virtio/wire.hpp"

namespace spinring::bench::limit {

/// A packet is no more than a number: buffer i lies at start + places[i] * kStride, header first.
struct Buffers {
  /// An odd number of cache lines, so that neighbours do not share a cache set; holds the largest frame that
  /// a buffer must take without mergeable buffers (virtio 1.2, 5.1.6.3.1).
  static constexpr std::size_t kStride = 31 * kCacheLine;

  std::byte* start = nullptr;
  std::uint64_t device_start = 0;  ///< the same as the device sees it
  std::uint16_t count = 0;
  const std::uint32_t* places = nullptr;  ///< of each buffer: as a pool scatters its packets

  [[nodiscard]] std::byte* at(std::uint16_t buffer) const noexcept {
    return start + places[buffer] * kStride;
  }
  [[nodiscard]] std::uint64_t address(std::uint16_t buffer) const noexcept {
    return device_start + places[buffer] * kStride;
  }
};

/// A received frame on its way: header included in the length.
struct Frame {
  std::uint16_t buffer;
  std::uint32_t length;
};

inline constexpr std::uint16_t kMostBurst = 64;
using Burst = std::array<Frame, kMostBurst>;

/// The net header (all zeros) and both MAC addresses, which lie behind it: three stores.
struct Rewrite {
  std::array<std::byte, sizeof(pmd::virtio::NetHeader) + 12> bytes{};

  void apply(std::byte* buffer) const noexcept { std::memcpy(buffer, bytes.data(), bytes.size()); }
};

/// What both loops are given.
struct LoopOptions {
  std::uint16_t ring = 1024;  ///< entries of either ring
  std::uint16_t burst = 32;
  std::uint16_t batch = 128;  ///< buffers published, and taken back, together while full bursts come
};

/// Mergeable buffers: of one buffer a frame, as all of the frames of the comparison are. Others have no place
/// in this loop.
[[nodiscard]] inline bool is_whole(const std::byte* buffer) noexcept {
  const auto* header = reinterpret_cast<const pmd::virtio::NetHeader*>(buffer);
  return header->num_buffers == 1;
}

}  // namespace spinring::bench::limit
