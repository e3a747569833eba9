#pragma once

#include <cstdint>
#include <memory>

#include "base/align.hpp"
#include "base/cpu.hpp"
#include "base/ring_index.hpp"
#include "base/shared.hpp"
#include "mempool/memory.hpp"
#include "pmd/virtio/transport.hpp"
#include "pmd/virtio/wire.hpp"

namespace spinring::pmd::virtio {

/// One completion as the device wrote it: not to be believed before the queue has checked it.
struct Completion {
  std::uint32_t id;
  std::uint32_t length;
};

/// A split virtqueue (virtio 1.2, 2.7), driver's side: descriptors, available ring, used ring, and which
/// descriptor ids are free. Holds every barrier of the queue, in pairs with the device's, and keeps private
/// copies of what the driver has written: a line of the ring whose content would not change is not written
/// again, so it stays in the device's cache as well. Free ids wait in a queue, not on a stack: with a device
/// that completes in order, slot and id keep their pairing and neither ring nor descriptor needs writing. One
/// lcore at a time.
class SplitRing {
 public:
  /// What completed() returns when the device claims more completions than there are descriptors in flight.
  static constexpr std::uint16_t kBroken = 0xFFFF;

  [[nodiscard]] static constexpr std::size_t bytes(std::uint16_t size) noexcept {
    return used_offset(size) + sizeof(UsedHead) + sizeof(UsedElement) * size;
  }

  /// `block` holds bytes(size) zeroed bytes, aligned to a cache line; `size` is a power of two.
  SplitRing(mempool::DmaBlock block, std::uint16_t size)
      : descriptors_(reinterpret_cast<Descriptor*>(block.data())),
        avail_(reinterpret_cast<AvailHead*>(block.data() + avail_offset(size))),
        used_(reinterpret_cast<UsedHead*>(block.data() + used_offset(size))),
        written_(std::make_unique<Descriptor[]>(size)),
        offered_(std::make_unique<std::uint16_t[]>(size)),
        free_ids_(std::make_unique<std::uint16_t[]>(size)),
        mask_(static_cast<std::uint16_t>(size - 1)),
        free_tail_(size),
        block_(std::move(block)) {
    for (std::uint16_t id = 0; id < size; ++id) {
      free_ids_[id] = id;
      offered_[id] = 0;
    }
    store_relaxed(avail_->flags, kAvailNoInterrupt);
  }

  [[nodiscard]] std::uint16_t size() const noexcept { return static_cast<std::uint16_t>(mask_ + 1); }
  [[nodiscard]] QueueAddresses addresses(const DmaTable& table) const noexcept {
    const Iova start = block_.iova(table);
    return {start, start + avail_offset(size()), start + used_offset(size())};
  }

  // --- Free descriptors
  // ---------------------------------------------------------------------------------------------

  [[nodiscard]] std::uint16_t free() const noexcept { return ring_distance(free_tail_, free_head_); }
  /// The next `nth` free id, without taking it; nth < free().
  [[nodiscard]] std::uint16_t peek_id(std::uint16_t nth = 0) const noexcept {
    return free_ids_[ring_slot(static_cast<std::uint16_t>(free_head_ + nth), mask_)];
  }
  [[nodiscard]] std::uint16_t take_id() noexcept { return free_ids_[ring_slot(free_head_++, mask_)]; }
  void release_id(std::uint16_t id) noexcept { free_ids_[ring_slot(free_tail_++, mask_)] = id; }

  // --- Offering
  // -----------------------------------------------------------------------------------------------------

  /// Fills descriptor `id`, which the device does not own.
  void describe(std::uint16_t id, Iova address, std::uint32_t length, std::uint16_t flags,
                std::uint16_t next) noexcept {
    Descriptor& written = written_[id];
    if (written.address == to_u64(address) && written.length == length && written.flags == flags &&
        written.next == next) {
      return;
    }
    written = {to_u64(address), length, flags, next};
    descriptors_[id] = written;
  }
  /// Puts the chain that starts at `id` into the available ring; the device sees it after publish().
  void offer(std::uint16_t id) noexcept {
    const std::uint16_t slot = ring_slot(avail_index_++, mask_);
    if (offered_[slot] == id) return;
    offered_[slot] = id;
    avail_ring()[slot] = id;
  }
  /// 2.7.13.3: the device sees the descriptors and entries no later than the index. Pairs with the device's
  /// read of the index. Returns true if the device wants to be notified.
  [[nodiscard]] bool publish() noexcept {
    store_release(avail_->index, avail_index_);
    // 2.7.13.4.1: the index is visible before the suppression flag is read. Pairs with the device, which sets
    // the flag and then looks at the index once more.
    full_fence();
    return (load_relaxed(used_->flags) & kUsedNoNotify) == 0;
  }

  // --- Completions
  // --------------------------------------------------------------------------------------------------

  /// Completions that wait, or kBroken. 2.7.14: what they say is read no earlier than the index. Pairs with
  /// the device's release of used->index.
  [[nodiscard]] std::uint16_t completed() const noexcept {
    const std::uint16_t waiting = ring_distance(load_acquire(used_->index), used_index_);
    return waiting <= size() - free() ? waiting : kBroken;
  }
  /// The nth of the waiting completions; nth < completed().
  [[nodiscard]] Completion completion(std::uint16_t nth) const noexcept {
    const UsedElement& element = used_ring()[ring_slot(static_cast<std::uint16_t>(used_index_ + nth), mask_)];
    return {load_relaxed(element.id), load_relaxed(element.length)};
  }
  void consume(std::uint16_t count) noexcept {
    used_index_ = static_cast<std::uint16_t>(used_index_ + count);
  }

 private:
  /// 2.7: descriptor table first (16-byte aligned); the rings start on cache lines of their own, since driver
  /// and device write one each.
  static constexpr std::size_t avail_offset(std::uint16_t size) noexcept {
    return align_up(sizeof(Descriptor) * size, kCacheLine);
  }
  static constexpr std::size_t used_offset(std::uint16_t size) noexcept {
    return align_up(avail_offset(size) + sizeof(AvailHead) + sizeof(Le16) * size, kCacheLine);
  }
  [[nodiscard]] Le16* avail_ring() noexcept { return reinterpret_cast<Le16*>(avail_ + 1); }
  [[nodiscard]] const UsedElement* used_ring() const noexcept {
    return reinterpret_cast<const UsedElement*>(used_ + 1);
  }

  Descriptor* descriptors_;
  AvailHead* avail_;
  UsedHead* used_;
  std::unique_ptr<Descriptor[]> written_;  ///< what each descriptor holds
  std::unique_ptr<std::uint16_t[]>
      offered_;  ///< what each slot of the available ring holds (all zero at first, as the ring)
  std::unique_ptr<std::uint16_t[]> free_ids_;  ///< queue of free ids, free_head_ .. free_tail_
  std::uint16_t mask_;
  std::uint16_t avail_index_ = 0;
  std::uint16_t used_index_ = 0;
  std::uint16_t free_head_ = 0;
  std::uint16_t free_tail_;
  mempool::DmaBlock block_;
};

}  // namespace spinring::pmd::virtio
