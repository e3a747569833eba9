// The driver's own words for the wire against the kernel's: sizes, offsets, numbers.

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>

#include "pmd/virtio/common_config.hpp"
#include "pmd/virtio/features.hpp"
#include "pmd/virtio/wire.hpp"
#include "tests/sim/uapi_virtio.hpp"

namespace spinring::pmd::virtio {
namespace {

// A field of ours against one of theirs: same place, same size.
#define EXPECT_SAME_FIELD(ours, our_field, theirs, their_field)                                     \
  static_assert(offsetof(ours, our_field) == offsetof(theirs, their_field), #ours "::" #our_field); \
  static_assert(sizeof(ours::our_field) == sizeof(theirs::their_field), #ours "::" #our_field " size")

static_assert(sizeof(Descriptor) == sizeof(vring_desc));
EXPECT_SAME_FIELD(Descriptor, address, vring_desc, addr);
EXPECT_SAME_FIELD(Descriptor, length, vring_desc, len);
EXPECT_SAME_FIELD(Descriptor, flags, vring_desc, flags);
EXPECT_SAME_FIELD(Descriptor, next, vring_desc, next);
static_assert(kDescNext == VRING_DESC_F_NEXT && kDescWrite == VRING_DESC_F_WRITE);

static_assert(sizeof(AvailHead) == offsetof(vring_avail, ring));
EXPECT_SAME_FIELD(AvailHead, flags, vring_avail, flags);
EXPECT_SAME_FIELD(AvailHead, index, vring_avail, idx);
static_assert(kAvailNoInterrupt == VRING_AVAIL_F_NO_INTERRUPT);

static_assert(sizeof(UsedHead) == offsetof(vring_used, ring));
EXPECT_SAME_FIELD(UsedHead, flags, vring_used, flags);
EXPECT_SAME_FIELD(UsedHead, index, vring_used, idx);
static_assert(sizeof(UsedElement) == sizeof(vring_used_elem));
EXPECT_SAME_FIELD(UsedElement, id, vring_used_elem, id);
EXPECT_SAME_FIELD(UsedElement, length, vring_used_elem, len);
static_assert(kUsedNoNotify == VRING_USED_F_NO_NOTIFY);

static_assert(sizeof(NetHeader) == sizeof(virtio_net_hdr_v1));
EXPECT_SAME_FIELD(NetHeader, flags, virtio_net_hdr_v1, flags);
EXPECT_SAME_FIELD(NetHeader, gso_type, virtio_net_hdr_v1, gso_type);
EXPECT_SAME_FIELD(NetHeader, header_length, virtio_net_hdr_v1, hdr_len);
EXPECT_SAME_FIELD(NetHeader, gso_size, virtio_net_hdr_v1, gso_size);
EXPECT_SAME_FIELD(NetHeader, csum_start, virtio_net_hdr_v1, csum_start);
EXPECT_SAME_FIELD(NetHeader, csum_offset, virtio_net_hdr_v1, csum_offset);
EXPECT_SAME_FIELD(NetHeader, num_buffers, virtio_net_hdr_v1, num_buffers);

static_assert(sizeof(HashHeader) == sizeof(virtio_net_hdr_v1_hash));
EXPECT_SAME_FIELD(HashHeader, net, virtio_net_hdr_v1_hash, hdr);
EXPECT_SAME_FIELD(HashHeader, hash_value, virtio_net_hdr_v1_hash, hash_value);
EXPECT_SAME_FIELD(HashHeader, hash_report, virtio_net_hdr_v1_hash, hash_report);
EXPECT_SAME_FIELD(HashHeader, padding, virtio_net_hdr_v1_hash, padding);
static_assert(net_header::kNeedsChecksum == VIRTIO_NET_HDR_F_NEEDS_CSUM);
static_assert(net_header::kDataValid == VIRTIO_NET_HDR_F_DATA_VALID);
static_assert(net_header::kGsoTcp4 == VIRTIO_NET_HDR_GSO_TCPV4);
static_assert(net_header::kGsoTcp6 == VIRTIO_NET_HDR_GSO_TCPV6);
static_assert(net_header::kGsoUdp == VIRTIO_NET_HDR_GSO_UDP_L4);
static_assert(net_header::kHashReportMost == VIRTIO_NET_HASH_REPORT_UDPv6_EX);

static_assert(sizeof(ControlHeader) == sizeof(virtio_net_ctrl_hdr));
EXPECT_SAME_FIELD(ControlHeader, command_class, virtio_net_ctrl_hdr, klass);
EXPECT_SAME_FIELD(ControlHeader, command, virtio_net_ctrl_hdr, cmd);

static_assert(sizeof(CoalescingData) == sizeof(virtio_net_ctrl_coal));
EXPECT_SAME_FIELD(CoalescingData, max_packets, virtio_net_ctrl_coal, max_packets);
EXPECT_SAME_FIELD(CoalescingData, max_usecs, virtio_net_ctrl_coal, max_usecs);
EXPECT_SAME_FIELD(QueueCoalescingData, queue, virtio_net_ctrl_coal_vq, vqn);
EXPECT_SAME_FIELD(QueueCoalescingData, coalescing, virtio_net_ctrl_coal_vq, coal);
EXPECT_SAME_FIELD(StatsReplyHead, type, virtio_net_stats_reply_hdr, type);
EXPECT_SAME_FIELD(StatsReplyHead, queue, virtio_net_stats_reply_hdr, vq_index);
EXPECT_SAME_FIELD(StatsReplyHead, size, virtio_net_stats_reply_hdr, size);
static_assert(kRssIpv4 == VIRTIO_NET_RSS_HASH_TYPE_IPv4 && kRssTcpIpv4 == VIRTIO_NET_RSS_HASH_TYPE_TCPv4 &&
              kRssUdpIpv4 == VIRTIO_NET_RSS_HASH_TYPE_UDPv4 && kRssIpv6 == VIRTIO_NET_RSS_HASH_TYPE_IPv6 &&
              kRssTcpIpv6 == VIRTIO_NET_RSS_HASH_TYPE_TCPv6 && kRssUdpIpv6 == VIRTIO_NET_RSS_HASH_TYPE_UDPv6);

/// A register of the common configuration: its place and width are those of the field.
template <class Register>
constexpr bool is_at(std::size_t offset, std::size_t size) {
  return Register::kOffset == offset && sizeof(Register::raw) == size;
}
#define EXPECT_REGISTER(reg, field) \
  static_assert(                    \
      is_at<common::reg>(offsetof(virtio_pci_common_cfg, field), sizeof(virtio_pci_common_cfg::field)))

EXPECT_REGISTER(DeviceFeatureSelect, device_feature_select);
EXPECT_REGISTER(DeviceFeature, device_feature);
EXPECT_REGISTER(DriverFeatureSelect, guest_feature_select);
EXPECT_REGISTER(DriverFeature, guest_feature);
EXPECT_REGISTER(ConfigMsixVector, msix_config);
EXPECT_REGISTER(NumQueues, num_queues);
EXPECT_REGISTER(DeviceStatus, device_status);
EXPECT_REGISTER(ConfigGeneration, config_generation);
EXPECT_REGISTER(QueueSelect, queue_select);
EXPECT_REGISTER(QueueSize, queue_size);
EXPECT_REGISTER(QueueMsixVector, queue_msix_vector);
EXPECT_REGISTER(QueueEnable, queue_enable);
EXPECT_REGISTER(QueueNotifyOff, queue_notify_off);
static_assert(common::kQueueDesc == VIRTIO_PCI_COMMON_Q_DESCLO);
static_assert(common::kQueueDriver == VIRTIO_PCI_COMMON_Q_AVAILLO);
static_assert(common::kQueueDevice == VIRTIO_PCI_COMMON_Q_USEDLO);
static_assert(common::kSize == sizeof(virtio_pci_common_cfg));
static_assert(common::kNoVector == VIRTIO_MSI_NO_VECTOR);

TEST(Layout, StatusBits) {
  using common::DeviceStatus;
  EXPECT_EQ(DeviceStatus::kAcknowledge(1).raw, VIRTIO_CONFIG_S_ACKNOWLEDGE);
  EXPECT_EQ(DeviceStatus::kDriver(1).raw, VIRTIO_CONFIG_S_DRIVER);
  EXPECT_EQ(DeviceStatus::kDriverOk(1).raw, VIRTIO_CONFIG_S_DRIVER_OK);
  EXPECT_EQ(DeviceStatus::kFeaturesOk(1).raw, VIRTIO_CONFIG_S_FEATURES_OK);
  EXPECT_EQ(DeviceStatus::kNeedsReset(1).raw, VIRTIO_CONFIG_S_NEEDS_RESET);
  EXPECT_EQ(DeviceStatus::kFailed(1).raw, VIRTIO_CONFIG_S_FAILED);
}

bool is_bit(Feature feature, unsigned bit) { return static_cast<std::uint64_t>(feature) == 1ULL << bit; }

TEST(Layout, FeatureBits) {
  EXPECT_TRUE(is_bit(Feature::kMtu, VIRTIO_NET_F_MTU));
  EXPECT_TRUE(is_bit(Feature::kMac, VIRTIO_NET_F_MAC));
  EXPECT_TRUE(is_bit(Feature::kMergeableRx, VIRTIO_NET_F_MRG_RXBUF));
  EXPECT_TRUE(is_bit(Feature::kStatus, VIRTIO_NET_F_STATUS));
  EXPECT_TRUE(is_bit(Feature::kControlQueue, VIRTIO_NET_F_CTRL_VQ));
  EXPECT_TRUE(is_bit(Feature::kControlRx, VIRTIO_NET_F_CTRL_RX));
  EXPECT_TRUE(is_bit(Feature::kControlVlan, VIRTIO_NET_F_CTRL_VLAN));
  EXPECT_TRUE(is_bit(Feature::kMultiQueue, VIRTIO_NET_F_MQ));
  EXPECT_TRUE(is_bit(Feature::kControlMac, VIRTIO_NET_F_CTRL_MAC_ADDR));
  EXPECT_TRUE(is_bit(Feature::kVersion1, VIRTIO_F_VERSION_1));
  EXPECT_TRUE(is_bit(Feature::kAccessPlatform, VIRTIO_F_ACCESS_PLATFORM));
  EXPECT_TRUE(is_bit(Feature::kOrderPlatform, VIRTIO_F_ORDER_PLATFORM));
  EXPECT_TRUE(is_bit(Feature::kSpeedDuplex, VIRTIO_NET_F_SPEED_DUPLEX));
  EXPECT_TRUE(is_bit(Feature::kRingReset, VIRTIO_F_RING_RESET));
}

TEST(Layout, FeatureBitsOfOffloads) {
  EXPECT_TRUE(is_bit(Feature::kChecksum, VIRTIO_NET_F_CSUM));
  EXPECT_TRUE(is_bit(Feature::kGuestChecksum, VIRTIO_NET_F_GUEST_CSUM));
  EXPECT_TRUE(is_bit(Feature::kControlGuestOffloads, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS));
  EXPECT_TRUE(is_bit(Feature::kGuestTso4, VIRTIO_NET_F_GUEST_TSO4));
  EXPECT_TRUE(is_bit(Feature::kGuestTso6, VIRTIO_NET_F_GUEST_TSO6));
  EXPECT_TRUE(is_bit(Feature::kHostTso4, VIRTIO_NET_F_HOST_TSO4));
  EXPECT_TRUE(is_bit(Feature::kHostTso6, VIRTIO_NET_F_HOST_TSO6));
  EXPECT_TRUE(is_bit(Feature::kGuestAnnounce, VIRTIO_NET_F_GUEST_ANNOUNCE));
  EXPECT_TRUE(is_bit(Feature::kDeviceStats, VIRTIO_NET_F_DEVICE_STATS));
  EXPECT_TRUE(is_bit(Feature::kQueueCoalescing, VIRTIO_NET_F_VQ_NOTF_COAL));
  EXPECT_TRUE(is_bit(Feature::kNotifyCoalescing, VIRTIO_NET_F_NOTF_COAL));
  EXPECT_TRUE(is_bit(Feature::kGuestUso4, VIRTIO_NET_F_GUEST_USO4));
  EXPECT_TRUE(is_bit(Feature::kGuestUso6, VIRTIO_NET_F_GUEST_USO6));
  EXPECT_TRUE(is_bit(Feature::kHostUso, VIRTIO_NET_F_HOST_USO));
  EXPECT_TRUE(is_bit(Feature::kHashReport, VIRTIO_NET_F_HASH_REPORT));
  EXPECT_TRUE(is_bit(Feature::kRss, VIRTIO_NET_F_RSS));
}

TEST(Layout, DeviceConfiguration) {
  EXPECT_EQ(net_config::kMac, offsetof(virtio_net_config, mac));
  EXPECT_EQ(net_config::kStatus, offsetof(virtio_net_config, status));
  EXPECT_EQ(net_config::kMaxVirtqueuePairs, offsetof(virtio_net_config, max_virtqueue_pairs));
  EXPECT_EQ(net_config::kMtu, offsetof(virtio_net_config, mtu));
  EXPECT_EQ(net_config::kSpeed, offsetof(virtio_net_config, speed));
  EXPECT_EQ(net_config::kDuplex, offsetof(virtio_net_config, duplex));
  EXPECT_EQ(net_config::kStatusLinkUp, VIRTIO_NET_S_LINK_UP);
  EXPECT_EQ(net_config::kStatusAnnounce, VIRTIO_NET_S_ANNOUNCE);
  EXPECT_EQ(net_config::kRssMaxKeySize, offsetof(virtio_net_config, rss_max_key_size));
  EXPECT_EQ(net_config::kRssMaxTable, offsetof(virtio_net_config, rss_max_indirection_table_length));
  EXPECT_EQ(net_config::kHashTypes, offsetof(virtio_net_config, supported_hash_types));
  EXPECT_EQ(kMaxQueuePairs, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_MAX);
}

TEST(Layout, ControlCommands) {
  const auto is = [](ControlHeader header, unsigned klass, unsigned command) {
    return header.command_class == klass && header.command == command;
  };
  EXPECT_TRUE(is(control::kPromiscuous, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC));
  EXPECT_TRUE(is(control::kAllMulticast, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_ALLMULTI));
  EXPECT_TRUE(is(control::kMacTable, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET));
  EXPECT_TRUE(is(control::kMacAddress, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET));
  EXPECT_TRUE(is(control::kVlanAdd, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD));
  EXPECT_TRUE(is(control::kVlanDelete, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_DEL));
  EXPECT_TRUE(is(control::kQueuePairs, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET));
  EXPECT_EQ(control::kOk, VIRTIO_NET_OK);
}

}  // namespace
}  // namespace spinring::pmd::virtio
