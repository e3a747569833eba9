#include "pmd/virtio/features.hpp"

#include <array>
#include <utility>

namespace spinring::pmd::virtio {

std::string to_string(FeatureSet features) {
  using enum Feature;
  static constexpr std::array<std::pair<Feature, const char*>, 15> kNames{
      {{kMtu, "MTU"},
       {kMac, "MAC"},
       {kMergeableRx, "MRG_RXBUF"},
       {kStatus, "STATUS"},
       {kControlQueue, "CTRL_VQ"},
       {kControlRx, "CTRL_RX"},
       {kControlVlan, "CTRL_VLAN"},
       {kMultiQueue, "MQ"},
       {kControlMac, "CTRL_MAC_ADDR"},
       {kVersion1, "VERSION_1"},
       {kAccessPlatform, "ACCESS_PLATFORM"},
       {kRingPacked, "RING_PACKED"},
       {kInOrder, "IN_ORDER"},
       {kOrderPlatform, "ORDER_PLATFORM"},
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
