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
  PackedRing(mempool::DmaBlock block, std::uint16_t size, NotifyRules notify)
      : descriptors_(reinterpret_cast<PackedDescriptor*>(block.data())),
        driver_(reinterpret_cast<EventSuppression*>(block.data() + PackedLayout::driver(size))),
        device_(reinterpret_cast<EventSuppression*>(block.data() + PackedLayout::device(size))),
        entries_(std::make_unique<Entry[]>(size)),
        book_(entries_.get(), size),
        notify_(notify),
        block_(std::move(block)) {
    store_relaxed(driver_->raw, EventWish{0, kEventDisable}.pack());
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

  /// Buffers of one descriptor for the device to write, packets.size() <= free(); `extent_of` says where a
  /// packet's buffer lies. The device sees them after publish().
  template <class ExtentOf>
  void post_empty(std::span<Packet* const> packets, ExtentOf extent_of) noexcept requires(!F.chains) {
    Book book = book_;
    Writer writer = writer_;
    PackedDescriptor* const ring = descriptors_;
    for (Packet* const packet : packets) {
      const std::uint16_t id = next_id(book, writer);
      const Extent extent = extent_of(*packet);
      book.enter(id, packet, 1);
      write(ring, book, writer, {extent.address, extent.length, kDescWrite}, id);
    }
    book_ = book;
    writer_ = writer;
  }
  /// Buffers of one descriptor for the device to read, up to `most` (at most free()): `next` fills in each,
  /// false ends it. Returns how many. The device sees them after publish().
  template <class Next>
  std::uint16_t post(std::uint16_t most, Next next) noexcept requires(F.chains) {
    Book book = book_;
    Writer writer = writer_;
    PackedDescriptor* const ring = descriptors_;
    Posting<Packet> buffer;
    std::uint16_t posted = 0;
    for (; posted < most && next(buffer); ++posted) {
      const std::uint16_t id = next_id(book, writer);
      book.enter(id, buffer.packet, 1);
      write(ring, book, writer, {buffer.extent.address, buffer.extent.length, 0}, id);
    }
    book_ = book;
    writer_ = writer;
    return posted;
  }
  /// A buffer of several descriptors, pieces.size() <= free(). 2.8.6: its id stands in the last one.
  void post_chain(Packet& packet, std::span<const Piece> pieces) noexcept requires(F.chains) {
    const std::uint16_t id = next_id(book_, writer_);
    book_.enter(id, &packet, static_cast<std::uint16_t>(pieces.size()));
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      const bool last = i + 1 == pieces.size();
      write(descriptors_, book_, writer_,
            {pieces[i].address, pieces[i].length,
             static_cast<std::uint16_t>(pieces[i].flags | (last ? 0 : kDescNext))},
            id);
    }
  }
  /// A buffer whose descriptors lie in the table that `write` fills in for an id.
  template <class Write>
  void post_table(Packet& packet, Write write) noexcept requires(F.chains) {
    const std::uint16_t id = next_id(book_, writer_);
    book_.enter(id, &packet, kInTable);
    const Extent table = write(id);
    this->write(descriptors_, book_, writer_, {table.address, table.length, kDescIndirect}, id);
  }
  /// 2.8.13: the device sees the first flags no earlier than all else. Pairs with its read of those flags.
  void publish() noexcept {
    if (writer_.first == nullptr) return;
    store_release(writer_.first->tail, writer_.first_tail);
    writer_.first = nullptr;
  }
  /// Whether the device asks to be told of what was just published. 2.8.14: what was published is visible
  /// before the device's event suppression is read; pairs with the device, which enables events and then
  /// looks at the ring once more.
  [[nodiscard]] bool must_notify() noexcept {
    full_fence();
    const bool asked = device_asks();
    told_.set(writer_.at.index);
    return asked;
  }
  /// The same without a fence, for a queue that is polled all the time: true when the device asks and was not
  /// told. What is missed now is seen by a later poll.
  [[nodiscard]] bool notify_is_due() noexcept {
    if (told_.all(writer_.at.index) || !device_asks()) return false;
    told_.set(writer_.at.index);
    return true;
  }
  /// Whether must_notify() or notify_is_due() has settled all that was offered.
  [[nodiscard]] bool settled() const noexcept { return told_.all(writer_.at.index); }
  /// What the doorbell says: the queue's number, and with data (2.9) the offset and wrap counter of what is
  /// made available next.
  [[nodiscard]] std::uint32_t doorbell(std::uint16_t queue) const noexcept {
    if (!notify_.with_data) return queue;
    return queue | std::uint32_t{ring_slot(writer_.at.index, book_.mask())} << 16 |
           (writer_.at.wrap(book_.size()) ? kDoorbellWrap : 0U);
  }
  [[nodiscard]] NotifyRules notify_rules() const noexcept { return notify_; }

  // --- Completions

  /// Whether harvest() would find anything, or say that the device has broken the rules.
  [[nodiscard]] bool has_completions() const noexcept {
    if constexpr (F.chains || F.in_order) {
      if (batch_.left != 0 || broken_) return true;
    }
    return PackedTail::unpack(load_relaxed(descriptors_[ring_slot(used_.index, book_.mask())].tail))
        .used(used_.wrap(book_.size()));
  }
  /// Takes up to `most` completions, hands each to `sink` (packet, length, descriptors); returns how many, or
  /// kBroken. A completion of an id that the device may not name is counted and left out. `show` sees each
  /// packet early, so as to fetch its lines: those of the next call too, as far as they are used now (it may
  /// be shown a wrong packet). 2.8.13: what a descriptor says is read no earlier than its flags; pairs with
  /// the device's release of them.
  template <class Show, class Sink>
  [[nodiscard]] std::uint16_t harvest(std::uint16_t most, Show show, Sink sink) noexcept {
    if (refused(broken_)) [[unlikely]]
      return kBroken;
    const auto count = std::min(most, book_.held());
    show_ahead(count, show);
    if constexpr (F.in_order) {
      return take_in_order(count, sink);
    } else {
      return take_in_any_order(count, sink);
    }
  }

  /// The device was reset: hands every packet that it held to `take`, in the order in which they were
  /// offered. What is not published yet must be. The ring is not used any more.
  template <class Take>
  void release_all(Take take) noexcept {
    if constexpr (F.in_order) {
      for (std::uint16_t left = book_.held(); left > 0; --left) {
        const std::uint16_t id = ring_slot(used_.index, book_.mask());
        used_.index = static_cast<std::uint16_t>(used_.index + ring_descriptors(book_.descriptors(id)));
        take(book_.leave(id));
      }
    } else {
      release_as_offered(take);
    }
    book_.release_all(take);
  }

 private:
  /// By id: the buffer. In order, an id is the slot of the buffer's first descriptor.
  struct Entry {
    Packet* packet = nullptr;
    std::uint32_t length = 0;  ///< RX in order: the bytes that were offered
    std::uint16_t descriptors = 0;
  };
  using Book = RingBook<Packet, F, Entry>;
  /// A free-running position; the wrap counter (2.8.1) is the bit above the slot's, inverted: it starts at 1.
  struct Position {
    std::uint16_t index = 0;
    [[nodiscard]] bool wrap(std::uint16_t size) const noexcept { return (index & size) == 0; }
  };
  struct Writer {
    Position at;                        ///< where the next descriptor is written
    PackedDescriptor* first = nullptr;  ///< posted and not published: its flags are held back
    std::uint64_t first_tail = 0;
  };
  static constexpr std::uint32_t kDoorbellWrap = 1U << 31;
  static constexpr std::uint16_t kEventWrap = 1U << 15;
  /// In order: buffers that the device used with one descriptor.
  struct Batch {
    std::uint32_t length = 0;  ///< of the last
    std::uint16_t left = 0;    ///< not taken yet
  };

  /// Whether the device asks to be told of something between told_ and what is published.
  [[nodiscard]] bool device_asks() noexcept {
    const EventWish wish = EventWish::unpack(load_relaxed(device_->raw));
    if (!notify_.event_index || wish.flags != kEventPosition) return wish.flags != kEventDisable;
    // Its wrap counter is the bit above the slot's, inverted, as in Position.
    const bool wrap = (wish.offset_wrap & kEventWrap) != 0;
    const auto event = static_cast<std::uint16_t>((wish.offset_wrap & book_.mask()) | (wrap ? 0 : size()));
    return told_.passed(event, 2U * size(), writer_.at.index, size());
  }

  /// The slot's own number, or another while that is in flight (a device that completes out of order).
  [[nodiscard]] static std::uint16_t next_id(Book& book, const Writer& writer) noexcept {
    const std::uint16_t id = ring_slot(writer.at.index, book.mask());
    if constexpr (F.in_order) return id;
    return book.is_free(id) ? id : book.any_free();
  }
  static void write(PackedDescriptor* ring, const Book& book, Writer& writer, const Piece& piece,
                    std::uint16_t id) noexcept {
    const std::uint16_t slot = ring_slot(writer.at.index, book.mask());
    const std::uint16_t flags = writer.at.wrap(book.size()) ? kPackedAvail : kPackedUsed;  // 2.8.1
    PackedDescriptor& descriptor = ring[slot];
    descriptor.address = to_u64(piece.address);
    if constexpr (F.in_order && !F.chains) book.entry(slot).length = piece.length;
    const std::uint64_t tail =
        PackedTail{piece.length, id, static_cast<std::uint16_t>(piece.flags | flags)}.pack();
    if (writer.first == nullptr) [[unlikely]] {
      writer.first = &descriptor;
      writer.first_tail = tail;
    } else {
      store_relaxed(descriptor.tail, tail);
    }
    ++writer.at.index;
  }
  [[nodiscard]] static PackedTail read_used(const PackedDescriptor* ring, Position at,
                                            std::uint16_t mask) noexcept {
    return PackedTail::unpack(load_acquire(ring[ring_slot(at.index, mask)].tail));
  }
  /// Shows the packets of what is used now, up to `most` of them, each once.
  template <class Show>
  void show_ahead(std::uint32_t most, Show show) noexcept {
    if constexpr (!std::is_same_v<Show, Unseen>) {
      const Book book = book_;
      const PackedDescriptor* const ring = descriptors_;
      const std::uint16_t first = used_.index;
      std::uint32_t at = ring_distance(shown_, first);
      if (at > book.held()) at = 0;  // they were taken unseen
      for (const std::uint32_t end = std::min<std::uint32_t>(most, book.held()); at < end; ++at) {
        const Position position{static_cast<std::uint16_t>(first + at)};
        const PackedTail tail = read_used(ring, position, book.mask());
        if (!tail.used(position.wrap(book.size()))) break;
        if (Packet* const packet = book.peek(tail.id); packet != nullptr) show(*packet);
      }
      shown_ = static_cast<std::uint16_t>(first + at);
    }
  }

  /// From where the device was to the driver's end the ring names buffers in the order in which they were
  /// offered: one that stands there twice was offered where it stands last. One whose descriptors the device
  /// has written over, completing others first, is older than all of them. The device may have written
  /// anything: an id decides the order alone, and is read again where it is used. The lengths, of no use out
  /// of order, take the places.
  template <class Take>
  void release_as_offered(Take take) noexcept {
    const auto place_of = [](std::uint16_t index) { return std::uint32_t{index} + 1; };
    const auto held_at = [this](std::uint16_t index) {
      const std::uint16_t id = read_used(descriptors_, {index}, book_.mask()).id;
      return id <= book_.mask() && !book_.is_free(id) && book_.descriptors(id) != 0 ? &book_.entry(id)
                                                                                    : nullptr;
    };
    const auto take_entry = [this, &take](Entry& entry) {
      take(book_.leave(static_cast<std::uint16_t>(&entry - entries_.get())));
    };
    const std::uint16_t end = writer_.at.index;
    for (std::uint16_t at = used_.index; at != end; ++at) {
      if (Entry* const entry = held_at(at); entry != nullptr) entry->length = place_of(at);
    }
    for (std::uint32_t id = 0; id < size(); ++id) {
      Entry& entry = book_.entry(static_cast<std::uint16_t>(id));
      if (entry.packet != nullptr && entry.length == 0) take_entry(entry);
    }
    for (std::uint16_t at = used_.index; at != end; ++at) {
      if (Entry* const entry = held_at(at); entry != nullptr && entry->length == place_of(at))
        take_entry(*entry);
    }
  }

  template <class Sink>
  std::uint16_t take_in_any_order(std::uint16_t count, Sink sink) noexcept {
    Book book = book_;
    Position used = used_;
    const PackedDescriptor* const ring = descriptors_;
    std::uint16_t found = 0;
    while (found < count) {
      const PackedTail tail = read_used(ring, used, book.mask());
      if (!tail.used(used.wrap(book.size()))) break;
      Packet* const packet = book.claim(tail.id);
      if (refused(packet == nullptr)) [[unlikely]] {
        bad_completions_.add(1);
        broken_ = F.chains;  // how many descriptors it stands for is told by the id alone
        if (broken_) break;
        ++used.index;
        continue;
      }
      const std::uint16_t descriptors = book.descriptors(tail.id);
      used.index = static_cast<std::uint16_t>(used.index + ring_descriptors(descriptors));
      sink(packet, tail.length, descriptors);
      ++found;
    }
    book_ = book;
    used_ = used;
    return told(found);
  }
  /// 2.8.11: the next used descriptor names the last buffer of a batch; those before it were used as well,
  /// and filled whole.
  template <class Sink>
  std::uint16_t take_in_order(std::uint16_t count, Sink sink) noexcept {
    Book book = book_;
    Position used = used_;
    const PackedDescriptor* const ring = descriptors_;
    Batch batch = batch_;
    std::uint16_t found = 0;
    for (; found < count; ++found) {
      const std::uint16_t id = ring_slot(used.index, book.mask());
      if (batch.left == 0) {
        const PackedTail tail = read_used(ring, used, book.mask());
        if (!tail.used(used.wrap(book.size()))) break;
        batch = {tail.length, 1};
        if (tail.id != id) [[unlikely]] {
          batch.left = count_batch(book, used, tail.id);
          if (batch.left == 0) break;
        }
      }
      --batch.left;
      std::uint32_t length = batch.length;
      if constexpr (!F.chains) {
        if (batch.left != 0) [[unlikely]]
          length = book.entry(id).length;
      }
      const std::uint16_t descriptors = book.descriptors(id);
      Packet* const packet = book.leave(id);
      used.index = static_cast<std::uint16_t>(used.index + ring_descriptors(descriptors));
      sink(packet, length, descriptors);
    }
    book_ = book;
    used_ = used;
    batch_ = batch;
    return told(found);
  }
  /// What was taken before the device broke the rules is good; the next call says that it did.
  [[nodiscard]] std::uint16_t told(std::uint16_t found) const noexcept {
    return broken_ && found == 0 ? kBroken : found;
  }
  /// Buffers from `at` up to and with that of `last`, by the driver's own book; 0: none has it, so the device
  /// cannot be followed.
  [[nodiscard]] [[gnu::noinline]] std::uint16_t count_batch(Book book, Position at,
                                                            std::uint16_t last) noexcept {
    for (std::uint16_t count = 1; count <= book.held(); ++count) {
      const std::uint16_t id = ring_slot(at.index, book.mask());
      if (id == last) return count;
      at.index = static_cast<std::uint16_t>(at.index + ring_descriptors(book.descriptors(id)));
    }
    bad_completions_.add(1);
    broken_ = true;
    return 0;
  }

  PackedDescriptor* descriptors_;
  EventSuppression* driver_;
  EventSuppression* device_;
  std::unique_ptr<Entry[]> entries_;
  Book book_;
  Writer writer_;
  Position used_;            ///< where the next used descriptor will be
  std::uint16_t shown_ = 0;  ///< completions shown
  Batch batch_;
  NotifyRules notify_;
  Told told_;  ///< of the writer's position
  bool broken_ = false;
  Counter bad_completions_;
  mempool::DmaBlock block_;
};

}  // namespace spinring::pmd::virtio
