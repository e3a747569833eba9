#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/cpu.hpp"
#include "base/dma.hpp"

namespace spinring::mempool {

class Pool;

/// What is known of a received packet, or wanted for a sent one. Bits of Packet::offloads.
enum OffloadBits : std::uint32_t {
  kRxChecksumGood = 1U << 0,  ///< the device verified the L4 checksum
  kRxChecksumBad = 1U << 1,   ///< the device found it wrong
  kRxChecksumPartial =
      1U << 2,  ///< not filled in yet (the sender is on the same host); see csum_start, csum_offset
  kRxHashValid = 1U << 3,
  kRxVlanStripped = 1U << 4,
  kRxCoalesced = 1U << 5,  ///< several segments of a flow in one frame; segment_size as they came
  /// Fill in the L4 checksum at csum_start + csum_offset. The field holds the sum of the pseudo header.
  kTxChecksum = 1U << 8,
  /// Segment by segment_size (TSO); asks for the checksums too. The field holds the sum of the pseudo header
  /// without its length: each segment has another.
  kTxSegment = 1U << 9,
  kTxVlanInsert = 1U << 10,
  kTxIpChecksum = 1U << 11,  ///< fill in the IPv4 header checksum
  kTxSegmentUdp = 1U << 12,  ///< cut into UDP datagrams of segment_size; else as kTxSegment
  kRxTimestampValid = 1U << 13,
  kTxSctpChecksum = 1U << 14,   ///< fill in SCTP's CRC32c at csum_start + 8; csum_offset is 8
  kRxTimestampKept = 1U << 15,  ///< the device keeps its time of arrival: Port::rx_timestamp() reads it
};

/// What a packet can ask of the device that sends it.
inline constexpr std::uint32_t kTxOffloads =
    kTxChecksum | kTxSegment | kTxVlanInsert | kTxIpChecksum | kTxSegmentUdp | kTxSctpChecksum;

/// One packet buffer: a cache line of metadata, then the buffer: headroom, data, tailroom. It lies in a DMA
/// region of the pool that owns it and is never copied: RX descriptors point into it, TX descriptors point
/// into it, and it returns to its pool when the device is done. A packet has exactly one owner at a time
/// (application, queue, or pool); there is no reference count. Longer frames are chains by `next`;
/// `packet_length` and `segments` count in the head alone.
struct alignas(kCacheLine) Packet {
  /// Bytes of the buffer that are kept free in front of what a device receives. Whole cache lines, so that it
  /// may begin with one; a virtio-net header lies behind them or is their last bytes.
  static constexpr std::uint16_t kHeadroom = 128;
  /// Where data starts in a packet fresh from its pool: leaves room for a 12-byte virtio-net header in the
  /// same line.
  static constexpr std::uint16_t kDefaultDataOffset = kHeadroom + 12;

  // Each received frame sets one block of 32 bytes, which is looked at when it is sent (packet_run.hpp).
  Packet* next = nullptr;           ///< next segment of the same frame
  std::uint32_t packet_length = 0;  ///< head: bytes of the whole frame
  std::uint16_t data_length = 0;    ///< bytes of data in this segment
  std::uint16_t data_offset = 0;    ///< where they start, from buffer()
  std::uint16_t segments = 1;       ///< head: segments in the chain
  std::uint16_t vlan_tci = 0;
  std::uint32_t offloads = 0;       ///< OffloadBits
  std::uint16_t csum_start = 0;     ///< from the start of the frame
  std::uint16_t csum_offset = 0;    ///< from csum_start
  std::uint16_t segment_size = 0;   ///< payload bytes of a segment: kTxSegment, kTxSegmentUdp, kRxCoalesced
  std::uint16_t header_length = 0;  ///< L2 + L3 + L4 header bytes for the same; received: 0 if not known

  Pool* pool = nullptr;             ///< where it returns to; never changes
  std::uint16_t buffer_length = 0;  ///< bytes of the buffer, headroom included; never changes
  RegionId region = 0;              ///< the DMA region it lies in; never changes
  std::uint16_t port = 0;           ///< port it was received on
  std::uint16_t queue = 0;          ///< RX queue it came by
  std::uint32_t rss_hash = 0;
  std::uint32_t debug_state = 0;  ///< ownership mark of the debug build; 0 in others
  std::uint64_t timestamp = 0;    ///< RX: the device's time of arrival, in its own units

  [[nodiscard]] std::byte* buffer() noexcept { return reinterpret_cast<std::byte*>(this + 1); }
  [[nodiscard]] const std::byte* buffer() const noexcept {
    return reinterpret_cast<const std::byte*>(this + 1);
  }
  [[nodiscard]] std::byte* data() noexcept { return buffer() + data_offset; }
  [[nodiscard]] const std::byte* data() const noexcept { return buffer() + data_offset; }
  /// This segment's data.
  [[nodiscard]] std::span<std::byte> bytes() noexcept { return {data(), data_length}; }
  [[nodiscard]] std::uint16_t headroom() const noexcept { return data_offset; }
  [[nodiscard]] std::uint16_t tailroom() const noexcept {
    return static_cast<std::uint16_t>(buffer_length - data_offset - data_length);
  }
  /// A single segment of `length` bytes at `offset` that asks for nothing.
  void set_single(std::uint16_t offset, std::uint16_t length) noexcept {
    next = nullptr;
    packet_length = length;
    data_length = length;
    data_offset = offset;
    segments = 1;
    vlan_tci = 0;
    offloads = 0;
    csum_start = csum_offset = segment_size = header_length = 0;
  }
  /// A single segment of `length` bytes at the default offset. The caller has checked that it fits.
  void reset(std::uint16_t length) noexcept {
    assert(kDefaultDataOffset + length <= buffer_length);
    set_single(kDefaultDataOffset, length);
  }
};
static_assert(sizeof(Packet) == kCacheLine);
// What packet_run.hpp relies on.
static_assert(offsetof(Packet, next) == 0 && offsetof(Packet, packet_length) == 8 &&
              offsetof(Packet, data_length) == 12 && offsetof(Packet, data_offset) == 14 &&
              offsetof(Packet, segments) == 16 && offsetof(Packet, offloads) == 20 &&
              offsetof(Packet, csum_start) == 24 && offsetof(Packet, header_length) == 30);

}  // namespace spinring::mempool
