#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "base/dma.hpp"
#include "base/ring_index.hpp"

namespace spinring::pmd::virtio {

/// What a ring is specialised by, beside its layout. A structural type.
struct RingFeatures {
  bool in_order =
      false;  ///< VIRTIO_F_IN_ORDER: the device uses buffers in the order in which they were made available
  bool chains = false;  ///< buffers may take several descriptors (TX, control); without, each takes one (RX)
  constexpr bool operator==(const RingFeatures&) const = default;
};

/// One buffer that the device has used: whose it is was checked, what the device says of its length was not.
template <class Packet>
struct Completion {
  Packet* packet;
  std::uint32_t length;
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
  void operator()(Packet* /*packet*/) const noexcept {}
};

/// Who owns which buffer id: the packets that the device holds, by id. The one place where an id that the
/// device wrote becomes a packet.
template <class Packet, RingFeatures F>
class RingBook {
 public:
  explicit RingBook(std::uint16_t size)
      : packets_(std::make_unique<Packet*[]>(size)),
        descriptors_(F.chains ? std::make_unique<std::uint16_t[]>(size) : nullptr),
        mask_(static_cast<std::uint16_t>(size - 1)),
        free_(size) {}

  [[nodiscard]] std::uint16_t size() const noexcept { return static_cast<std::uint16_t>(mask_ + 1); }
  [[nodiscard]] std::uint16_t mask() const noexcept { return mask_; }
  /// Free descriptors.
  [[nodiscard]] std::uint16_t free() const noexcept { return free_; }
  /// Buffers that the device holds.
  [[nodiscard]] std::uint16_t held() const noexcept { return held_; }
  [[nodiscard]] bool is_free(std::uint16_t id) const noexcept { return packets_[id] == nullptr; }
  /// The packet behind an id, or nullptr; nothing is believed of the id but that it names a slot.
  [[nodiscard]] Packet* peek(std::uint32_t id) const noexcept { return packets_[id & mask_]; }
  /// Some free id; there is one.
  [[nodiscard]] std::uint16_t any_free() noexcept {
    while (!is_free(ring_slot(cursor_, mask_))) ++cursor_;
    return ring_slot(cursor_++, mask_);
  }

  /// `packet` is the device's from now on, as a buffer of `descriptors` descriptors.
  void enter(std::uint16_t id, Packet& packet, std::uint16_t descriptors) noexcept {
    packets_[id] = &packet;
    if constexpr (F.chains) descriptors_[id] = descriptors;
    free_ = static_cast<std::uint16_t>(free_ - descriptors);
    ++held_;
  }
  /// A further descriptor of a buffer: no id of its own. What the device may not name.
  void enter_member(std::uint16_t id, Packet& packet) noexcept requires(F.chains) {
    packets_[id] = &packet;
    descriptors_[id] = 0;
  }
  void leave_member(std::uint16_t id) noexcept { packets_[id] = nullptr; }

  /// The packet behind an id that the device wrote, which is the caller's again; nullptr if it may not name
  /// that id now.
  [[nodiscard]] Packet* claim(std::uint32_t id) noexcept {
    if (id > mask_) [[unlikely]]
      return nullptr;
    if constexpr (F.chains) {
      if (descriptors_[id] == 0) [[unlikely]]
        return nullptr;
    }
    Packet* const packet = std::exchange(packets_[id], nullptr);
    if (packet == nullptr) [[unlikely]]
      return nullptr;
    free_ = static_cast<std::uint16_t>(free_ + descriptors(static_cast<std::uint16_t>(id)));
    --held_;
    return packet;
  }
  /// Of a buffer that is held, or was claimed a moment ago.
  [[nodiscard]] std::uint16_t descriptors(std::uint16_t id) const noexcept {
    if constexpr (F.chains) return descriptors_[id];
    return 1;
  }

  /// Hands every held packet to `take`. The device no longer uses the ring.
  template <class Take>
  void release_all(Take take) noexcept {
    for (std::uint32_t id = 0; id < size(); ++id) {
      Packet* const packet = std::exchange(packets_[id], nullptr);
      if (packet != nullptr && descriptors(static_cast<std::uint16_t>(id)) != 0) take(packet);
    }
    held_ = 0;
    free_ = size();
  }

 private:
  std::unique_ptr<Packet*[]> packets_;
  std::unique_ptr<std::uint16_t[]> descriptors_;  ///< by id: of its buffer; 0: it is a member of another's
  std::uint16_t mask_;
  std::uint16_t cursor_ = 0;
  std::uint16_t free_;
  std::uint16_t held_ = 0;
};

}  // namespace spinring::pmd::virtio
