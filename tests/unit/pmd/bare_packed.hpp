#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <optional>
#include <vector>

#include "tests/unit/pmd/bare_machine.hpp"

namespace spinring::sim {

constexpr std::uint16_t kAvailBit = 1U << VRING_PACKED_DESC_F_AVAIL;
constexpr std::uint16_t kUsedBit = 1U << VRING_PACKED_DESC_F_USED;

/// One element of a buffer, before it has its place in the ring.
struct Element {
  std::uint64_t iova = 0;
  std::uint32_t length = 0;
  std::uint16_t flags = 0;
};

/// The driver's side of a packed ring, as the examples in virtio 1.2, 2.8.21 and 2.8.22 do it.
class BarePackedRing {
 public:
  BarePackedRing(std::byte* descriptors, std::byte* driver_event, std::byte* device_event, std::uint16_t size)
      : driver_event_(reinterpret_cast<vring_packed_desc_event*>(driver_event)),
        device_event_(reinterpret_cast<vring_packed_desc_event*>(device_event)),
        descriptors_(reinterpret_cast<vring_packed_desc*>(descriptors)),
        lists_(1U << 16),
        size_(size) {}

  [[nodiscard]] vring_packed_desc& at(unsigned index) { return descriptors_[index]; }
  [[nodiscard]] vring_packed_desc_event& driver_event() { return *driver_event_; }
  [[nodiscard]] const vring_packed_desc_event& device_event() { return *device_event_; }
  [[nodiscard]] std::uint16_t next() const { return next_; }
  /// As a doorbell with NOTIFICATION_DATA says it.
  [[nodiscard]] std::uint16_t next_and_wrap() const {
    return static_cast<std::uint16_t>(next_ | (wrap_ ? 0x8000U : 0U));
  }

  /// Makes a buffer available; the first descriptor's flags last.
  void offer(std::uint16_t id, std::initializer_list<Element> elements) {
    const std::uint16_t first = next_;
    std::uint16_t first_flags = 0;
    std::uint16_t last = next_;
    std::size_t left = elements.size();
    for (const Element& element : elements) {
      --left;
      const unsigned more = left != 0 ? VRING_DESC_F_NEXT : 0;
      const auto flags = static_cast<std::uint16_t>(element.flags | more | (wrap_ ? kAvailBit : kUsedBit));
      last = next_;
      at(last).addr = element.iova;
      at(last).len = element.length;
      if (last == first) {
        first_flags = flags;
      } else {
        at(last).flags = flags;
      }
      if (++next_ == size_) {
        next_ = 0;
        wrap_ = !wrap_;
      }
    }
    at(last).id = id;
    lists_[id] = static_cast<std::uint16_t>(elements.size());
    at(first).flags = first_flags;
  }

  /// The next used descriptor; with IN_ORDER it may stand for several buffers: `descriptors` of all of them.
  [[nodiscard]] std::optional<vring_packed_desc> completed(std::uint16_t descriptors = 0) {
    const vring_packed_desc found = at(used_);
    const unsigned bits = found.flags & (kAvailBit | kUsedBit);
    if (bits != (used_wrap_ ? kAvailBit | kUsedBit : 0U)) return std::nullopt;
    used_ = static_cast<std::uint16_t>(used_ + (descriptors != 0 ? descriptors : lists_[found.id]));
    if (used_ >= size_) {
      used_ = static_cast<std::uint16_t>(used_ - size_);
      used_wrap_ = !used_wrap_;
    }
    return found;
  }

 private:
  vring_packed_desc_event* driver_event_;
  vring_packed_desc_event* device_event_;
  vring_packed_desc* descriptors_;
  std::vector<std::uint16_t> lists_;  // by id: descriptors
  std::uint16_t size_;
  std::uint16_t next_ = 0;
  std::uint16_t used_ = 0;
  bool wrap_ = true;
  bool used_wrap_ = true;
};

/// A bare driver of one pair over packed rings: queue `q` at 4096 * q of the memory, event structures at 2048
/// (the driver's) and 2052 behind that. Frames lie at kData.
class BarePacked : public BareMachine {
 public:
  static constexpr std::size_t kData = 65536;

  explicit BarePacked(std::uint64_t extra = 0, std::uint16_t entries = 8)
      : BareMachine(feature(VIRTIO_F_RING_PACKED) | extra),
        features(kFeatures | feature(VIRTIO_F_RING_PACKED) | extra),
        size(entries),
        rx(memory.get(), memory.get() + 2048, memory.get() + 2052, entries),
        tx(memory.get() + 4096, memory.get() + 6144, memory.get() + 6148, entries) {}

  void set_up(std::uint16_t index) {
    const std::size_t base = 4096U * index;
    set_up_queue(index, size, base, base + 2048, base + 2052);
  }
  void run() {
    negotiate(features);
    ASSERT_TRUE(function->set_bus_master(true));
    set_up(0);
    set_up(1);
    status(15);
  }
  /// Fills the bytes of a frame's data, behind a header of zeros.
  std::vector<std::byte> frame_at(std::size_t offset, std::size_t length, unsigned seed) {
    std::memset(memory.get() + offset, 0, SimVirtioNet::kHeaderBytes);
    std::vector<std::byte> frame(length);
    for (std::size_t i = 0; i < length; ++i) frame[i] = static_cast<std::byte>(seed * 31 + i);
    std::memcpy(memory.get() + offset + SimVirtioNet::kHeaderBytes, frame.data(), length);
    return frame;
  }
  /// A frame of 60 bytes in one descriptor.
  void offer_frame(std::uint16_t id) { tx.offer(id, {{iova(kData), 72, 0}}); }
  /// A receive buffer of so many bytes.
  void offer_buffer(std::uint16_t id, std::uint32_t length = 2048) {
    rx.offer(id, {{iova(kData + 4096U * (id % 8U)), length, VRING_DESC_F_WRITE}});
  }

  std::uint64_t features;
  std::uint16_t size;
  BarePackedRing rx;
  BarePackedRing tx;
};

}  // namespace spinring::sim
