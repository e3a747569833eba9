#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "base/dma.hpp"
#include "base/ring_index.hpp"
#include "pmd/virtio/checks.hpp"

namespace spinring::pmd::virtio {

/// What a ring is specialised by, beside its layout. A structural type.
struct RingFeatures {
  bool in_order =
      false;  ///< VIRTIO_F_IN_ORDER: the device uses buffers in the order in which they were made available
  bool chains = false;  ///< buffers may take several descriptors (TX, control); without, each takes one (RX)
  constexpr bool operator==(const RingFeatures&) const = default;
};

/// Where a buffer of one descriptor lies.
struct Extent {
  Iova address;
  std::uint32_t length;
};
/// A buffer of one descriptor that a queue offers.
template <class Packet>
struct Posting {
  Packet* packet;
  Extent extent;
};

/// What harvest() returns when the device has broken the ring's rules so that it cannot be followed.
inline constexpr std::uint16_t kBroken = 0xFFFF;

/// A part of a buffer: one descriptor. `flags`: kDescWrite or 0.
struct Piece {
  Iova address;
  std::uint32_t length;
  std::uint16_t flags;
};

/// Most pieces of one buffer.
inline constexpr std::uint16_t kMaxPieces = 256;

/// What harvest() shows packets to when nobody wants to see them.
struct Unseen {
  template <class Packet>
  void operator()(Packet& /*packet*/) const noexcept {}
};

/// Who owns which buffer id: the packets that the device holds, by id. The one place where an id that the
/// device wrote becomes a packet. A loop works on a copy of the book in registers and puts it back: stores to
/// packets and rings could change a member, as far as the compiler knows.
/// `Entry` is what the ring keeps for each id in private memory, among it `packet` (that the device holds
/// under this id, or nullptr) and `descriptors` (with chains: of its buffer; 0: a member of another's).
template <class Packet, RingFeatures F, class Entry>
class RingBook {
 public:
  /// `entries` are `size` fresh ones and outlive the book.
  RingBook(Entry* entries, std::uint16_t size) noexcept
      : entries_(entries), mask_(static_cast<std::uint16_t>(size - 1)), free_(size) {}

  [[nodiscard]] std::uint16_t size() const noexcept { return static_cast<std::uint16_t>(mask_ + 1); }
  [[nodiscard]] std::uint16_t mask() const noexcept { return mask_; }
  /// Free descriptors.
  [[nodiscard]] std::uint16_t free() const noexcept { return free_; }
  /// Buffers that the device holds.
  [[nodiscard]] std::uint16_t held() const noexcept {
    if constexpr (F.chains) return held_;
    return static_cast<std::uint16_t>(size() - free_);
  }
  [[nodiscard]] Entry& entry(std::uint16_t id) const noexcept { return entries_[id]; }
  [[nodiscard]] bool is_free(std::uint16_t id) const noexcept { return entries_[id].packet == nullptr; }
  /// The packet behind an id, or nullptr; nothing is believed of the id but that it names a slot.
  [[nodiscard]] Packet* peek(std::uint32_t id) const noexcept {
    return entries_[kChecksDevice ? id & mask_ : id].packet;
  }
  /// Some free id; there is one.
  [[nodiscard]] std::uint16_t any_free() noexcept {
    while (!is_free(ring_slot(cursor_, mask_))) ++cursor_;
    return ring_slot(cursor_++, mask_);
  }

  /// `packet` is the device's from now on, as a buffer of `descriptors` descriptors.
  void enter(std::uint16_t id, Packet* packet, std::uint16_t descriptors) noexcept {
    Entry& entry = entries_[id];
    entry.packet = packet;
    free_ = static_cast<std::uint16_t>(free_ - descriptors);
    if constexpr (F.chains) {
      entry.descriptors = descriptors;
      ++held_;
    }
  }
  /// A further descriptor of a buffer: no id of its own. What the device may not name.
  void enter_member(std::uint16_t id, Packet* packet) noexcept requires(F.chains) {
    entries_[id].packet = packet;
    entries_[id].descriptors = 0;
  }
  void leave_member(std::uint16_t id) noexcept { entries_[id].packet = nullptr; }

  /// The packet behind an id that the device wrote, which is the caller's again; nullptr if it may not name
  /// that id now.
  [[nodiscard]] Packet* claim(std::uint32_t id) noexcept {
    if (refused(id > mask_)) [[unlikely]]
      return nullptr;
    if constexpr (F.chains) {
      if (refused(entries_[id].descriptors == 0)) [[unlikely]]
        return nullptr;
    }
    if (refused(entries_[id].packet == nullptr)) [[unlikely]]
      return nullptr;
    return leave(static_cast<std::uint16_t>(id));
  }
  /// The same for an id that is known to be held (the next in order).
  [[nodiscard]] Packet* leave(std::uint16_t id) noexcept {
    free_ = static_cast<std::uint16_t>(free_ + descriptors(id));
    if constexpr (F.chains) --held_;
    return std::exchange(entries_[id].packet, nullptr);
  }
  /// Of a buffer that is held, or was claimed a moment ago.
  [[nodiscard]] std::uint16_t descriptors(std::uint16_t id) const noexcept {
    if constexpr (F.chains) return entries_[id].descriptors;
    return 1;
  }

  /// Hands every held packet to `take`. The device no longer uses the ring.
  template <class Take>
  void release_all(Take take) noexcept {
    for (std::uint32_t id = 0; id < size(); ++id) {
      Packet* const packet = std::exchange(entries_[id].packet, nullptr);
      if (packet != nullptr && descriptors(static_cast<std::uint16_t>(id)) != 0) take(packet);
    }
    held_ = 0;
    free_ = size();
  }

 private:
  Entry* entries_;
  std::uint16_t mask_;
  std::uint16_t cursor_ = 0;
  std::uint16_t free_;
  std::uint16_t held_ = 0;  ///< with chains; without, it follows from free_
};

}  // namespace spinring::pmd::virtio
