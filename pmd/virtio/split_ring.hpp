#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstdint>
#include <span>
#include <type_traits>

#include "base/counter.hpp"
#include "base/cpu.hpp"
#include "base/ring_index.hpp"
#include "base/shared.hpp"
#include "base/word_run.hpp"
#include "mempool/memory.hpp"
#include "pmd/virtio/notify.hpp"
#include "pmd/virtio/ring_book.hpp"
#include "pmd/virtio/ring_layout.hpp"
#include "pmd/virtio/split_table.hpp"
#include "pmd/virtio/split_used.hpp"
#include "pmd/virtio/transport.hpp"
#include "pmd/virtio/wire.hpp"

namespace spinring::pmd::virtio {

/// A split virtqueue (virtio 1.2, 2.7), driver's side: descriptors, available ring, used ring. Holds every
/// barrier of the queue, in pairs with the device's. It does not write what has not changed (SplitTable).
/// Buffers get ids in the order of the table, so those that go round in step have the same each time, and any
/// others lie in a row. One lcore at a time.
template <class Packet, RingFeatures F>
class SplitRing {
 public:
  using Layout = SplitLayout;

  /// `block` holds Layout::bytes(size) zeroed bytes, aligned to a cache line; `size` is a power of two.
  SplitRing(mempool::DmaBlock block, std::uint16_t size, NotifyRules notify)
      : avail_(reinterpret_cast<AvailHead*>(block.data() + SplitLayout::avail(size))),
        used_(reinterpret_cast<const UsedHead*>(block.data() + SplitLayout::used(size)), size),
        table_(block.data(), size),
        pages_(size),
        book_(pages_, size),
        notify_(notify),
        block_(std::move(block)) {
    if (notify_.event_index) quiet_.say(event(SplitLayout::used_event(size)), 0);
    if (!notify_.event_index) store_relaxed(avail_->flags, kAvailNoInterrupt);
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
  template <class Runs, class ExtentOf>
  void post_empty(std::span<Packet* const> packets, ExtentOf& extent_of) noexcept requires(!F.chains) {
    Offering to = offering();
    while (!packets.empty()) {
      const std::size_t some = std::min<std::size_t>(packets.size(), Book::kRun);
      const auto* const keys = reinterpret_cast<const RunWord*>(packets.data());
      const auto describe_run = [this, packets, keys, &extent_of](std::uint32_t first) {
        PostingRun<Packet, Book::kRun> run{packets.data()};
        run.template describe<Runs>(extent_of);
        table_.template describe_run<Runs, Book::kRun>(first, keys, run.addresses.data(), run.lengths.data(),
                                                       kDescWrite);
      };
      if (some < Book::kRun || !post_run<Runs>(to, packets.data(), {keys, nullptr}, describe_run)) {
        for (std::size_t i = 0; i < some; ++i) {
          post_one(to, packets[i], [&, i](std::uint16_t id) {
            if (!table_.names(id, keys[i])) table_.describe(id, keys[i], extent_of(*packets[i]), kDescWrite);
          });
        }
      }
      packets = packets.subspan(some);
    }
    end(to);
  }
  /// Buffers of one descriptor for the device to read, up to `most` (at most free()), from the front of a
  /// `list`: its run() fills in a PostingRun, where the next are so many and plain, its one() a Posting, or
  /// they return false and take nothing. Returns how many. The device sees them after publish().
  template <class Runs, class List>
  std::uint16_t post(std::uint16_t most, List& list) noexcept requires(F.chains) {
    Offering to = offering();
    std::uint32_t posted = 0;
    PostingRun<Packet, Book::kRun> run;
    const auto* const keys = run.addresses.data();
    const auto describe_run = [this, &run, keys](std::uint32_t first) {
      table_.template describe_run<Runs, Book::kRun>(first, keys, keys, run.lengths.data(), 0);
    };
    const auto post_single = [this, &to](const Posting<Packet>& buffer) {
      const std::uint64_t key = to_u64(buffer.extent.address);
      post_one(to, buffer.packet, [&](std::uint16_t id) {
        if (!table_.names(id, key, buffer.extent.length)) table_.describe(id, key, buffer.extent, 0);
      });
    };
    while (posted < most) {
      if (most - posted >= Book::kRun && list.template run<Runs>(run)) [[likely]] {
        if (!post_run<Runs>(to, run.packets, {keys, run.lengths.data()}, describe_run)) [[unlikely]] {
          for (std::size_t i = 0; i < Book::kRun; ++i) post_single(run.at(i));
        }
        posted += Book::kRun;
        continue;
      }
      Posting<Packet> buffer;
      if (!list.one(buffer)) break;
      post_single(buffer);
      ++posted;
    }
    end(to);
    return static_cast<std::uint16_t>(posted);
  }
  /// A buffer of several descriptors, pieces.size() <= free().
  void post_chain(Packet& packet, std::span<const Piece> pieces) noexcept requires(F.chains) {
    Offering to = offering();
    const std::uint16_t head = to.book.any_free();
    to.book.enter_chain(head, &packet, static_cast<std::uint16_t>(pieces.size()));
    std::uint16_t id = head;
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      const bool last = i + 1 == pieces.size();
      const std::uint16_t next = last ? std::uint16_t{0} : to.book.any_free();
      if (!last) to.book.enter_member(next, &packet);
      const auto flags = static_cast<std::uint16_t>(pieces[i].flags | (last ? 0 : kDescNext));
      table_.describe(id, to_u64(pieces[i].address), {pieces[i].address, pieces[i].length}, flags, next);
      id = next;
    }
    table_.offer(to.index++, head);
    end(to);
  }
  /// A buffer whose descriptors lie in the table that `write` fills in for an id.
  template <class Write>
  void post_table(Packet& packet, Write write) noexcept requires(F.chains) {
    Offering to = offering();
    const std::uint16_t id = to.book.any_free();
    to.book.enter_chain(id, &packet, kInTable);
    const Extent table = write(id);
    table_.describe(id, to_u64(table.address), table, kDescIndirect);
    table_.offer(to.index++, id);
    end(to);
  }
  /// How many buffers go round, as far as the one that was offered last can tell: SplitTable::round().
  [[nodiscard]] std::uint16_t round() const noexcept requires(!F.chains) {
    return table_.round(static_cast<std::uint16_t>(avail_index_ - 1));
  }
  /// 2.7.13.3: the device sees descriptors and entries no later than the index. Pairs with the device's read
  /// of the index, which waits for its line.
  void publish() noexcept {
    store_release(avail_->index, avail_index_);
    demote(&avail_->index);
  }
  /// Whether the device asks to be told of what was just published. 2.7.13.4.1: the index is visible before
  /// the flag is read; pairs with the device, which sets the flag and then looks at the index once more.
  [[nodiscard]] bool must_notify() noexcept {
    return told_.settle(avail_index_, [this] { return device_asks(); });
  }
  /// The same without a fence, for a queue that is polled all the time: true when the device asks and was not
  /// told. What is missed, a later poll sees: the line is left alone until the index in it is read again.
  [[nodiscard]] bool notify_is_due() noexcept {
    return !device_polls_ && told_.is_due(avail_index_, [this] { return device_asks(); });
  }
  /// Whether must_notify() or notify_is_due() has settled all that was offered.
  [[nodiscard]] bool settled() const noexcept { return told_.all(avail_index_); }
  /// What the doorbell says: the queue's number, and with data (2.9) the available index.
  [[nodiscard]] std::uint32_t doorbell(std::uint16_t queue) const noexcept {
    return queue | (notify_.with_data ? std::uint32_t{avail_index_} << 16 : 0);
  }
  [[nodiscard]] NotifyRules notify_rules() const noexcept { return notify_; }

  // --- Completions

  /// Whether harvest() would find anything.
  [[nodiscard]] bool has_completions() const noexcept { return used_.has_more(); }
  /// Takes up to `most` completions, hands each to `sink` (packet, length, descriptors); returns how many, or
  /// kBroken. A completion of an id that the device may not name is counted and left out. `show` sees each
  /// packet (or a wrong one) early, so as to fetch its lines: of the next call Book::kShownAhead at most.
  template <class Runs = NarrowRuns, class Show, class Sink>
  [[nodiscard]] std::uint16_t harvest(std::uint16_t most, Show show, Sink sink) noexcept {
    constexpr bool kShows = !std::is_same_v<Show, Unseen>;
    const bool expected = kShows && used_.expect(most, most);
    if (used_.waiting() < most && !look()) [[unlikely]]
      return kBroken;
    const std::uint16_t count = std::min(used_.waiting(), most);
    show_ahead(count, show);
    const std::uint16_t found = take<Runs>(count, sink);
    if (expected) (void)look();  // one that is wrong is read again, and found then
    if constexpr (kShows) show_ahead(std::min(used_.waiting(), Book::kShownAhead), show);
    return found;
  }
  /// Has the device's index on its way for a glance() some time later; false: `most` are known of without.
  [[nodiscard]] bool expect(std::uint16_t most) const noexcept { return used_.expect(0, most); }
  /// Reads the index, so that a harvest() of `most` need not, and has the entries on their way.
  void glance(std::uint16_t most) noexcept {
    if (look() && kReadsEntries) used_.fetch(most);
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
  using Book = RingBook<Packet, F>;

  /// Reads the device's index. False: it says what it may not.
  [[nodiscard]] bool look() noexcept {
    device_polls_ = !notify_.event_index && used_.says_no();
    return used_.look(std::uint32_t{size()} - book_.free());
  }
  /// Whether the device asks to be told of something between told_ and what is published.
  [[nodiscard]] bool device_asks() noexcept {
    if (!notify_.event_index) return !used_.says_no();
    if (quiet_.is_due(used_.taken())) [[unlikely]]
      quiet_.say(event(SplitLayout::used_event(size())), used_.taken());
    const std::uint16_t waits_for = load_relaxed(event(SplitLayout::avail_event(size())));
    return told_.passed(waits_for, 1U << 16, avail_index_, size());
  }
  [[nodiscard]] Le16& event(std::size_t offset) noexcept {
    return *reinterpret_cast<Le16*>(block_.data() + offset);
  }

  /// Where a loop offers buffers, in registers.
  struct Offering {
    Book book;
    std::uint16_t index;  ///< of the available ring
  };
  [[nodiscard]] Offering offering() const noexcept { return {book_, avail_index_}; }
  void end(const Offering& to) noexcept {
    book_.put_back(to.book);
    avail_index_ = to.index;
  }
  /// What the descriptors of a run are to say: SplitTable's keys, and with chains its rests.
  struct Wanted {
    const RunWord* keys;
    const RunWord* rests;
  };
  /// kRun buffers under the next ids; they are described anew where others had these. False: not all of them
  /// are free or in a row, and nothing was done.
  template <class Runs, class DescribeRun>
  [[nodiscard]] bool post_run(Offering& to, Packet* const* packets, Wanted wanted,
                              DescribeRun describe_run) noexcept {
    const std::uint32_t first = to.book.template enter_next_run<Runs, Book::kRun>(packets);
    if (first == to.book.size()) [[unlikely]]
      return false;
    if (!table_.template names_run<Runs, Book::kRun>(first, wanted.keys, wanted.rests)) [[unlikely]] {
      describe_run(first);
      table_.fetch_run(first + Book::kAhead);
    }
    table_.offer_run(to.index, static_cast<std::uint16_t>(first));
    to.index = static_cast<std::uint16_t>(to.index + Book::kRun);
    return true;
  }
  /// A buffer under the next id; `describe` says what the id's descriptor is to say.
  template <class Describe>
  void post_one(Offering& to, Packet* packet, const Describe& describe) noexcept {
    const std::uint16_t id = to.book.any_free();
    to.book.enter(id, packet);
    describe(id);
    table_.offer(to.index++, id);
  }
  /// The available ring names buffers in the order in which they were offered, and as many as it has entries:
  /// one that stands there twice was offered by the later entry, one that does not is older than all of them.
  /// Descriptors are marked with the entries that count.
  template <class Take>
  void release_as_offered(Take take) noexcept requires(F.chains) {
    const auto held = [this](std::uint16_t id) { return !book_.is_free(id) && book_.descriptors(id) != 0; };
    for (std::uint32_t back = 1; back <= size(); ++back) {
      const auto index = static_cast<std::uint16_t>(avail_index_ - back);
      const std::uint16_t id = table_.offered(index);
      if (held(id) && !table_.marked(id)) table_.mark(id, index);
    }
    for (std::uint32_t id = 0; id < size(); ++id) {
      const auto each = static_cast<std::uint16_t>(id);
      if (held(each) && !table_.marked(each)) take(book_.leave(each));
    }
    for (std::uint32_t back = size(); back > 0; --back) {
      const auto index = static_cast<std::uint16_t>(avail_index_ - back);
      const std::uint16_t id = table_.offered(index);
      if (held(id) && table_.marked(id, index)) take(book_.leave(id));
    }
  }
  /// By the driver's own copies of the links: what stands in the table is not to be trusted.
  void release_members(Book& book, std::uint16_t head, std::uint16_t descriptors) const noexcept {
    std::uint16_t id = head;
    for (std::uint16_t left = ring_descriptors(descriptors); left > 1; --left) {
      id = table_.next(id);
      book.leave_member(id);
    }
  }
  /// Shows the packets of the next `count` waiting completions, each once: those that were offered, for
  /// devices complete in that order, as a rule. Their entries are on their way then.
  template <class Show>
  void show_ahead(std::uint32_t count, Show show) noexcept {
    if constexpr (!std::is_same_v<Show, Unseen>) {
      const Book book = book_;
      const std::uint16_t first = used_.taken();
      std::uint32_t at = ring_distance(shown_index_, first);
      if (at > book.size()) at = 0;  // they were taken unseen
      while (at < count) {
        const auto index = static_cast<std::uint16_t>(first + at);
        prefetch_read(&used_.entry(index));
        const std::uint32_t id = F.in_order ? ring_slot(index, book.mask()) : table_.offered(index);
        const std::uint32_t some = std::min<std::uint32_t>(count - at, Book::kRun);
        at += some;
        if (some < Book::kRun || !book.show_run(id, show)) book.show_each(id, some, show);
      }
      shown_index_ = static_cast<std::uint16_t>(first + at);
    }
  }
  /// In order: buffers that the device used with one entry.
  struct Batch {
    std::uint32_t length = 0;   ///< of the last
    std::uint16_t skipped = 0;  ///< before the last
  };
  /// Where a loop takes completions, in registers.
  struct Taking {
    Book book;
    std::uint16_t index;  ///< of the used ring
    std::uint16_t next;   ///< in order: the head of the next buffer
    Batch batch;
    std::uint16_t bad = 0;
  };
  /// 2.7.9: in order, which buffer comes next needs no reading, but that of buffers for the device to write
  /// (RX: never chains): their length is in the used ring.
  static constexpr bool kReadsEntries = !F.in_order || !F.chains;

  /// The next `count` completions, which wait; returns how many of them were good.
  template <class Runs, class Sink>
  std::uint16_t take(std::uint16_t count, Sink sink) noexcept {
    Taking at{book_, used_.taken(), next_used_, batch_};
    const UsedHead* const used = used_.head();
    for (std::uint16_t left = count; left != 0;) {
      std::array<Packet*, Book::kRun> run;
      std::array<std::uint32_t, Book::kRun> lengths;
      std::uint16_t some = std::min(left, Book::kRun);
      left = static_cast<std::uint16_t>(left - some);
      const std::uint16_t slot = ring_slot(at.index, at.book.mask());
      if (some == run.size() && claim_run<Runs>(at, used, slot, lengths.data(), run.data())) [[likely]] {
        if constexpr (std::invocable<Sink&, decltype(run)&, decltype(lengths)&>) {
          sink(run, lengths);
        } else {
          for (std::uint16_t i = 0; i < run.size(); ++i)
            sink(run[i], kReadsEntries ? lengths[i] : 0, std::uint16_t{1});
        }
      } else {
        do {
          take_one(at, used, sink);
          --some;
        } while (some != 0 && !begins_run(at));
        left = static_cast<std::uint16_t>(left + some);
      }
    }
    book_.put_back(at.book);
    used_.take_up_to(at.index);
    next_used_ = at.next;
    batch_ = at.batch;
    if (at.bad != 0) [[unlikely]]
      bad_completions_.add(at.bad);
    return static_cast<std::uint16_t>(count - at.bad);
  }
  /// Whether the next completion seems to be the first of a run, and is not inside of one.
  [[nodiscard]] bool begins_run(const Taking& at) const noexcept {
    if constexpr (F.in_order) return false;
    const auto id = [this, &at](int offset) {
      return load_relaxed(used_.entry(static_cast<std::uint16_t>(at.index + offset)).id);
    };
    return id(-1) + 1 != id(0) && id(0) + 1 == id(1);
  }
  /// kRun completions of neighbouring buffers of one descriptor, which nearly all are. False: they are not,
  /// and nothing was done.
  template <class Runs>
  [[nodiscard]] static bool claim_run(Taking& at, const UsedHead* used, std::uint16_t slot,
                                      std::uint32_t* lengths, Packet** out) noexcept {
    std::uint32_t first = ring_slot(at.next, at.book.mask());
    if constexpr (kReadsEntries) {
      if (std::uint32_t{slot} + Book::kRun > at.book.size() || at.batch.skipped != 0) return false;
      if constexpr (!F.in_order) first = load_relaxed(used_element(used, slot).id);
      if (!Runs::counts_up(&used_element(used, slot), first, lengths)) return false;
    }
    if (!at.book.template claim_run<Runs, Book::kRun>(first, out)) return false;
    at.index = static_cast<std::uint16_t>(at.index + Book::kRun);
    if constexpr (F.in_order) at.next = static_cast<std::uint16_t>(at.next + Book::kRun);
    return true;
  }
  template <class Sink>
  void take_one(Taking& at, const UsedHead* used, Sink& sink) noexcept {
    const std::uint16_t index = at.index++;
    const UsedElement& element = used_element(used, ring_slot(index, at.book.mask()));
    std::uint16_t descriptors = 0;
    if constexpr (F.in_order) {
      const std::uint16_t head = ring_slot(at.next, at.book.mask());
      const std::uint32_t length = kReadsEntries ? length_in_order(at.batch, element, index, head) : 0;
      Packet* const packet = at.book.leave(head, descriptors);
      at.next = static_cast<std::uint16_t>(at.next + ring_descriptors(descriptors));
      if constexpr (F.chains) release_members(at.book, head, descriptors);
      sink(packet, length, descriptors);
    } else {
      const std::uint32_t id = load_relaxed(element.id);
      Packet* const packet = at.book.claim(id, descriptors);
      if (refused(packet == nullptr)) [[unlikely]] {
        ++at.bad;
        return;
      }
      if constexpr (F.chains) release_members(at.book, static_cast<std::uint16_t>(id), descriptors);
      sink(packet, load_relaxed(element.length), descriptors);
    }
  }
  /// Where the device used several buffers with one entry, that names the last and its length; those before
  /// were filled whole: as long as their descriptors say, which the caller holds against the packet.
  [[nodiscard]] std::uint32_t length_in_order(Batch& batch, const UsedElement& element, std::uint16_t index,
                                              std::uint16_t head) noexcept {
    if (batch.skipped != 0) [[unlikely]] {
      --batch.skipped;
    } else {
      batch.length = load_relaxed(element.length);
      if (const std::uint32_t id = load_relaxed(element.id); id != head) [[unlikely]]
        batch = begin_batch(id, head, used_.behind(index), batch.length);
    }
    return batch.skipped != 0 ? table_.length(head) : batch.length;
  }
  [[nodiscard]] [[gnu::cold]] [[gnu::noinline]] Batch begin_batch(std::uint32_t id, std::uint16_t head,
                                                                  std::uint16_t seen,
                                                                  std::uint32_t length) noexcept {
    const std::uint16_t ahead =
        ring_slot(static_cast<std::uint16_t>(static_cast<std::uint16_t>(id) - head), book_.mask());
    if (id <= book_.mask() && ahead < seen) return {length, ahead};
    bad_completions_.add(1);
    return {};  // too short for any frame: the buffer is taken back and nothing is believed of it
  }

  AvailHead* avail_;
  SplitUsed used_;
  SplitTable<F> table_;
  typename Book::Pages pages_;
  Book book_;
  NotifyRules notify_;
  std::uint16_t avail_index_ = 0;
  std::uint16_t shown_index_ = 0;  ///< completions shown
  QuietEvent quiet_;
  Told told_;                    ///< of avail_index_
  bool device_polls_ = false;    ///< as far as it said when its index was read
  std::uint16_t next_used_ = 0;  ///< in order: the head of the next buffer to be used
  Batch batch_;
  Counter bad_completions_;
  mempool::DmaBlock block_;
};

}  // namespace spinring::pmd::virtio
