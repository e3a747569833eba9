#pragma once

#include <cstdint>

#include "base/ring_index.hpp"
#include "base/shared.hpp"
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
  /// Whether the device `asks` to be told, behind a fence: with that everything up to `now` is settled.
  template <class Asks>
  [[nodiscard]] bool settle(std::uint16_t now, Asks asks) noexcept {
    full_fence();
    const bool asked = asks();
    set(now);
    return asked;
  }
  /// The same without a fence: true when the device asks and was not told.
  template <class Asks>
  [[nodiscard]] bool is_due(std::uint16_t now, Asks asks) noexcept {
    if (all(now) || !asks()) return false;
    set(now);
    return true;
  }
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

/// 2.7.7.1: with events the driver of a split ring cannot say that it wants no interrupt, only that it waits
/// for an event which was long ago. It comes again after 65536 entries, so that is said anew before.
class QuietEvent {
 public:
  /// Says so in a ring of which `used` entries were taken.
  void say(Le16& used_event, std::uint16_t used) noexcept {
    said_at_ = used;
    store_relaxed(used_event, static_cast<std::uint16_t>(used - 1));
  }
  [[nodiscard]] bool is_due(std::uint16_t used) const noexcept {
    return ring_distance(used, said_at_) >= kLasts;
  }

 private:
  static constexpr std::uint16_t kLasts = 16384;  ///< with a ring more, still less than 65536
  std::uint16_t said_at_ = 0;
};

}  // namespace spinring::pmd::virtio
