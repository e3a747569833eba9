#pragma once

#include <algorithm>
#include <memory>

#include "base/ring_index.hpp"
#include "base/shared.hpp"
#include "bench/vhost/limit/frames.hpp"
#include "pmd/virtio/split_ring.hpp"

namespace spinring::bench::limit {

/// One split virtqueue of the limit: bare pointers, and what was written last. Without IN_ORDER a buffer's
/// descriptor has the buffer's own number, so nobody looks anything up; with it (virtio 1.2, 2.7.9) it is
/// that of the place.
template <bool kInOrder>
class SplitQueue {
 public:
  SplitQueue(std::byte* memory, std::uint16_t size, const Buffers& buffers, std::uint16_t flags)
      : descriptors_(reinterpret_cast<pmd::virtio::Descriptor*>(memory)),
        available_(reinterpret_cast<pmd::virtio::AvailHead*>(memory + pmd::virtio::SplitLayout::avail(size))),
        used_(reinterpret_cast<pmd::virtio::UsedHead*>(memory + pmd::virtio::SplitLayout::used(size))),
        written_(std::make_unique<Written[]>(size)),
        buffers_(buffers),
        mask_(static_cast<std::uint16_t>(size - 1)),
        flags_(flags) {
    available_->flags = pmd::virtio::kAvailNoInterrupt;
  }

  void post(Frame frame) noexcept {
    const std::uint16_t slot = ring_slot(posted_++, mask_);
    const std::uint16_t id = kInOrder ? slot : frame.buffer;
    Written& written = written_[id];
    if (written.buffer != frame.buffer || written.length != frame.length) [[unlikely]] {
      written.buffer = frame.buffer;
      written.length = frame.length;
      descriptors_[id] = {buffers_.address(frame.buffer), frame.length, flags_, 0};
    }
    if (written_[slot].offered == id) [[likely]]
      return;
    written_[slot].offered = id;
    reinterpret_cast<Le16*>(available_ + 1)[slot] = id;
  }
  void publish() noexcept { store_release(available_->index, posted_); }

  /// Completions that have come, asked for again only if those known are fewer than `most`.
  [[nodiscard]] std::uint16_t ready(std::uint16_t most) noexcept {
    if (ring_distance(seen_, taken_) < most) seen_ = load_acquire(used_->index);
    return std::min(ring_distance(seen_, taken_), most);
  }
  /// The completion `ahead` of the next; there must be one.
  [[nodiscard]] std::uint16_t buffer(std::uint16_t ahead) const noexcept {
    const std::uint16_t slot = ring_slot(static_cast<std::uint16_t>(taken_ + ahead), mask_);
    if constexpr (kInOrder) return written_[slot].buffer;
    return static_cast<std::uint16_t>(load_relaxed(element(slot).id));
  }
  [[nodiscard]] std::uint32_t length(std::uint16_t ahead) const noexcept {
    return load_relaxed(element(ring_slot(static_cast<std::uint16_t>(taken_ + ahead), mask_)).length);
  }
  void drop(std::uint16_t count) noexcept { taken_ = static_cast<std::uint16_t>(taken_ + count); }
  [[nodiscard]] std::uint16_t held() const noexcept { return ring_distance(posted_, taken_); }

 private:
  struct Written {
    std::uint32_t length = 0;   ///< by id
    std::uint16_t buffer = 0;   ///< by id
    std::uint16_t offered = 0;  ///< by slot
  };
  [[nodiscard]] const pmd::virtio::UsedElement& element(std::uint16_t slot) const noexcept {
    return reinterpret_cast<const pmd::virtio::UsedElement*>(used_ + 1)[slot];
  }

  pmd::virtio::Descriptor* descriptors_;
  pmd::virtio::AvailHead* available_;
  pmd::virtio::UsedHead* used_;
  std::unique_ptr<Written[]> written_;
  Buffers buffers_;
  std::uint16_t mask_;
  std::uint16_t flags_;
  std::uint16_t posted_ = 0;
  std::uint16_t seen_ = 0;
  std::uint16_t taken_ = 0;
};

}  // namespace spinring::bench::limit
