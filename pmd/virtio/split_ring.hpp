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
#include "pmd/virtio/notify.hpp"
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
    return align_up(used_event(size) + sizeof(Le16), kCacheLine);
  }
  static constexpr std::size_t bytes(std::uint16_t size) noexcept { return avail_event(size) + sizeof(Le16); }
  /// 2.7.6, 2.7.8: behind the entries of each ring, where its reader names the event that it waits for.
  static constexpr std::size_t used_event(std::uint16_t size) noexcept {
    return avail(size) + sizeof(AvailHead) + sizeof(Le16) * size;
  }
  static constexpr std::size_t avail_event(std::uint16_t size) noexcept {
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
  SplitRing(mempool::DmaBlock block, std::uint16_t size, NotifyRules notify)
      : descriptors_(reinterpret_cast<Descriptor*>(block.data())),
        avail_(reinterpret_cast<AvailHead*>(block.data() + SplitLayout::avail(size))),
        used_(reinterpret_cast<UsedHead*>(block.data() + SplitLayout::used(size))),
        entries_(std::make_unique<Entry[]>(size)),
        hints_(F.in_order ? nullptr : std::make_unique<std::uint16_t[]>(kHintsPerEntry * size)),
        hint_mask_(kHintsPerEntry * size - 1),
        book_(entries_.get(), size),
        notify_(notify),
        block_(std::move(block)) {
    if (notify_.event_index) {
      keep_quiet();
    } else {
      store_relaxed(avail_->flags, kAvailNoInterrupt);
    }
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

  /// Buffers of one descriptor for the device to write, packets.size() <= free(). `extent_of` says where a
  /// packet's buffer lies, each time the same: it is asked for those alone that their descriptor does not
  /// name already. The device sees them after publish().
  template <class ExtentOf>
  void post_empty(std::span<Packet* const> packets, ExtentOf extent_of) noexcept requires(!F.chains) {
    Book book = book_;
    std::uint16_t index = avail_index_;
    std::uint16_t in_table = next_descriptor_;
    for (Packet* const packet : packets) {
      const std::uint16_t id = id_for(book, in_table, reinterpret_cast<std::uintptr_t>(packet));
      Entry& entry = book.entry(id);
      book.enter(id, packet, 1);
      if (entry.last != packet) [[unlikely]] {
        const Extent extent = extent_of(*packet);
        entry.last = packet;
        entry.length = extent.length;
        descriptors_[id] = {to_u64(extent.address), extent.length, kDescWrite, 0};
      }
      offer(book, index++, id);
    }
    book_ = book;
    avail_index_ = index;
    next_descriptor_ = in_table;
  }
  /// Buffers of one descriptor for the device to read, up to `most` (at most free()): `next` fills in each,
  /// false ends it. Returns how many. The device sees them after publish().
  template <class Next>
  std::uint16_t post(std::uint16_t most, Next next) noexcept requires(F.chains) {
    Book book = book_;
    std::uint16_t index = avail_index_;
    std::uint16_t in_table = next_descriptor_;
    Posting<Packet> buffer;
    std::uint16_t posted = 0;
    for (; posted < most && next(buffer); ++posted) {
      const std::uint64_t address = to_u64(buffer.extent.address);
      const std::uint16_t id = id_for(book, in_table, address);
      book.enter(id, buffer.packet, 1);
      describe(book, id, address, buffer.extent.length, 0, 0);
      offer(book, index++, id);
    }
    book_ = book;
    avail_index_ = index;
    next_descriptor_ = in_table;
    return posted;
  }
  /// A buffer of several descriptors, pieces.size() <= free().
  void post_chain(Packet& packet, std::span<const Piece> pieces) noexcept requires(F.chains) {
    const std::uint16_t head = next_id(book_, next_descriptor_);
    book_.enter(head, &packet, static_cast<std::uint16_t>(pieces.size()));
    std::uint16_t id = head;
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      const bool last = i + 1 == pieces.size();
      const std::uint16_t next = last ? std::uint16_t{0} : next_id(book_, next_descriptor_);
      if (!last) book_.enter_member(next, &packet);
      describe(book_, id, to_u64(pieces[i].address), pieces[i].length,
               static_cast<std::uint16_t>(pieces[i].flags | (last ? 0 : kDescNext)), next);
      id = next;
    }
    offer(book_, avail_index_++, head);
  }
  /// A buffer whose descriptors lie in the table that `write` fills in for an id.
  template <class Write>
  void post_table(Packet& packet, Write write) noexcept requires(F.chains) {
    const std::uint16_t id = next_id(book_, next_descriptor_);
    book_.enter(id, &packet, kInTable);
    const Extent table = write(id);
    describe(book_, id, to_u64(table.address), table.length, kDescIndirect, 0);
    offer(book_, avail_index_++, id);
  }
  /// 2.7.13.3: the device sees descriptors and entries no later than the index. Pairs with the device's read
  /// of the index.
  void publish() noexcept { store_release(avail_->index, avail_index_); }
  /// Whether the device asks to be told of what was just published. 2.7.13.4.1: the index is visible before
  /// the flag is read; pairs with the device, which sets the flag and then looks at the index once more.
  [[nodiscard]] bool must_notify() noexcept {
    full_fence();
    const bool asked = device_asks();
    told_.set(avail_index_);
    return asked;
  }
  /// The same without a fence, for a queue that is polled all the time: true when the device asks and was not
  /// told. What is missed now is seen by a later poll.
  [[nodiscard]] bool notify_is_due() noexcept {
    if (told_.all(avail_index_) || !device_asks()) return false;
    told_.set(avail_index_);
    return true;
  }
  /// Whether must_notify() or notify_is_due() has settled all that was offered.
  [[nodiscard]] bool settled() const noexcept { return told_.all(avail_index_); }
  /// What the doorbell says: the queue's number, and with data (2.9) the available index.
  [[nodiscard]] std::uint32_t doorbell(std::uint16_t queue) const noexcept {
    return queue | (notify_.with_data ? std::uint32_t{avail_index_} << 16 : 0);
  }
  [[nodiscard]] NotifyRules notify_rules() const noexcept { return notify_; }

  // --- Completions

  /// Whether harvest() would find anything: the device's index is read only if no completion is known of.
  [[nodiscard]] bool has_completions() const noexcept {
    return waiting() != 0 || load_relaxed(used_->index) != used_index_;
  }
  /// Takes up to `most` completions, hands each to `sink` (packet, length, descriptors); returns how many, or
  /// kBroken. A completion of an id that the device may not name is counted and left out. `show` sees each
  /// packet early, so as to fetch its lines: those of the next call too, as far as they are known to be there
  /// (it may be shown a wrong packet).
  template <class Show, class Sink>
  [[nodiscard]] std::uint16_t harvest(std::uint16_t most, Show show, Sink sink) noexcept {
    if (waiting() < most) {
      // 2.7.14: what an entry says is read no earlier than the index. Pairs with the device's release of it.
      seen_index_ = load_acquire(used_->index);
      if (refused(waiting() > size() - book_.free())) [[unlikely]] {
        seen_index_ = used_index_;
        return kBroken;
      }
    }
    show_ahead(std::min<std::uint32_t>(waiting(), 2U * most), show);
    const std::uint16_t count = std::min(waiting(), most);
    if constexpr (F.in_order) {
      take_in_order(count, sink);
      return count;
    } else {
      return take_in_any_order(count, sink);
    }
  }

  /// The device was reset: hands every packet that it held to `take`; those that it was to read in the order
  /// in which they were offered. The ring is not used any more.
  template <class Take>
  void release_all(Take take) noexcept {
    if constexpr (F.in_order) {
      for (std::uint16_t left = book_.held(); left > 0; --left) {
        const std::uint16_t head = ring_slot(next_used_, book_.mask());
        next_used_ = static_cast<std::uint16_t>(next_used_ + ring_descriptors(book_.descriptors(head)));
        take(book_.leave(head));
      }
    } else if constexpr (F.chains) {
      release_as_offered(take);
    }
    book_.release_all(take);
  }

 private:
  static constexpr std::uint32_t kHintsPerEntry = 4;
  /// Positions after which keep_quiet() is due: with a ring more, still less than 65536.
  static constexpr std::uint16_t kQuietFor = 16384;
  /// Buffers are at least this far apart, as a rule; it decides only how well hints are told apart.
  static constexpr unsigned kHintShift = 11;

  /// By id: the buffer, and what its descriptor was given last. By slot: the available ring's entry (zero at
  /// first, as the ring). Two to a cache line.
  struct TxEntry {
    Packet* packet = nullptr;
    std::uint64_t address = 0;
    std::uint64_t rest = 0;  ///< length, flags and next, from the low end
    std::uint16_t descriptors = 0;
    std::uint16_t offered = 0;
  };
  /// The same without chains: a packet's buffer is always described alike.
  struct RxEntry {
    Packet* packet = nullptr;
    Packet* last = nullptr;  ///< whose buffer the descriptor names
    std::uint32_t length = 0;
    std::uint16_t offered = 0;
  };
  using Entry = std::conditional_t<F.chains, TxEntry, RxEntry>;
  using Book = RingBook<Packet, F, Entry>;

  /// Whether the device asks to be told of something between told_ and what is published.
  [[nodiscard]] bool device_asks() noexcept {
    if (!notify_.event_index) return (load_relaxed(used_->flags) & kUsedNoNotify) == 0;
    if (ring_distance(used_index_, quiet_from_) >= kQuietFor) [[unlikely]]
      keep_quiet();
    const auto& event = *reinterpret_cast<const Le16*>(block_.data() + SplitLayout::avail_event(size()));
    return told_.passed(load_relaxed(event), 1U << 16, avail_index_, size());
  }
  /// 2.7.7.1: with events the driver cannot say that it wants none, only that it waits for one which was long
  /// ago: it comes again after 65536 entries, so that is said anew before.
  void keep_quiet() noexcept {
    quiet_from_ = used_index_;
    store_relaxed(*reinterpret_cast<Le16*>(block_.data() + SplitLayout::used_event(size())),
                  static_cast<std::uint16_t>(used_index_ - 1));
  }

  [[nodiscard]] Le16* avail_ring() noexcept { return reinterpret_cast<Le16*>(avail_ + 1); }
  [[nodiscard]] static const UsedElement& used_element(const UsedHead* used, std::uint16_t slot) noexcept {
    return reinterpret_cast<const UsedElement*>(used + 1)[slot];
  }

  /// 2.7.9: in order, descriptors are used in the order of the table. Otherwise a buffer gets the id that it
  /// had last, so that its descriptor need not be written.
  [[nodiscard]] std::uint16_t id_for(Book& book, std::uint16_t& in_table, std::uint64_t address) noexcept {
    if constexpr (F.in_order) {
      return next_id(book, in_table);
    } else {
      std::uint16_t& hint = hints_[(address >> kHintShift) & hint_mask_];
      if (!book.is_free(hint)) [[unlikely]]
        hint = book.any_free();
      return hint;
    }
  }
  [[nodiscard]] static std::uint16_t next_id(Book& book, std::uint16_t& in_table) noexcept {
    if constexpr (F.in_order) return ring_slot(in_table++, book.mask());
    return book.any_free();
  }
  void describe(const Book& book, std::uint16_t id, std::uint64_t address, std::uint32_t length,
                std::uint16_t flags, std::uint16_t next) noexcept {
    Entry& written = book.entry(id);
    const std::uint64_t rest = length | std::uint64_t{flags} << 32U | std::uint64_t{next} << 48U;
    if (written.address == address && written.rest == rest) [[likely]]
      return;
    written.address = address;
    written.rest = rest;
    descriptors_[id] = {address, length, flags, next};
  }
  void offer(const Book& book, std::uint16_t index, std::uint16_t id) noexcept {
    const std::uint16_t slot = ring_slot(index, book.mask());
    std::uint16_t& offered = book.entry(slot).offered;
    if (offered == id) [[likely]]
      return;
    offered = id;
    avail_ring()[slot] = id;
  }

  /// The available ring names buffers in the order in which they were offered, and as many as it has entries:
  /// one that stands there twice was offered by the later entry, one that does not is older than all of them.
  /// The hints are of no further use, so they take the list; a listed descriptor is marked by what none says.
  template <class Take>
  void release_as_offered(Take take) noexcept requires(F.chains) {
    constexpr std::uint64_t kListed = ~std::uint64_t{0};
    const auto held = [this](std::uint16_t id) {
      return !book_.is_free(id) && book_.descriptors(id) != 0 && book_.entry(id).rest != kListed;
    };
    std::uint16_t listed = 0;
    for (std::uint32_t back = 1; back <= size(); ++back) {
      const std::uint16_t slot = ring_slot(static_cast<std::uint16_t>(avail_index_ - back), book_.mask());
      const std::uint16_t id = book_.entry(slot).offered;
      if (!held(id)) continue;
      hints_[listed++] = id;
      book_.entry(id).rest = kListed;
    }
    for (std::uint32_t id = 0; id < size(); ++id) {
      if (held(static_cast<std::uint16_t>(id))) take(book_.leave(static_cast<std::uint16_t>(id)));
    }
    while (listed > 0) take(book_.leave(hints_[--listed]));
  }

  /// The links are the driver's own copies: what stands in the table is the device's to read, not ours to
  /// trust.
  static void release_members(Book& book, std::uint16_t head, std::uint16_t descriptors) noexcept {
    std::uint16_t id = head;
    for (std::uint16_t left = ring_descriptors(descriptors); left > 1; --left) {
      id = static_cast<std::uint16_t>(book.entry(id).rest >> 48U);
      book.leave_member(id);
    }
  }
  /// Completions that were seen and not taken.
  [[nodiscard]] std::uint16_t waiting() const noexcept { return ring_distance(seen_index_, used_index_); }
  /// Shows the packets of the next `count` waiting completions, each once.
  template <class Show>
  void show_ahead(std::uint32_t count, Show show) noexcept {
    if constexpr (!std::is_same_v<Show, Unseen>) {
      const Book book = book_;
      const std::uint16_t first = used_index_;
      std::uint32_t at = ring_distance(shown_index_, first);
      if (at > book.size()) at = 0;  // they were taken unseen
      for (; at < count; ++at) {
        const std::uint16_t slot = ring_slot(static_cast<std::uint16_t>(first + at), book.mask());
        if constexpr (F.in_order) {
          show(*book.entry(slot).packet);  // what waits in order is held
        } else {
          if (Packet* const packet = book.peek(load_relaxed(used_element(used_, slot).id)); packet != nullptr)
            show(*packet);
        }
      }
      shown_index_ = static_cast<std::uint16_t>(first + at);
    }
  }
  template <class Sink>
  std::uint16_t take_in_any_order(std::uint16_t count, Sink sink) noexcept {
    Book book = book_;
    const UsedHead* const used = used_;
    std::uint16_t index = used_index_;
    std::uint16_t bad = 0;
    for (const auto end = static_cast<std::uint16_t>(index + count); index != end; ++index) {
      const UsedElement& element = used_element(used, ring_slot(index, book.mask()));
      const std::uint32_t id = load_relaxed(element.id);
      Packet* const packet = book.claim(id);
      if (refused(packet == nullptr)) [[unlikely]] {
        ++bad;
        continue;
      }
      const std::uint16_t descriptors = book.descriptors(static_cast<std::uint16_t>(id));
      if constexpr (F.chains) release_members(book, static_cast<std::uint16_t>(id), descriptors);
      sink(packet, load_relaxed(element.length), descriptors);
    }
    book_ = book;
    used_index_ = index;
    if (bad != 0) [[unlikely]]
      bad_completions_.add(bad);
    return static_cast<std::uint16_t>(count - bad);
  }
  /// 2.7.9: which buffer comes next needs no reading. Buffers for the device to write (RX: never chains) have
  /// their length in the used ring; where the device used several with one entry, that entry names the last
  /// and its length, and those before it were filled whole.
  template <class Sink>
  void take_in_order(std::uint16_t count, Sink sink) noexcept {
    Book book = book_;
    const UsedHead* const used = used_;
    std::uint16_t index = used_index_;
    std::uint16_t in_table = next_used_;
    Batch batch = batch_;
    for (const auto end = static_cast<std::uint16_t>(index + count); index != end; ++index) {
      const std::uint16_t head = ring_slot(in_table, book.mask());
      std::uint32_t length = 0;
      if constexpr (!F.chains) {
        if (batch.skipped != 0) [[unlikely]] {
          --batch.skipped;
        } else {
          const UsedElement& element = used_element(used, ring_slot(index, book.mask()));
          batch.length = load_relaxed(element.length);
          if (const std::uint32_t id = load_relaxed(element.id); id != head) [[unlikely]]
            batch = begin_batch(id, head, ring_distance(seen_index_, index), batch.length);
        }
        length = batch.skipped != 0 ? book.entry(head).length : batch.length;
      }
      const std::uint16_t descriptors = book.descriptors(head);
      Packet* const packet = book.leave(head);
      if constexpr (F.chains) release_members(book, head, descriptors);
      in_table = static_cast<std::uint16_t>(in_table + ring_descriptors(descriptors));
      sink(packet, length, descriptors);
    }
    book_ = book;
    used_index_ = index;
    next_used_ = in_table;
    batch_ = batch;
  }
  /// In order: buffers that the device used with one entry.
  struct Batch {
    std::uint32_t length = 0;   ///< of the last
    std::uint16_t skipped = 0;  ///< before the last
  };
  [[nodiscard]] [[gnu::cold]] [[gnu::noinline]] Batch begin_batch(std::uint32_t id, std::uint16_t head,
                                                                  std::uint16_t seen,
                                                                  std::uint32_t length) noexcept {
    const std::uint16_t ahead =
        ring_slot(static_cast<std::uint16_t>(static_cast<std::uint16_t>(id) - head), book_.mask());
    if (id <= book_.mask() && ahead < seen) return {length, ahead};
    bad_completions_.add(1);
    return {};  // too short for any frame: the buffer is taken back and nothing is believed of it
  }

  Descriptor* descriptors_;
  AvailHead* avail_;
  UsedHead* used_;
  std::unique_ptr<Entry[]> entries_;
  std::unique_ptr<std::uint16_t[]> hints_;  ///< by address: the id that the buffer there had last
  std::uint32_t hint_mask_;
  Book book_;
  NotifyRules notify_;
  std::uint16_t avail_index_ = 0;
  std::uint16_t used_index_ = 0;   ///< completions taken
  std::uint16_t seen_index_ = 0;   ///< the device's index as last read: at most the ring ahead of used_index_
  std::uint16_t shown_index_ = 0;  ///< completions shown
  std::uint16_t quiet_from_ = 0;   ///< used_index_ when keep_quiet() was called
  Told told_;                      ///< of avail_index_
  std::uint16_t next_descriptor_ = 0;  ///< in order: the next to fill
  std::uint16_t next_used_ = 0;        ///< in order: the head of the next buffer to be used
  Batch batch_;
  Counter bad_completions_;
  mempool::DmaBlock block_;
};

}  // namespace spinring::pmd::virtio
