#include "pmd/virtio/features.hpp"

#include <array>
#include <utility>

namespace spinring::pmd::virtio {

std::string to_string(FeatureSet features) {
  using enum Feature;
  static constexpr std::array<std::pair<Feature, const char*>, 34> kNames{
      {{kChecksum, "CSUM"},
       {kGuestChecksum, "GUEST_CSUM"},
       {kControlGuestOffloads, "CTRL_GUEST_OFFLOADS"},
       {kMtu, "MTU"},
       {kMac, "MAC"},
       {kGuestTso4, "GUEST_TSO4"},
       {kGuestTso6, "GUEST_TSO6"},
       {kHostTso4, "HOST_TSO4"},
       {kHostTso6, "HOST_TSO6"},
       {kMergeableRx, "MRG_RXBUF"},
       {kStatus, "STATUS"},
       {kControlQueue, "CTRL_VQ"},
       {kControlRx, "CTRL_RX"},
       {kControlVlan, "CTRL_VLAN"},
       {kGuestAnnounce, "GUEST_ANNOUNCE"},
       {kMultiQueue, "MQ"},
       {kControlMac, "CTRL_MAC_ADDR"},
       {kEventIndex, "EVENT_IDX"},
       {kVersion1, "VERSION_1"},
       {kAccessPlatform, "ACCESS_PLATFORM"},
       {kRingPacked, "RING_PACKED"},
       {kInOrder, "IN_ORDER"},
       {kOrderPlatform, "ORDER_PLATFORM"},
       {kNotificationData, "NOTIFICATION_DATA"},
       {kRingReset, "RING_RESET"},
       {kDeviceStats, "DEVICE_STATS"},
       {kQueueCoalescing, "VQ_NOTF_COAL"},
       {kNotifyCoalescing, "NOTF_COAL"},
       {kGuestUso4, "GUEST_USO4"},
       {kGuestUso6, "GUEST_USO6"},
       {kHostUso, "HOST_USO"},
       {kHashReport, "HASH_REPORT"},
       {kRss, "RSS"},
       {kSpeedDuplex, "SPEED_DUPLEX"}}};
  std::string text;
  for (const auto& [feature, name] : kNames) {
    if (!features.has(feature)) continue;
    if (!text.empty()) text += ' ';
    text += name;
  }
  return text;
}

}  // namespace spinring::pmd::virtio
