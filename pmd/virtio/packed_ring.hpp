#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>

#include "base/counter.hpp"
#include "base/cpu.hpp"
#include "base/ring_index.hpp"
#include "base/shared.hpp"
#include "mempool/memory.hpp"
#include "pmd/virtio/notify.hpp"
#include "pmd/virtio/ring_book.hpp"
#include "pmd/virtio/ring_layout.hpp"
#include "pmd/virtio/transport.hpp"
#include "pmd/virtio/wire.hpp"

namespace spinring::pmd::virtio {

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
        lengths_(std::make_unique<std::uint64_t[]>(size)),
        pages_(size),
        book_(pages_, size),
        writer_{.ring = descriptors_},
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
  template <class Runs, class ExtentOf>
  void post_empty(std::span<Packet* const> packets, ExtentOf& extent_of) noexcept requires(!F.chains) {
    Listed<Packet, ExtentOf> list{packets.data(), extent_of};
    (void)post_all<Runs>(static_cast<std::uint16_t>(packets.size()), kDescWrite, list);
  }
  /// Buffers of one descriptor for the device to read, up to `most` (at most free()), from the front of a
  /// `list`: its run() fills in a PostingRun, where the next are so many and plain, its one() a Posting, or
  /// they return false and take nothing. Returns how many. The device sees them after publish().
  template <class Runs, class List>
  std::uint16_t post(std::uint16_t most, List& list) noexcept requires(F.chains) {
    return post_all<Runs>(most, 0, list);
  }
  /// A buffer of several descriptors, pieces.size() <= free(). 2.8.6: its id stands in the last one.
  void post_chain(Packet& packet, std::span<const Piece> pieces) noexcept requires(F.chains) {
    const std::uint16_t id = next_id(book_, writer_);
    book_.enter_chain(id, &packet, static_cast<std::uint16_t>(pieces.size()));
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      const bool last = i + 1 == pieces.size();
      const auto flags = static_cast<std::uint16_t>(pieces[i].flags | (last ? 0 : kDescNext));
      writer_.write(to_u64(pieces[i].address), PackedTail{pieces[i].length, id, flags}.pack(), book_.mask());
    }
  }
  /// A buffer whose descriptors lie in the table that `write` fills in for an id.
  template <class Write>
  void post_table(Packet& packet, Write write) noexcept requires(F.chains) {
    const std::uint16_t id = next_id(book_, writer_);
    book_.enter_chain(id, &packet, kInTable);
    const Extent table = write(id);
    writer_.write(to_u64(table.address), PackedTail{table.length, id, kDescIndirect}.pack(), book_.mask());
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
    return told_.settle(writer_.index, [this] { return device_asks(); });
  }
  /// The same without a fence, for a queue that is polled all the time: true when the device asks and was not
  /// told. What is missed now is seen by a later poll.
  [[nodiscard]] bool notify_is_due() noexcept {
    return told_.is_due(writer_.index, [this] { return device_asks(); });
  }
  /// Whether must_notify() or notify_is_due() has settled all that was offered.
  [[nodiscard]] bool settled() const noexcept { return told_.all(writer_.index); }
  /// What the doorbell says: the queue's number, and with data (2.9) the offset and wrap counter of what is
  /// made available next.
  [[nodiscard]] std::uint32_t doorbell(std::uint16_t queue) const noexcept {
    if (!notify_.with_data) return queue;
    return queue | std::uint32_t{ring_slot(writer_.index, book_.mask())} << 16 |
           (wrap_at(writer_.index) ? kDoorbellWrap : 0U);
  }
  [[nodiscard]] NotifyRules notify_rules() const noexcept { return notify_; }

  // --- Completions

  /// Whether harvest() would find anything, or say that the device has broken the rules.
  [[nodiscard]] bool has_completions() const noexcept {
    if constexpr (F.chains || F.in_order) {
      if (batch_.left != 0 || broken_) return true;
    }
    return is_used(used_index_);
  }
  /// Takes up to `most` completions, hands each to `sink` (packet, length, descriptors); returns how many, or
  /// kBroken. A completion of an id that the device may not name is counted and left out. 2.8.13: what a
  /// descriptor says is read no earlier than its flags; pairs with the device's release of them.
  template <class Runs = NarrowRuns, class Sink>
  [[nodiscard]] std::uint16_t harvest(std::uint16_t most, Unseen /*show*/, Sink sink) noexcept {
    if (refused(broken_)) [[unlikely]]
      return kBroken;
    return take<Runs>(std::min(most, book_.held()), sink);
  }

  /// Shows the packets of the next Book::kShownAhead completions, or wrong ones, if the last of them has
  /// come, as one line tells: with fewer that line, and the frames, would be those that the device writes.
  template <class Show>
  void show_next(Show show) noexcept {
    const auto end = static_cast<std::uint16_t>(used_index_ + Book::kShownAhead);
    if (!is_used(static_cast<std::uint16_t>(end - 1))) return;
    const std::uint16_t left = std::min(ring_distance(end, shown_index_), Book::kShownAhead);
    book_.show_each(static_cast<std::uint16_t>(end - left), left, show);
    shown_index_ = end;
  }

  /// The device was reset: hands every packet that it held to `take`, in the order in which they were
  /// offered. What is not published yet must be. The ring is not used any more.
  template <class Take>
  void release_all(Take take) noexcept {
    if constexpr (F.in_order) {
      for (std::uint16_t left = book_.held(); left > 0; --left) {
        const std::uint16_t id = ring_slot(used_index_, book_.mask());
        used_index_ = static_cast<std::uint16_t>(used_index_ + ring_descriptors(book_.descriptors(id)));
        take(book_.leave(id));
      }
    } else {
      release_as_offered(take);
    }
    book_.release_all(take);
  }

 private:
  using Book = RingBook<Packet, F>;
  /// Descriptors of one cache line: they are completed together, as a rule. Two lines are taken at once, or
  /// one.
  static constexpr std::uint16_t kLine = kCacheLine / sizeof(PackedDescriptor);
  static constexpr std::uint16_t kTwoLines = 2 * kLine;
  /// RX in order: an id is the slot of the buffer's first descriptor, and what it offered may be asked for.
  static constexpr bool kKeepsLengths = F.in_order && !F.chains;
  static constexpr std::uint32_t kDoorbellWrap = 1U << 31;
  static constexpr std::uint16_t kEventWrap = 1U << 15;
  static constexpr unsigned kFlagsShift = 48;  ///< PackedTail::flags, in a tail
  static constexpr unsigned kIdShift = 32;     ///< PackedTail::id
  static constexpr std::uint64_t kIdBits = std::uint64_t{0xFFFF} << kIdShift;
  static constexpr std::uint64_t kAvailFlag = std::uint64_t{kPackedAvail} << kFlagsShift;
  static constexpr std::uint64_t kUsedFlags = kAvailFlag | std::uint64_t{kPackedUsed} << kFlagsShift;

  struct Writer {
    PackedDescriptor* ring;
    std::uint64_t available = kAvailFlag;  ///< 2.8.1: the flags of this lap
    PackedDescriptor* first = nullptr;     ///< posted and not published: its flags are held back
    std::uint64_t first_tail = 0;
    std::uint16_t index = 0;  ///< free-running: where the next descriptor is written

    void write(std::uint64_t address, std::uint64_t tail, std::uint16_t mask) noexcept {
      PackedDescriptor& descriptor = ring[ring_slot(index, mask)];
      tail |= available;
      descriptor.address = address;
      if (first == nullptr) {
        first = &descriptor;
        first_tail = tail;
      } else {
        store_relaxed(descriptor.tail, tail);
      }
      advance(1, mask);
    }
    /// Over descriptors none of which but the last may be the ring's last.
    void advance(std::uint16_t descriptors, std::uint16_t mask) noexcept {
      index = static_cast<std::uint16_t>(index + descriptors);
      if (ring_slot(index, mask) == 0) [[unlikely]]
        available ^= kUsedFlags;
    }
  };
  /// In order: buffers that the device used with one descriptor.
  struct Batch {
    std::uint32_t length = 0;  ///< of the last
    std::uint16_t left = 0;    ///< not taken yet
  };

  template <class Runs, class List>
  std::uint16_t post_all(std::uint16_t most, std::uint16_t flags, List& list) noexcept {
    Book book = book_;
    Writer writer = writer_;
    std::uint16_t left = most;
    while (left != 0) {
      if (post_next<Runs, kTwoLines>(book, writer, left, list, flags) ||
          post_next<Runs, kLine>(book, writer, left, list, flags)) [[likely]]
        continue;
      Posting<Packet> buffer;
      if (!list.one(buffer)) break;
      post_one(book, writer, buffer, flags);
      --left;
    }
    book_.put_back(book);
    writer_ = writer;
    return static_cast<std::uint16_t>(most - left);
  }
  /// The next kCount of a list, whose descriptors begin a cache line. False: they are not so many, or none of
  /// them was taken.
  template <class Runs, std::uint16_t kCount, class List>
  [[nodiscard]] bool post_next(Book& book, Writer& writer, std::uint16_t& left, List& list,
                               std::uint16_t flags) noexcept {
    PostingRun<Packet, kCount> run;
    if (left < kCount || writer.index % kCount != 0 || !list.template run<Runs>(run)) return false;
    if (!post_run<Runs>(book, writer, run, flags)) [[unlikely]] {
      for (std::size_t i = 0; i < kCount; ++i) post_one(book, writer, run.at(i), flags);
    }
    left = static_cast<std::uint16_t>(left - kCount);
    return true;
  }
  void post_one(Book& book, Writer& writer, const Posting<Packet>& buffer, std::uint16_t flags) noexcept {
    const std::uint16_t id = next_id(book, writer);
    book.enter(id, buffer.packet);
    if constexpr (kKeepsLengths) lengths_[id] = buffer.extent.length;
    writer.write(to_u64(buffer.extent.address), PackedTail{buffer.extent.length, id, flags}.pack(),
                 book.mask());
  }
  /// Whole cache lines of descriptors at once, if their slots' own ids are free. False: they are not, and
  /// nothing was done.
  template <class Runs, std::uint16_t kCount>
  [[nodiscard]] bool post_run(Book& book, Writer& writer, PostingRun<Packet, kCount>& run,
                              std::uint16_t flags) noexcept {
    const std::uint16_t slot = ring_slot(writer.index, book.mask());
    if (!book.template enter_run<Runs, kCount>(slot, run.packets)) return false;
    if constexpr (kKeepsLengths) Runs::template copy<kCount>(&lengths_[slot], run.lengths.data());
    const std::uint64_t tail = PackedTail{0, slot, flags}.pack() | writer.available;
    std::uint64_t held_back = 0;
    if (writer.first == nullptr) [[unlikely]] {
      writer.first = writer.ring + slot;
      writer.first_tail = run.lengths[0] + tail;
      held_back = (writer.available ^ kAvailFlag) - writer.available;  // stays used
    }
    Runs::template write_pairs<kCount>(
        reinterpret_cast<RunWord*>(writer.ring + slot), run.addresses.data(), run.lengths.data(),
        {.base = tail, .step = std::uint64_t{1} << kIdShift, .first = held_back});
    fetch_ahead<kCount>(book, writer);
    writer.advance(kCount, book.mask());
    return true;
  }
  /// Has lines on their way that are written soon, unless the device still holds their buffers.
  template <std::uint16_t kCount>
  static void fetch_ahead(const Book& book, const Writer& writer) noexcept {
    const std::uint16_t ahead =
        ring_slot(static_cast<std::uint16_t>(writer.index + Book::kAhead), book.mask());
    if (!book.is_free(static_cast<std::uint16_t>(ahead + kCount - 1))) return;
    for (unsigned i = 0; i < kCount; i += kLine) prefetch_write(writer.ring + ahead + i);
  }
  /// Whether the device asks to be told of something between told_ and what is published.
  [[nodiscard]] bool device_asks() noexcept {
    const EventWish wish = EventWish::unpack(load_relaxed(device_->raw));
    if (!notify_.event_index || wish.flags != kEventPosition) return wish.flags != kEventDisable;
    // Its wrap counter is the bit above the slot's, inverted: see wrap_at().
    const bool wrap = (wish.offset_wrap & kEventWrap) != 0;
    const auto event = static_cast<std::uint16_t>((wish.offset_wrap & book_.mask()) | (wrap ? 0 : size()));
    return told_.passed(event, 2U * size(), writer_.index, size());
  }

  /// The slot's own number, or another while that is in flight (a device that completes out of order).
  [[nodiscard]] static std::uint16_t next_id(Book& book, const Writer& writer) noexcept {
    const std::uint16_t id = ring_slot(writer.index, book.mask());
    if constexpr (F.in_order) return id;
    return book.is_free(id) ? id : book.any_free();
  }
  /// The wrap counter (2.8.1) at a free-running position is the bit above the slot's, inverted: it starts
  /// at 1.
  [[nodiscard]] bool wrap_at(std::uint16_t index) const noexcept { return (index & size()) == 0; }
  [[nodiscard]] bool is_used(std::uint16_t index) const noexcept {
    return PackedTail::unpack(load_relaxed(descriptors_[ring_slot(index, book_.mask())].tail))
        .used(wrap_at(index));
  }
  [[nodiscard]] static PackedTail read_used(const PackedDescriptor* ring, std::uint16_t index,
                                            std::uint16_t mask) noexcept {
    return PackedTail::unpack(load_acquire(ring[ring_slot(index, mask)].tail));
  }

  /// From where the device was to the driver's end the ring names buffers in the order in which they were
  /// offered: one that stands there twice was offered where it stands last. One whose descriptors the device
  /// has written over, completing others first, is older than all of them. The device may have written
  /// anything: an id decides the order alone, and is read again where it is used. The lengths, of no use out
  /// of order, take the places.
  template <class Take>
  void release_as_offered(Take take) noexcept {
    const auto place_of = [](std::uint16_t index) { return std::uint64_t{index} + 1; };
    const auto holds = [this](std::uint32_t id) {
      return id < size() && !book_.is_free(static_cast<std::uint16_t>(id)) &&
             book_.descriptors(static_cast<std::uint16_t>(id)) != 0;
    };
    const auto id_at = [this](std::uint16_t index) {
      return read_used(descriptors_, index, book_.mask()).id;
    };
    const std::uint16_t end = writer_.index;
    for (std::uint16_t at = used_index_; at != end; ++at) {
      if (const std::uint16_t id = id_at(at); holds(id)) lengths_[id] = place_of(at);
    }
    for (std::uint32_t id = 0; id < size(); ++id) {
      if (holds(id) && lengths_[id] == 0) take(book_.leave(static_cast<std::uint16_t>(id)));
    }
    for (std::uint16_t at = used_index_; at != end; ++at) {
      if (const std::uint16_t id = id_at(at); holds(id) && lengths_[id] == place_of(at))
        take(book_.leave(id));
    }
  }

  /// Where a loop takes completions, in registers.
  struct Taking {
    Book book;
    std::uint16_t index;  ///< free-running: where the next used descriptor will be
    Batch batch;
  };
  template <class Runs, class Sink>
  std::uint16_t take(std::uint16_t count, Sink sink) noexcept {
    Taking at{book_, used_index_, batch_};
    const PackedDescriptor* const ring = descriptors_;
    std::uint16_t found = 0;
    for (std::uint16_t left = count; left != 0;) {
      const std::uint16_t some = take_lines<Runs>(at, ring, left, sink);
      if (some != 0) [[likely]] {
        found = static_cast<std::uint16_t>(found + some);
        left = static_cast<std::uint16_t>(left - some);
        continue;
      }
      const Step step = take_one(at, ring, sink);
      if (step == Step::kNone) break;
      if (step == Step::kTaken) ++found;
      --left;
    }
    book_.put_back(at.book);
    used_index_ = at.index;
    batch_ = at.batch;
    return told(found);
  }
  /// The next line or two of used descriptors, of neighbouring buffers of one descriptor; returns how many.
  template <class Runs, class Sink>
  [[nodiscard]] static std::uint16_t take_lines(Taking& at, const PackedDescriptor* ring, std::uint16_t left,
                                                Sink& sink) noexcept {
    if (take_run<Runs, kTwoLines>(at, ring, left, sink)) [[likely]]
      return kTwoLines;
    return take_run<Runs, kLine>(at, ring, left, sink) ? kLine : std::uint16_t{0};
  }
  template <class Runs, std::uint16_t kCount, class Sink>
  [[nodiscard]] static bool take_run(Taking& at, const PackedDescriptor* ring, std::uint16_t left,
                                     Sink& sink) noexcept {
    std::array<Packet*, kCount> run;
    std::array<std::uint32_t, kCount> lengths;
    if (left < kCount || at.index % kCount != 0 ||
        !claim_run<Runs, kCount>(at, ring, lengths.data(), run.data()))
      return false;
    at.index = static_cast<std::uint16_t>(at.index + kCount);
    if constexpr (std::invocable<Sink&, decltype(run)&, decltype(lengths)&>) {
      sink(run, lengths);
    } else {
      for (unsigned i = 0; i < kCount; ++i) sink(run[i], lengths[i], std::uint16_t{1});
    }
    return true;
  }
  /// A run of used descriptors that begins a cache line, no longer than the ring. False: they are not all
  /// used, or not of neighbouring buffers of one descriptor, and nothing was done.
  template <class Runs, std::uint16_t kCount>
  [[nodiscard]] static bool claim_run(Taking& at, const PackedDescriptor* ring, std::uint32_t* lengths,
                                      Packet** out) noexcept {
    const std::uint16_t slot = ring_slot(at.index, at.book.mask());
    if constexpr (F.in_order) {
      if (at.batch.left != 0) return claim_run_of_batch<Runs, kCount>(at, slot, out);
    }
    const std::uint16_t first = F.in_order ? slot : PackedTail::unpack(load_relaxed(ring[slot].tail)).id;
    const std::uint64_t used = (at.index & at.book.size()) == 0 ? kUsedFlags : 0;
    return Runs::template seconds_step<kCount>(reinterpret_cast<const RunWord*>(ring + slot),
                                               kUsedFlags | kIdBits, used | PackedTail{0, first, 0}.pack(),
                                               std::uint64_t{1} << kIdShift, lengths) &&
           at.book.template claim_run<Runs, kCount>(first, out);
  }
  /// The same of buffers that the device used with a descriptor that was read before.
  template <class Runs, std::uint16_t kCount>
  [[nodiscard]] static bool claim_run_of_batch(Taking& at, std::uint16_t slot, Packet** out) noexcept {
    if (!F.chains || at.batch.left < kCount || !at.book.template claim_run<Runs, kCount>(slot, out))
      return false;
    at.batch.left = static_cast<std::uint16_t>(at.batch.left - kCount);
    return true;
  }
  /// What came of the next completion. kNone: there is none, or the device cannot be followed any more.
  enum class Step : std::uint8_t { kTaken, kBad, kNone };

  template <class Sink>
  [[nodiscard]] Step take_one(Taking& at, const PackedDescriptor* ring, Sink& sink) noexcept
      requires(!F.in_order) {
    const PackedTail tail = read_used(ring, at.index, at.book.mask());
    if (!tail.used(wrap_at(at.index))) return Step::kNone;
    std::uint16_t descriptors = 0;
    Packet* const packet = at.book.claim(tail.id, descriptors);
    if (refused(packet == nullptr)) [[unlikely]] {
      bad_completions_.add(1);
      broken_ = F.chains;  // how many descriptors it stands for is told by the id alone
      if (broken_) return Step::kNone;
      ++at.index;
      return Step::kBad;
    }
    at.index = static_cast<std::uint16_t>(at.index + ring_descriptors(descriptors));
    sink(packet, tail.length, descriptors);
    return Step::kTaken;
  }
  /// 2.8.11: the next used descriptor names the last buffer of a batch; those before it were used as well,
  /// and filled whole.
  template <class Sink>
  [[nodiscard]] Step take_one(Taking& at, const PackedDescriptor* ring, Sink& sink) noexcept
      requires(F.in_order) {
    const std::uint16_t id = ring_slot(at.index, at.book.mask());
    if (at.batch.left == 0) {
      const PackedTail tail = read_used(ring, at.index, at.book.mask());
      if (!tail.used(wrap_at(at.index))) return Step::kNone;
      at.batch = {tail.length, 1};
      if (tail.id != id) [[unlikely]] {
        at.batch.left = count_batch(at.book, at.index, tail.id);
        if (at.batch.left == 0) return Step::kNone;
      }
    }
    --at.batch.left;
    std::uint32_t length = at.batch.length;
    if constexpr (kKeepsLengths) {
      if (at.batch.left != 0) [[unlikely]]
        length = static_cast<std::uint32_t>(lengths_[id]);
    }
    std::uint16_t descriptors = 0;
    Packet* const packet = at.book.leave(id, descriptors);
    at.index = static_cast<std::uint16_t>(at.index + ring_descriptors(descriptors));
    sink(packet, length, descriptors);
    return Step::kTaken;
  }
  /// What was taken before the device broke the rules is good; the next call says that it did.
  [[nodiscard]] std::uint16_t told(std::uint16_t found) const noexcept {
    return broken_ && found == 0 ? kBroken : found;
  }
  /// Buffers from `index` up to and with that of `last`, by the driver's own book; 0: none has it, so the
  /// device cannot be followed.
  [[nodiscard]] [[gnu::noinline]] std::uint16_t count_batch(Book book, std::uint16_t index,
                                                            std::uint16_t last) noexcept {
    if (book.held() == book.size() - book.free() && last <= book.mask()) {  // no chains
      const std::uint32_t count =
          ring_slot<std::uint32_t>(last - ring_slot(index, book.mask()), book.mask()) + 1;
      if (count <= book.held()) return static_cast<std::uint16_t>(count);
    }
    for (std::uint16_t count = 1; count <= book.held(); ++count) {
      const std::uint16_t id = ring_slot(index, book.mask());
      if (id == last) return count;
      index = static_cast<std::uint16_t>(index + ring_descriptors(book.descriptors(id)));
    }
    bad_completions_.add(1);
    broken_ = true;
    return 0;
  }

  PackedDescriptor* descriptors_;
  EventSuppression* driver_;
  EventSuppression* device_;
  std::unique_ptr<std::uint64_t[]> lengths_;  ///< by id; written with kKeepsLengths
  typename Book::Pages pages_;
  Book book_;
  Writer writer_;
  std::uint16_t shown_index_ = 0;  ///< completions shown
  std::uint16_t used_index_ = 0;   ///< free-running: where the next used descriptor will be
  Batch batch_;
  NotifyRules notify_;
  Told told_;  ///< of the writer's position
  bool broken_ = false;
  Counter bad_completions_;
  mempool::DmaBlock block_;
};

}  // namespace spinring::pmd::virtio
