#pragma once

#include <cstddef>
#include <cstdint>

#include "base/endian.hpp"

/// What lies in memory shared with a virtio device, and the numbers on it. virtio 1.2 sections are given at
/// each; a test compares the layouts with the kernel's UAPI headers.
namespace spinring::pmd::virtio {

// --- Split virtqueue, 2.7
// -------------------------------------------------------------------------------------------

/// 2.7.5 The Virtqueue Descriptor Table.
struct Descriptor {
  Le64 address;
  Le32 length;
  Le16 flags;
  Le16 next;
};
static_assert(sizeof(Descriptor) == 16 && alignof(Descriptor) == 8);

inline constexpr std::uint16_t kDescNext = 1;   ///< VIRTQ_DESC_F_NEXT: the chain goes on at `next`
inline constexpr std::uint16_t kDescWrite = 2;  ///< VIRTQ_DESC_F_WRITE: the device writes

/// 2.7.6 The Virtqueue Available Ring: this head, then one Le16 an entry.
struct AvailHead {
  Le16 flags;
  Le16 index;
};
inline constexpr std::uint16_t kAvailNoInterrupt = 1;  ///< VIRTQ_AVAIL_F_NO_INTERRUPT

/// 2.7.8 The Virtqueue Used Ring: this head, then one UsedElement an entry.
struct UsedHead {
  Le16 flags;
  Le16 index;
};
inline constexpr std::uint16_t kUsedNoNotify = 1;  ///< VIRTQ_USED_F_NO_NOTIFY

struct UsedElement {
  Le32 id;
  Le32 length;
};
static_assert(sizeof(AvailHead) == 4 && sizeof(UsedHead) == 4 && sizeof(UsedElement) == 8);

// --- Packed virtqueue, 2.8

/// 2.8.13 The second half of a packed descriptor, which one access reads or writes whole: so its flags can
/// never be seen without the rest.
struct PackedTail {
  std::uint32_t length;
  std::uint16_t id;
  std::uint16_t flags;

  [[nodiscard]] constexpr std::uint64_t pack() const noexcept {
    return length | std::uint64_t{id} << 32 | std::uint64_t{flags} << 48;
  }
  [[nodiscard]] static constexpr PackedTail unpack(std::uint64_t raw) noexcept {
    return {static_cast<std::uint32_t>(raw), static_cast<std::uint16_t>(raw >> 32),
            static_cast<std::uint16_t>(raw >> 48)};
  }
  /// 2.8.1: the device has marked it used in this lap, whose wrap counter is `wrap`.
  [[nodiscard]] constexpr bool used(bool wrap) const noexcept;
};

/// 2.8.13 The descriptor of a packed virtqueue: address, then length, buffer id and flags.
struct PackedDescriptor {
  Le64 address;
  Le64 tail;
};
static_assert(sizeof(PackedDescriptor) == 16 && alignof(PackedDescriptor) == 8);

inline constexpr std::uint16_t kPackedAvail = 1U << 7;  ///< VIRTQ_DESC_F_AVAIL
inline constexpr std::uint16_t kPackedUsed = 1U << 15;  ///< VIRTQ_DESC_F_USED

constexpr bool PackedTail::used(bool wrap) const noexcept {
  return (flags & (kPackedAvail | kPackedUsed)) == (wrap ? kPackedAvail | kPackedUsed : 0);
}

/// 2.8.14 Event suppression structure, one of the driver's and one of the device's: read and written whole.
struct EventSuppression {
  Le32 raw;
};
static_assert(sizeof(EventSuppression) == 4);
inline constexpr std::uint16_t kEventDisable = 1;   ///< RING_EVENT_FLAGS_DISABLE
inline constexpr std::uint16_t kEventPosition = 2;  ///< RING_EVENT_FLAGS_DESC, with VIRTIO_F_EVENT_IDX
/// What it says: where in the ring an event is wanted, its wrap counter in the high bit; and whether.
struct EventWish {
  std::uint16_t offset_wrap;
  std::uint16_t flags;

  [[nodiscard]] constexpr std::uint32_t pack() const noexcept {
    return offset_wrap | std::uint32_t{flags} << 16;
  }
  [[nodiscard]] static constexpr EventWish unpack(std::uint32_t raw) noexcept {
    return {static_cast<std::uint16_t>(raw), static_cast<std::uint16_t>(raw >> 16 & 3)};
  }
};

/// 2.7: queue sizes are powers of two up to this.
inline constexpr std::uint16_t kMaxQueueSize = 32768;

// --- Network device, 5.1
// --------------------------------------------------------------------------------------------

/// 5.1.6 struct virtio_net_hdr with VIRTIO_F_VERSION_1: always 12 bytes, num_buffers included.
struct NetHeader {
  std::uint8_t flags;
  std::uint8_t gso_type;
  Le16 header_length;
  Le16 gso_size;
  Le16 csum_start;
  Le16 csum_offset;
  Le16 num_buffers;
};
static_assert(sizeof(NetHeader) == 12 && offsetof(NetHeader, num_buffers) == 10);

/// The same with VIRTIO_NET_F_HASH_REPORT, in both directions.
struct HashHeader {
  NetHeader net;
  Le32 hash_value;
  Le16 hash_report;
  Le16 padding;
};
static_assert(sizeof(HashHeader) == 20 && offsetof(HashHeader, hash_value) == 12);

/// Values of NetHeader's fields.
namespace net_header {
inline constexpr std::uint8_t kNeedsChecksum = 1;    ///< VIRTIO_NET_HDR_F_NEEDS_CSUM
inline constexpr std::uint8_t kDataValid = 2;        ///< VIRTIO_NET_HDR_F_DATA_VALID
inline constexpr std::uint8_t kGsoNone = 0;          ///< VIRTIO_NET_HDR_GSO_NONE
inline constexpr std::uint8_t kGsoTcp4 = 1;          ///< VIRTIO_NET_HDR_GSO_TCPV4
inline constexpr std::uint8_t kGsoTcp6 = 4;          ///< VIRTIO_NET_HDR_GSO_TCPV6
inline constexpr std::uint8_t kGsoUdp = 5;           ///< VIRTIO_NET_HDR_GSO_UDP_L4
inline constexpr std::uint16_t kHashReportNone = 0;  ///< VIRTIO_NET_HASH_REPORT_NONE
inline constexpr std::uint16_t kHashReportMost = 9;  ///< VIRTIO_NET_HASH_REPORT_UDPv6_EX
}  // namespace net_header

/// 5.1.4 struct virtio_net_config: offsets from the start of the device configuration.
namespace net_config {
inline constexpr std::uint64_t kMac = 0;
inline constexpr std::uint64_t kStatus = 6;
inline constexpr std::uint64_t kMaxVirtqueuePairs = 8;
inline constexpr std::uint64_t kMtu = 10;
inline constexpr std::uint64_t kSpeed = 12;
inline constexpr std::uint64_t kDuplex = 16;
inline constexpr std::uint64_t kRssMaxKeySize = 17;
inline constexpr std::uint64_t kRssMaxTable = 18;    ///< rss_max_indirection_table_length
inline constexpr std::uint64_t kHashTypes = 20;      ///< supported_hash_types
inline constexpr std::uint16_t kStatusLinkUp = 1;    ///< VIRTIO_NET_S_LINK_UP
inline constexpr std::uint16_t kStatusAnnounce = 2;  ///< VIRTIO_NET_S_ANNOUNCE
inline constexpr std::uint32_t kSpeedUnknown = 0xFFFF'FFFF;
inline constexpr std::uint8_t kDuplexFull = 1;
}  // namespace net_config

/// 5.1.6.5 Control virtqueue: class and command of each request; the device answers with one byte.
struct ControlHeader {
  std::uint8_t command_class;
  std::uint8_t command;
};
namespace control {
inline constexpr ControlHeader kPromiscuous{0, 0};       ///< VIRTIO_NET_CTRL_RX_PROMISC
inline constexpr ControlHeader kAllMulticast{0, 1};      ///< VIRTIO_NET_CTRL_RX_ALLMULTI
inline constexpr ControlHeader kMacTable{1, 0};          ///< VIRTIO_NET_CTRL_MAC_TABLE_SET
inline constexpr ControlHeader kMacAddress{1, 1};        ///< VIRTIO_NET_CTRL_MAC_ADDR_SET
inline constexpr ControlHeader kVlanAdd{2, 0};           ///< VIRTIO_NET_CTRL_VLAN_ADD
inline constexpr ControlHeader kVlanDelete{2, 1};        ///< VIRTIO_NET_CTRL_VLAN_DEL
inline constexpr ControlHeader kQueuePairs{4, 0};        ///< VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET
inline constexpr ControlHeader kAnnounceAck{3, 0};       ///< VIRTIO_NET_CTRL_ANNOUNCE_ACK
inline constexpr ControlHeader kRssConfig{4, 1};         ///< VIRTIO_NET_CTRL_MQ_RSS_CONFIG
inline constexpr ControlHeader kHashConfig{4, 2};        ///< VIRTIO_NET_CTRL_MQ_HASH_CONFIG
inline constexpr ControlHeader kGuestOffloads{5, 0};     ///< VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET
inline constexpr ControlHeader kCoalesceTx{6, 0};        ///< VIRTIO_NET_CTRL_NOTF_COAL_TX_SET
inline constexpr ControlHeader kCoalesceRx{6, 1};        ///< VIRTIO_NET_CTRL_NOTF_COAL_RX_SET
inline constexpr ControlHeader kCoalesceQueueSet{6, 2};  ///< VIRTIO_NET_CTRL_NOTF_COAL_VQ_SET
inline constexpr ControlHeader kCoalesceQueueGet{6, 3};  ///< VIRTIO_NET_CTRL_NOTF_COAL_VQ_GET
inline constexpr ControlHeader kStatsQuery{8, 0};        ///< VIRTIO_NET_CTRL_STATS_QUERY
inline constexpr ControlHeader kStatsGet{8, 1};          ///< VIRTIO_NET_CTRL_STATS_GET
inline constexpr std::uint8_t kOk = 0;                   ///< VIRTIO_NET_OK
}  // namespace control

/// 5.1.6.5.7 Notifications coalescing: of all queues of a direction, or of one.
struct CoalescingData {
  Le32 max_packets;
  Le32 max_usecs;
};
struct QueueCoalescingData {
  Le16 queue;
  Le16 reserved;
  CoalescingData coalescing;
};
static_assert(sizeof(CoalescingData) == 8 && sizeof(QueueCoalescingData) == 12);

/// virtio 1.4, 5.1.6.5.9 Device statistics: what is asked of one queue, and the head of each part of the
/// answer.
struct StatsRequest {
  Le16 queue;
  Le16 reserved[3];
  Le64 types;
};
struct StatsReplyHead {
  std::uint8_t type;
  std::uint8_t reserved;
  Le16 queue;
  Le16 reserved1;
  Le16 size;  ///< bytes of this part, the head included
};
static_assert(sizeof(StatsRequest) == 16 && sizeof(StatsReplyHead) == 8);

/// 5.1.5: VIRTIO_NET_CTRL_MQ_VQ_PAIRS_MAX.
inline constexpr std::uint16_t kMaxQueuePairs = 0x8000;

}  // namespace spinring::pmd::virtio
