#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "pmd/port.hpp"
#include "pmd/virtio/features.hpp"

namespace spinring::pmd::virtio::vhost_user {

/// Which back end, and what to negotiate with it.
struct Config {
  std::string name = "virtio_user0";
  std::string path;     ///< of the unix socket
  bool server = false;  ///< listen at path and let the switch connect
  std::uint16_t queue_pairs = 1;
  std::uint16_t queue_size = 256;  ///< entries; a power of two
  std::optional<MacAddress> mac;   ///< without one the driver makes one up
  // What may be negotiated; what is depends on the back end and the driver as well.
  bool mergeable = true;  ///< VIRTIO_NET_F_MRG_RXBUF
  bool in_order = true;   ///< VIRTIO_F_IN_ORDER
  bool packed = false;    ///< VIRTIO_F_RING_PACKED

  /// Received frames begin on a cache line, as copying switches have it; otherwise behind the header in the
  /// line where that begins, which are fewer lines for whoever writes both at once.
  bool aligned_frames = true;

  /// The features that must not be negotiated.
  [[nodiscard]] constexpr FeatureSet unwanted() const noexcept {
    std::uint64_t bits = 0;
    if (!mergeable) bits |= FeatureSet().with(Feature::kMergeableRx).bits();
    if (!in_order) bits |= FeatureSet().with(Feature::kInOrder).bits();
    if (!packed) bits |= FeatureSet().with(Feature::kRingPacked).bits();
    if (queue_pairs == 1) bits |= FeatureSet().with(Feature::kMultiQueue).bits();
    return FeatureSet(bits);
  }
};

}  // namespace spinring::pmd::virtio::vhost_user
