#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/align.hpp"
#include "base/counter.hpp"
#include "base/cpu.hpp"
#include "base/ring_index.hpp"
#include "base/shared.hpp"
#include "mempool/memory.hpp"
#include "pmd/virtio/ring_book.hpp"
#include "pmd/virtio/transport.hpp"
#include "pmd/virtio/wire.hpp"

namespace spinring::pmd::virtio {

/// Where the parts of a packed virtqueue lie in its block. 2.8.10: the areas behind the descriptors lie on
/// cache lines of their own, since driver and device write one each.
struct PackedLayout {
  static constexpr std::size_t driver(std::uint16_t size) noexcept {
    return align_up(sizeof(PackedDescriptor) * size, kCacheLine);
  }
  static constexpr std::size_t device(std::uint16_t size) noexcept { return driver(size) + kCacheLine; }
  static constexpr std::size_t bytes(std::uint16_t size) noexcept {
    return device(size) + sizeof(EventSuppression);
  }
};

/// A packed virtqueue (virtio 1.2, 2.8), driver's side: one ring of descriptors that both sides write, and a
/// small area of each for the suppression of events. Holds every barrier of the queue, in pairs with the
/// device's. What is posted becomes visible at publish(), all at once: the flags of the first descriptor are
/// held back until then, and the device goes no further than that. One lcore at a time.
template <class Packet, RingFeatures F>
class PackedRing {
 public:
  using Layout = PackedLayout;

  /// `block` holds Layout::bytes(size) zeroed bytes, aligned to a cache line; `size` is a power of two.
  PackedRing(mempool::DmaBlock block, std::uint16_t size)
      : descriptors_(reinterpret_cast<PackedDescriptor*>(block.data())),
        driver_(reinterpret_cast<EventSuppression*>(block.data() + PackedLayout::driver(size))),
        device_(reinterpret_cast<EventSuppression*>(block.data() + PackedLayout::device(size))),
        lengths_(F.in_order && !F.chains ? std::make_unique<std::uint32_t[]>(size) : nullptr),
        book_(size),
        block_(std::move(block)) {
    store_relaxed(driver_->flags, kEventDisable);
  }

  [[nodiscard]] std::uint16_t size() const noexcept { return book_.size(); }
  [[nodiscard]] std::uint16_t free() const noexcept { return book_.free(); }
  [[nodiscard]] std::uint16_t held() const noexcept { return book_.held(); }
  [[nodiscard]] std::uint64_t bad_completions() const noexcept { return bad_completions_.value(); }
  [[nodiscard]] QueueAddresses addresses(const DmaTable& table) const noexcept {
    const Iova start = block_.iova(table);
    return {start, start + PackedLayout::driver(size()), start + PackedLayout::device(size())};
  }

  // --- Offering

  /// A buffer of one descriptor; free() > 0. The device sees it after publish().
  void post(Packet& packet, Iova address, std::uint32_t length, std::uint16_t flags) noexcept {
    const std::uint16_t id = next_id();
    book_.enter(id, packet, 1);
    write({address, length, flags}, id);
  }
  /// A buffer of several descriptors, pieces.size() <= free(). 2.8.6: its id stands in the last one.
  void post_chain(Packet& packet, std::span<const Piece> pieces) noexcept requires(F.chains) {
    const std::uint16_t id = next_id();
    book_.enter(id, packet, static_cast<std::uint16_t>(pieces.size()));
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      const bool last = i + 1 == pieces.size();
      write({pieces[i].address, pieces[i].length,
             static_cast<std::uint16_t>(pieces[i].flags | (last ? 0 : kDescNext))},
            id);
    }
  }
  /// 2.8.13: the device sees the first flags no earlier than all else. Pairs with its read of those flags.
  void publish() noexcept {
    if (first_ == nullptr) return;
    store_release(first_->tail, first_tail_);
    first_ = nullptr;
  }
  /// Whether the device asks to be told of what was just published. 2.8.14: what was published is visible
  /// before the device's event suppression is read; pairs with the device, which enables events and then
  /// looks at the ring once more.
  [[nodiscard]] bool must_notify() noexcept {
    full_fence();
    notified_ = avail_.index;
    return (load_relaxed(device_->flags) & kEventFlagsMask) != kEventDisable;
  }
  /// The same without a fence, for a queue that is polled all the time: true when the device asks and was not
  /// told. What is missed now is seen by a later poll.
  [[nodiscard]] bool notify_is_due() noexcept {
    if (notified_ == avail_.index || (load_relaxed(device_->flags) & kEventFlagsMask) == kEventDisable)
      return false;
    notified_ = avail_.index;
    return true;
  }
  /// What the doorbell is to say behind the queue's number when notifications carry data (2.8.19): offset and
  /// wrap counter.
  [[nodiscard]] std::uint16_t notification_data() const noexcept {
    return static_cast<std::uint16_t>(ring_slot(avail_.index, book_.mask()) |
                                      (avail_.wrap(book_.size()) ? 0x8000U : 0U));
  }

  // --- Completions

  /// Takes up to `most` completions into `out`, returns how many, or kBroken. A completion of an id that the
  /// device may not name is counted and left out. `show` sees each packet early, so as to fetch its lines (it
  /// may be shown a wrong packet or none). 2.8.13: what a descriptor says is read no earlier than its flags;
  /// pairs with the device's release of them.
  template <class Show>
  [[nodiscard]] std::uint16_t harvest(Completion<Packet>* out, std::uint16_t most, Show show) noexcept {
    std::uint16_t found = 0;
    while (found < most && book_.held() != 0) {
      Completion<Packet> next{nullptr, 0};
      if constexpr (F.in_order) {
        if (batch_left_ == 0 && !read_batch()) break;
        next = next_in_order();
      } else {
        const PackedTail tail = read_used();
        if (!tail.used(used_.wrap(book_.size()))) break;
        next = {book_.claim(tail.id), tail.length};
        if (next.packet == nullptr) [[unlikely]] {
          bad_completions_.add(1);
          // How many descriptors it stands for is told by the id alone.
          if constexpr (F.chains) return kBroken;
          ++used_.index;
          continue;
        }
        used_.index = static_cast<std::uint16_t>(used_.index + book_.descriptors(tail.id));
      }
      if (broken_) [[unlikely]]
        return kBroken;
      show(next.packet);
      out[found++] = next;
    }
    return broken_ ? kBroken : found;
  }

  /// The device was reset: hands every packet that it held to `take`.
  template <class Take>
  void release_all(Take take) noexcept {
    book_.release_all(take);
  }

 private:
  /// A free-running position; the wrap counter (2.8.1) is the bit above the slot's, inverted: it starts at 1.
  struct Position {
    std::uint16_t index = 0;
    [[nodiscard]] bool wrap(std::uint16_t size) const noexcept { return (index & size) == 0; }
  };

  /// The slot's own number, or another while that is in flight (a device that completes out of order).
  [[nodiscard]] std::uint16_t next_id() noexcept {
    const std::uint16_t id = ring_slot(avail_.index, book_.mask());
    if constexpr (F.in_order) return id;
    return book_.is_free(id) ? id : book_.any_free();
  }
  void write(const Piece& piece, std::uint16_t id) noexcept {
    const std::uint16_t slot = ring_slot(avail_.index, book_.mask());
    const std::uint16_t flags = avail_.wrap(book_.size()) ? kPackedAvail : kPackedUsed;  // 2.8.1
    PackedDescriptor& descriptor = descriptors_[slot];
    descriptor.address = to_u64(piece.address);
    if constexpr (F.in_order && !F.chains) lengths_[slot] = piece.length;
    const std::uint64_t tail =
        PackedTail{piece.length, id, static_cast<std::uint16_t>(piece.flags | flags)}.pack();
    if (first_ == nullptr) {
      first_ = &descriptor;
      first_tail_ = tail;
    } else {
      store_relaxed(descriptor.tail, tail);
    }
    ++avail_.index;
  }
  [[nodiscard]] PackedTail read_used() const noexcept {
    return PackedTail::unpack(load_acquire(descriptors_[ring_slot(used_.index, book_.mask())].tail));
  }

  /// 2.8.11 (in order): the next used descriptor names the last buffer of a batch; those before it were used
  /// as well. False: none waits.
  [[nodiscard]] bool read_batch() noexcept {
    const PackedTail tail = read_used();
    if (!tail.used(used_.wrap(book_.size()))) return false;
    batch_length_ = tail.length;
    batch_left_ = 1;
    if (tail.id != ring_slot(used_.index, book_.mask())) [[unlikely]]
      count_batch(tail.id);
    return true;
  }
  /// Buffers up to and with that of `last`, by the driver's own book; none has it: it cannot be followed.
  void count_batch(std::uint16_t last) noexcept {
    std::uint16_t at = used_.index;
    for (batch_left_ = 1; batch_left_ <= book_.held(); ++batch_left_) {
      const std::uint16_t id = ring_slot(at, book_.mask());
      if (id == last) return;
      at = static_cast<std::uint16_t>(at + book_.descriptors(id));
    }
    bad_completions_.add(1);
    broken_ = true;
  }
  [[nodiscard]] Completion<Packet> next_in_order() noexcept {
    if (broken_) [[unlikely]]
      return {nullptr, 0};
    const std::uint16_t id = ring_slot(used_.index, book_.mask());
    --batch_left_;
    std::uint32_t length = batch_length_;
    if constexpr (!F.chains) {
      if (batch_left_ != 0) [[unlikely]]
        length = lengths_[id];  // used before the last of its batch: full
    }
    Packet* const packet = book_.claim(id);
    used_.index = static_cast<std::uint16_t>(used_.index + book_.descriptors(id));
    return {packet, length};
  }

  PackedDescriptor* descriptors_;
  EventSuppression* driver_;
  EventSuppression* device_;
  std::unique_ptr<std::uint32_t[]> lengths_;  ///< RX in order: by slot, the bytes that were offered
  RingBook<Packet, F> book_;
  Position avail_;                     ///< where the next descriptor is written
  Position used_;                      ///< where the next used descriptor will be
  PackedDescriptor* first_ = nullptr;  ///< posted and not published: its flags are held back
  std::uint64_t first_tail_ = 0;
  std::uint16_t notified_ = 0;    ///< avail_.index when the device was last told, or did not ask
  std::uint16_t batch_left_ = 0;  ///< in order: buffers of the present batch
  std::uint32_t batch_length_ = 0;
  bool broken_ = false;
  Counter bad_completions_;
  mempool::DmaBlock block_;
};

}  // namespace spinring::pmd::virtio
