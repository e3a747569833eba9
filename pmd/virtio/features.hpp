#pragma once

#include <cstdint>
#include <string>

#include "pmd/offload.hpp"

namespace spinring::pmd::virtio {

/// Feature bits, as one 64-bit word. Network device: virtio 1.2, 5.1.3; reserved bits: section 6.
enum class Feature : std::uint64_t {
  kChecksum = 1ULL << 0,
  kGuestChecksum = 1ULL << 1,
  kControlGuestOffloads = 1ULL << 2,
  kMtu = 1ULL << 3,
  kMac = 1ULL << 5,
  kGuestTso4 = 1ULL << 7,
  kGuestTso6 = 1ULL << 8,
  kHostTso4 = 1ULL << 11,
  kHostTso6 = 1ULL << 12,
  kMergeableRx = 1ULL << 15,
  kStatus = 1ULL << 16,
  kControlQueue = 1ULL << 17,
  kControlRx = 1ULL << 18,
  kControlVlan = 1ULL << 19,
  kGuestAnnounce = 1ULL << 21,
  kMultiQueue = 1ULL << 22,
  kControlMac = 1ULL << 23,
  kEventIndex = 1ULL << 29,
  kVersion1 = 1ULL << 32,
  kAccessPlatform = 1ULL << 33,
  kRingPacked = 1ULL << 34,
  kInOrder = 1ULL << 35,
  kOrderPlatform = 1ULL << 36,
  kNotificationData = 1ULL << 38,
  kRingReset = 1ULL << 40,
  kDeviceStats = 1ULL << 50,       ///< virtio 1.4
  kQueueCoalescing = 1ULL << 52,   ///< VIRTIO_NET_F_VQ_NOTF_COAL, virtio 1.3
  kNotifyCoalescing = 1ULL << 53,  ///< VIRTIO_NET_F_NOTF_COAL
  kGuestUso4 = 1ULL << 54,         ///< virtio 1.3
  kGuestUso6 = 1ULL << 55,
  kHostUso = 1ULL << 56,
  kHashReport = 1ULL << 57,
  kRss = 1ULL << 60,
  kSpeedDuplex = 1ULL << 63,
};

/// A set of features, offered or negotiated.
class FeatureSet {
 public:
  constexpr FeatureSet() = default;
  constexpr explicit FeatureSet(std::uint64_t bits) : bits_(bits) {}
  [[nodiscard]] constexpr bool has(Feature feature) const noexcept {
    return (bits_ & static_cast<std::uint64_t>(feature)) != 0;
  }
  [[nodiscard]] constexpr FeatureSet with(Feature feature) const noexcept {
    return FeatureSet(bits_ | static_cast<std::uint64_t>(feature));
  }
  [[nodiscard]] constexpr FeatureSet without(Feature feature) const noexcept {
    return FeatureSet(bits_ & ~static_cast<std::uint64_t>(feature));
  }
  [[nodiscard]] constexpr FeatureSet common(FeatureSet other) const noexcept {
    return FeatureSet(bits_ & other.bits_);
  }
  [[nodiscard]] constexpr std::uint64_t bits() const noexcept { return bits_; }
  constexpr bool operator==(const FeatureSet&) const = default;

 private:
  std::uint64_t bits_ = 0;
};

/// What the caller of negotiate() wants of features that change the device's behaviour.
struct Wishes {
  /// MQ without CTRL_VQ: the transport enables the pairs.
  bool own_queue_pairs = false;
  /// With CTRL_VLAN negotiated, a device drops tagged frames until their VLAN is added.
  bool vlan_filter = false;
  /// With these negotiated, headers say more, and frames come without checksums or longer than the MTU.
  Offloads offloads{};
  /// With MTU negotiated, the driver must have buffers for frames of that size.
  bool whole_mtu = true;
};

/// The offloads that a device with these features can do, or was set up for (virtio 1.2, 5.1.3.1: what each
/// depends on). Coalesced frames take buffers of 64 KiB or several: here several.
[[nodiscard]] constexpr Offloads offloads_of(FeatureSet features) noexcept {
  using enum Feature;
  Offloads offloads;
  const auto add = [&](Offload offload, bool there) {
    if (there) offloads = offloads | offload;
  };
  const bool guest = features.has(kGuestChecksum);
  const bool coalesce = guest && features.has(kMergeableRx);
  const bool host = features.has(kChecksum);
  const bool control = features.has(kControlQueue);
  add(Offload::kRxChecksum, guest);
  add(Offload::kRxCoalesce, coalesce && (features.has(kGuestTso4) || features.has(kGuestTso6)));
  add(Offload::kRxCoalesceUdp, coalesce && (features.has(kGuestUso4) || features.has(kGuestUso6)));
  add(Offload::kTxChecksum, host);
  add(Offload::kTxSegment, host && features.has(kHostTso4) && features.has(kHostTso6));
  add(Offload::kTxSegmentUdp, host && features.has(kHostUso));
  add(Offload::kRxHash, control && features.has(kHashReport));
  // Without MQ there is one queue to spread over, and no number of pairs to place the control queue by.
  add(Offload::kRss, control && features.has(kMultiQueue) && features.has(kRss));
  return offloads;
}

/// The features that these offloads need or can use.
[[nodiscard]] constexpr FeatureSet features_for(Offloads offloads) noexcept {
  using enum Feature;
  FeatureSet features;
  const auto add = [&](Offload offload, auto... needed) {
    if (offloads.has(offload)) ((features = features.with(needed)), ...);
  };
  add(Offload::kRxChecksum, kGuestChecksum);
  add(Offload::kRxCoalesce, kGuestChecksum, kGuestTso4, kGuestTso6);
  add(Offload::kRxCoalesceUdp, kGuestChecksum, kGuestUso4, kGuestUso6);
  add(Offload::kTxChecksum, kChecksum);
  add(Offload::kTxSegment, kChecksum, kHostTso4, kHostTso6);
  add(Offload::kTxSegmentUdp, kChecksum, kHostUso);
  add(Offload::kRxHash, kHashReport);
  add(Offload::kRss, kRss);
  return features;
}

/// The features to accept of those offered: everything that the driver can use and whose dependencies
/// (virtio 1.2, 5.1.3.1) are met. Pure.
[[nodiscard]] constexpr FeatureSet negotiate(FeatureSet offered, Wishes wishes) noexcept {
  using enum Feature;
  FeatureSet known = FeatureSet()
                         .with(kMtu)
                         .with(kMac)
                         .with(kMergeableRx)
                         .with(kStatus)
                         .with(kControlQueue)
                         .with(kEventIndex)
                         .with(kVersion1)
                         .with(kAccessPlatform)
                         .with(kRingPacked)
                         .with(kInOrder)
                         .with(kOrderPlatform)
                         .with(kNotificationData)
                         .with(kRingReset)
                         .with(kSpeedDuplex);
  if (offered.has(kControlQueue)) {
    known = known.with(kControlRx)
                .with(kMultiQueue)
                .with(kControlMac)
                .with(kNotifyCoalescing)
                .with(kQueueCoalescing)
                .with(kDeviceStats);
    if (offered.has(kStatus)) known = known.with(kGuestAnnounce);
    if (wishes.vlan_filter) known = known.with(kControlVlan);
  }
  if (wishes.own_queue_pairs) known = known.with(kMultiQueue);
  if (!wishes.whole_mtu) known = known.without(kMtu);
  const FeatureSet offloads = features_for(wishes.offloads);
  if (offloads.has(kGuestChecksum) && offered.has(kControlQueue)) known = known.with(kControlGuestOffloads);
  return offered.common(FeatureSet(known.bits() | offloads.bits()));
}

/// Names of the features, as the specification spells them without the prefix: "MAC MRG_RXBUF VERSION_1".
[[nodiscard]] std::string to_string(FeatureSet features);

}  // namespace spinring::pmd::virtio
