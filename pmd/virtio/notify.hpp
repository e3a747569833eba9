#pragma once

#include <cstdint>

#include "base/ring_index.hpp"
#include "pmd/virtio/features.hpp"

namespace spinring::pmd::virtio {

/// How driver and device tell each other of news, as negotiated. It matters once a burst, so no loop is
/// specialised by it.
struct NotifyRules {
  bool event_index = false;  ///< VIRTIO_F_EVENT_IDX: each names the position that it waits for
  bool with_data = false;    ///< VIRTIO_F_NOTIFICATION_DATA: the doorbell says how far the ring is filled
};
[[nodiscard]] constexpr NotifyRules notify_rules(FeatureSet negotiated) noexcept {
  return {.event_index = negotiated.has(Feature::kEventIndex),
          .with_data = negotiated.has(Feature::kNotificationData)};
}

/// Up to where a ring's device has been told, or did not ask: a free-running position, 16 bits wide.
class Told {
 public:
  /// Whether everything up to `now` was.
  [[nodiscard]] bool all(std::uint16_t now) const noexcept { return position_ == now; }
  void set(std::uint16_t now) noexcept { position_ = now; }
  /// 2.7.10, 2.8.14: whether the device waits for `event`, which lies between what it was told of and `now`.
  /// `event` repeats each `period` positions, a power of two. What it waits for, it has not taken: it is
  /// among the last `size` positions, so that is how far back the answer need look, however long ago it was
  /// told.
  [[nodiscard]] bool passed(std::uint16_t event, std::uint32_t period, std::uint16_t now,
                            std::uint16_t size) noexcept {
    if (ring_distance(now, position_) > size) position_ = static_cast<std::uint16_t>(now - size);
    const auto behind = static_cast<std::uint32_t>(now - event - 1) & (period - 1);
    return behind < ring_distance(now, position_);
  }

 private:
  std::uint16_t position_ = 0;
};

}  // namespace spinring::pmd::virtio
