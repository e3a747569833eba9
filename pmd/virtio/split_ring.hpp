#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>

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

/// Where the parts of a split virtqueue lie in its block. 2.7: descriptor table first (16-byte aligned); the
/// rings start on cache lines of their own, since driver and device write one each.
struct SplitLayout {
  static constexpr std::size_t avail(std::uint16_t size) noexcept {
    return align_up(sizeof(Descriptor) * size, kCacheLine);
  }
  static constexpr std::size_t used(std::uint16_t size) noexcept {
    return align_up(avail(size) + sizeof(AvailHead) + sizeof(Le16) * size, kCacheLine);
  }
  static constexpr std::size_t bytes(std::uint16_t size) noexcept {
    return used(size) + sizeof(UsedHead) + sizeof(UsedElement) * size;
  }
};

/// A split virtqueue (virtio 1.2, 2.7), driver's side: descriptors, available ring, used ring. Holds every
/// barrier of the queue, in pairs with the device's. It does not write what has not changed: a line of the
/// ring that stays as it is stays in the device's cache as well. So it keeps private copies of what it has
/// written, and gives a buffer the id that it had before, where that is free. One lcore at a time.
template <class Packet, RingFeatures F>
class SplitRing {
 public:
  using Layout = SplitLayout;

  /// `block` holds Layout::bytes(size) zeroed bytes, aligned to a cache line; `size` is a power of two.
  SplitRing(mempool::DmaBlock block, std::uint16_t size)
      : descriptors_(reinterpret_cast<Descriptor*>(block.data())),
        avail_(reinterpret_cast<AvailHead*>(block.data() + SplitLayout::avail(size))),
        used_(reinterpret_cast<UsedHead*>(block.data() + SplitLayout::used(size))),
        written_(std::make_unique<Descriptor[]>(size)),
        offered_(std::make_unique<std::uint16_t[]>(size)),
        hints_(F.in_order ? nullptr : std::make_unique<std::uint16_t[]>(kHintsPerEntry * size)),
        hint_mask_(kHintsPerEntry * size - 1),
        book_(size),
        block_(std::move(block)) {
    store_relaxed(avail_->flags, kAvailNoInterrupt);
  }

  [[nodiscard]] std::uint16_t size() const noexcept { return book_.size(); }
  [[nodiscard]] std::uint16_t free() const noexcept { return book_.free(); }
  [[nodiscard]] std::uint16_t held() const noexcept { return book_.held(); }
  [[nodiscard]] std::uint64_t bad_completions() const noexcept { return bad_completions_.value(); }
  [[nodiscard]] QueueAddresses addresses(const DmaTable& table) const noexcept {
    const Iova start = block_.iova(table);
    return {start, start + SplitLayout::avail(size()), start + SplitLayout::used(size())};
  }

  // --- Offering

  /// A buffer of one descriptor; free() > 0. The device sees it after publish().
  void post(Packet& packet, Iova address, std::uint32_t length, std::uint16_t flags) noexcept {
    const std::uint16_t id = id_for(address);
    book_.enter(id, packet, 1);
    describe(id, {to_u64(address), length, flags, 0});
    offer(id);
  }
  /// A buffer of several descriptors, pieces.size() <= free().
  void post_chain(Packet& packet, std::span<const Piece> pieces) noexcept requires(F.chains) {
    const std::uint16_t head = next_id();
    book_.enter(head, packet, static_cast<std::uint16_t>(pieces.size()));
    std::uint16_t id = head;
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      const bool last = i + 1 == pieces.size();
      const std::uint16_t next = last ? std::uint16_t{0} : next_id();
      if (!last) book_.enter_member(next, packet);
      describe(id, {to_u64(pieces[i].address), pieces[i].length,
                    static_cast<std::uint16_t>(pieces[i].flags | (last ? 0 : kDescNext)), next});
      id = next;
    }
    offer(head);
  }
  /// 2.7.13.3: the device sees descriptors and entries no later than the index. Pairs with the device's read
  /// of the index.
  void publish() noexcept { store_release(avail_->index, avail_index_); }
  /// Whether the device asks to be told of what was just published. 2.7.13.4.1: the index is visible before
  /// the flag is read; pairs with the device, which sets the flag and then looks at the index once more.
  [[nodiscard]] bool must_notify() noexcept {
    full_fence();
    notified_ = avail_index_;
    return (load_relaxed(used_->flags) & kUsedNoNotify) == 0;
  }
  /// The same without a fence, for a queue that is polled all the time: true when the device asks and was not
  /// told. What is missed now is seen by a later poll.
  [[nodiscard]] bool notify_is_due() noexcept {
    if (notified_ == avail_index_ || (load_relaxed(used_->flags) & kUsedNoNotify) != 0) return false;
    notified_ = avail_index_;
    return true;
  }
  /// What the doorbell is to say behind the queue's number when notifications carry data (2.7.23).
  [[nodiscard]] std::uint16_t notification_data() const noexcept { return avail_index_; }

  // --- Completions

  /// Takes up to `most` completions into `out`, returns how many, or kBroken. A completion of an id that the
  /// device may not name is counted and left out. `show` sees each packet early, so as to fetch its lines:
  /// those of the next call too, as far as they are known to be there (it may be shown a wrong packet or
  /// none).
  template <class Show>
  [[nodiscard]] std::uint16_t harvest(Completion<Packet>* out, std::uint16_t most, Show show) noexcept {
    if (waiting() < most) {
      // 2.7.14: what an entry says is read no earlier than the index. Pairs with the device's release of it.
      seen_index_ = load_acquire(used_->index);
      if (waiting() > size() - book_.free()) [[unlikely]] {
        seen_index_ = used_index_;
        return kBroken;
      }
    }
    const std::uint16_t count = std::min(waiting(), most);
    show_ahead(count, show);
    std::uint16_t found = 0;
    for (std::uint16_t left = count; left > 0; --left) {
      Completion<Packet>& next = out[found];
      if constexpr (F.in_order) {
        next = next_in_order();
      } else {
        next = next_of_any_order();
        if (next.packet == nullptr) [[unlikely]]
          continue;
      }
      ++found;
    }
    show_ahead(static_cast<std::uint16_t>(std::min<std::uint32_t>(waiting(), most)), show);
    return found;
  }

  /// The device was reset: hands every packet that it held to `take`.
  template <class Take>
  void release_all(Take take) noexcept {
    book_.release_all(take);
  }

 private:
  static constexpr std::uint32_t kHintsPerEntry = 4;
  /// Buffers are at least this far apart, as a rule; it decides only how well hints are told apart.
  static constexpr unsigned kHintShift = 11;

  [[nodiscard]] Le16* avail_ring() noexcept { return reinterpret_cast<Le16*>(avail_ + 1); }
  [[nodiscard]] const UsedElement& used_element(std::uint16_t index) const noexcept {
    return reinterpret_cast<const UsedElement*>(used_ + 1)[ring_slot(index, book_.mask())];
  }

  /// 2.7.9: in order, descriptors are used in the order of the table. Otherwise a buffer gets the id that it
  /// had last, so that its descriptor need not be written.
  [[nodiscard]] std::uint16_t id_for(Iova address) noexcept {
    if constexpr (F.in_order) {
      return next_id();
    } else {
      std::uint16_t& hint = hints_[(to_u64(address) >> kHintShift) & hint_mask_];
      if (!book_.is_free(hint)) [[unlikely]]
        hint = book_.any_free();
      return hint;
    }
  }
  [[nodiscard]] std::uint16_t next_id() noexcept {
    if constexpr (F.in_order) return ring_slot(next_descriptor_++, book_.mask());
    return book_.any_free();
  }
  void describe(std::uint16_t id, const Descriptor& wanted) noexcept {
    Descriptor& written = written_[id];
    if (written.address == wanted.address && written.length == wanted.length &&
        written.flags == wanted.flags && written.next == wanted.next) [[likely]]
      return;
    written = wanted;
    descriptors_[id] = wanted;
  }
  void offer(std::uint16_t id) noexcept {
    const std::uint16_t slot = ring_slot(avail_index_++, book_.mask());
    if (offered_[slot] == id) [[likely]]
      return;
    offered_[slot] = id;
    avail_ring()[slot] = id;
  }

  /// The links are the driver's own copies: what stands in the table is the device's to read, not ours to
  /// trust.
  void release_members(std::uint32_t head) noexcept {
    if constexpr (F.chains) {
      std::uint32_t id = head;
      for (std::uint16_t left = book_.descriptors(static_cast<std::uint16_t>(head)); left > 1; --left) {
        id = written_[id].next;
        book_.leave_member(static_cast<std::uint16_t>(id));
      }
    }
  }
  /// Completions that were seen and not taken.
  [[nodiscard]] std::uint16_t waiting() const noexcept { return ring_distance(seen_index_, used_index_); }
  /// Shows the packets of the next `count` waiting completions, each once.
  template <class Show>
  void show_ahead(std::uint16_t count, Show show) noexcept {
    if constexpr (!std::is_same_v<Show, Unseen>) {
      const auto end = static_cast<std::uint16_t>(used_index_ + count);
      if (ring_distance(shown_index_, used_index_) > book_.size()) shown_index_ = used_index_;
      for (; ring_distance(end, shown_index_) - 1U < count; ++shown_index_) {
        if constexpr (F.in_order) {
          show(book_.peek(shown_index_));
        } else {
          show(book_.peek(load_relaxed(used_element(shown_index_).id)));
        }
      }
    }
  }
  [[nodiscard]] Completion<Packet> next_of_any_order() noexcept {
    const UsedElement& element = used_element(used_index_++);
    const std::uint32_t id = load_relaxed(element.id);
    Packet* const packet = book_.claim(id);
    if (packet == nullptr) [[unlikely]] {
      bad_completions_.add(1);
      return {nullptr, 0};
    }
    release_members(id);
    return {packet, load_relaxed(element.length)};
  }
  /// 2.7.9: which buffer comes next needs no reading. Buffers for the device to write (RX: never chains) have
  /// their length in the used ring; where the device used several with one entry, that entry names the last
  /// of them, and those before it are full.
  [[nodiscard]] Completion<Packet> next_in_order() noexcept {
    const std::uint16_t head = ring_slot(next_used_, book_.mask());
    std::uint32_t length = 0;
    if constexpr (!F.chains) {
      if (skipped_ == 0) {
        const UsedElement& element = used_element(used_index_);
        batch_length_ = load_relaxed(element.length);
        const std::uint32_t id = load_relaxed(element.id);
        if (id != head) [[unlikely]]
          begin_batch(id, head);
      } else {
        --skipped_;
      }
      length = batch_length_;
      if (skipped_ != 0) [[unlikely]]
        length = written_[head].length;
    }
    Packet* const packet = book_.claim(head);  // what is next in order is held
    release_members(head);
    next_used_ = static_cast<std::uint16_t>(next_used_ + book_.descriptors(head));
    ++used_index_;
    return {packet, length};
  }
  [[gnu::cold]] void begin_batch(std::uint32_t id, std::uint16_t head) noexcept {
    const std::uint16_t ahead =
        ring_slot(static_cast<std::uint16_t>(static_cast<std::uint16_t>(id) - head), book_.mask());
    if (id <= book_.mask() && ahead < waiting()) {
      skipped_ = ahead;
    } else {
      bad_completions_.add(1);
      batch_length_ = 0;  // too short for any frame: the buffer is taken back and nothing is believed of it
    }
  }

  Descriptor* descriptors_;
  AvailHead* avail_;
  UsedHead* used_;
  std::unique_ptr<Descriptor[]> written_;  ///< what each descriptor holds
  std::unique_ptr<std::uint16_t[]>
      offered_;  ///< what each slot of the available ring holds (zero at first, as the ring)
  std::unique_ptr<std::uint16_t[]> hints_;  ///< by address: the id that the buffer there had last
  std::uint32_t hint_mask_;
  RingBook<Packet, F> book_;
  std::uint16_t avail_index_ = 0;
  std::uint16_t used_index_ = 0;   ///< completions taken
  std::uint16_t seen_index_ = 0;   ///< the device's index as last read: at most the ring ahead of used_index_
  std::uint16_t shown_index_ = 0;  ///< completions shown
  std::uint16_t notified_ = 0;     ///< avail_index_ when the device was last told, or did not ask
  std::uint16_t next_descriptor_ = 0;  ///< in order: the next to fill
  std::uint16_t next_used_ = 0;        ///< in order: the head of the next buffer to be used
  std::uint16_t skipped_ = 0;          ///< in order: buffers of the present batch before its last
  std::uint32_t batch_length_ = 0;
  Counter bad_completions_;
  mempool::DmaBlock block_;
};

}  // namespace spinring::pmd::virtio
