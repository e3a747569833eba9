#pragma once

#include <algorithm>
#include <memory>

#include "base/ring_index.hpp"
#include "base/shared.hpp"
#include "bench/vhost/limit/frames.hpp"
#include "pmd/virtio/packed_ring.hpp"

namespace spinring::bench::limit {

/// One packed virtqueue of the limit. Without IN_ORDER a buffer's id is the buffer's own number; with it
/// (virtio 1.2, 2.8.11) that of the place, and one used descriptor may stand for several buffers.
template <bool kInOrder>
class PackedQueue {
 public:
  PackedQueue(std::byte* memory, std::uint16_t size, const Buffers& buffers, std::uint16_t flags)
      : ring_(reinterpret_cast<pmd::virtio::PackedDescriptor*>(memory)),
        named_(std::make_unique<std::uint16_t[]>(size)),
        buffers_(buffers),
        size_(size),
        mask_(static_cast<std::uint16_t>(size - 1)),
        flags_(flags) {
    auto* driver =
        reinterpret_cast<pmd::virtio::EventSuppression*>(memory + pmd::virtio::PackedLayout::driver(size));
    driver->raw = pmd::virtio::EventWish{0, pmd::virtio::kEventDisable}.pack();
    std::fill_n(named_.get(), size, kNone);
  }

  /// The first of a batch keeps its flags until publish(): the device goes no further.
  void post(Frame frame) noexcept {
    const std::uint16_t slot = ring_slot(posted_, mask_);
    pmd::virtio::PackedDescriptor& descriptor = ring_[slot];
    if (named_[slot] != frame.buffer) [[unlikely]] {
      named_[slot] = frame.buffer;
      descriptor.address = buffers_.address(frame.buffer);
    }
    const auto flags = static_cast<std::uint16_t>(
        flags_ | (wrap(posted_) ? pmd::virtio::kPackedAvail : pmd::virtio::kPackedUsed));
    const std::uint64_t tail =
        pmd::virtio::PackedTail{frame.length, kInOrder ? slot : frame.buffer, flags}.pack();
    if (posted_ == published_) [[unlikely]] {
      first_tail_ = tail;
    } else {
      store_relaxed(descriptor.tail, tail);
    }
    ++posted_;
  }
  void publish() noexcept {
    if (posted_ == published_) return;
    store_release(ring_[ring_slot(published_, mask_)].tail, first_tail_);
    published_ = posted_;
  }

  /// Completions that have come, up to `most`.
  [[nodiscard]] std::uint16_t ready(std::uint16_t most) noexcept {
    const std::uint16_t limit = std::min(most, ring_distance(published_, taken_));
    std::uint16_t found = std::min(batched_, limit);
    while (found < limit) {
      const auto at = static_cast<std::uint16_t>(taken_ + found);
      const auto tail = pmd::virtio::PackedTail::unpack(load_acquire(ring_[ring_slot(at, mask_)].tail));
      if (!tail.used(wrap(at))) break;
      std::uint16_t together = 1;
      if constexpr (kInOrder) {
        together = static_cast<std::uint16_t>(ring_slot(static_cast<std::uint16_t>(tail.id - at), mask_) + 1);
      } else {
        done_[found] = tail.id;
      }
      lengths_[found] = tail.length;
      found = static_cast<std::uint16_t>(found + together);
    }
    if constexpr (kInOrder) batched_ = found;
    return std::min(found, limit);
  }
  [[nodiscard]] std::uint16_t buffer(std::uint16_t ahead) const noexcept {
    if constexpr (kInOrder) return named_[ring_slot(static_cast<std::uint16_t>(taken_ + ahead), mask_)];
    return done_[ahead];
  }
  [[nodiscard]] std::uint32_t length(std::uint16_t ahead) const noexcept { return lengths_[ahead]; }
  void drop(std::uint16_t count) noexcept {
    taken_ = static_cast<std::uint16_t>(taken_ + count);
    if constexpr (kInOrder) batched_ = static_cast<std::uint16_t>(batched_ - count);
  }
  [[nodiscard]] std::uint16_t held() const noexcept { return ring_distance(posted_, taken_); }

 private:
  static constexpr std::uint16_t kNone = 0xFFFF;

  /// 2.8.1: the wrap counter of a free-running position; it starts at 1.
  [[nodiscard]] bool wrap(std::uint16_t position) const noexcept { return (position & size_) == 0; }

  pmd::virtio::PackedDescriptor* ring_;
  std::unique_ptr<std::uint16_t[]> named_;  ///< by slot: the buffer whose address stands there
  std::array<std::uint16_t, kMostBurst> done_{};
  std::array<std::uint32_t, kMostBurst> lengths_{};
  std::uint64_t first_tail_ = 0;
  Buffers buffers_;
  std::uint16_t size_;
  std::uint16_t mask_;
  std::uint16_t flags_;
  std::uint16_t posted_ = 0;
  std::uint16_t published_ = 0;
  std::uint16_t taken_ = 0;
  std::uint16_t batched_ = 0;  ///< in order: completions known and not taken
};

}  // namespace spinring::bench::limit
