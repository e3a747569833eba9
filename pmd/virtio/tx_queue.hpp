#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "base/cpu.hpp"
#include "pmd/port.hpp"
#include "pmd/virtio/indirect_tables.hpp"
#include "pmd/virtio/queue.hpp"

namespace spinring::pmd::virtio {

/// What a TX loop is specialised by.
struct TxFeatures {
  bool packed = false;    ///< VIRTIO_F_RING_PACKED
  bool in_order = false;  ///< VIRTIO_F_IN_ORDER
  bool offloads = false;  ///< headers say something: checksums, segments, hashes

  static constexpr unsigned kCombinations = 8;
  static constexpr TxFeatures from_index(unsigned index) {
    return {.packed = (index & 1U) != 0, .in_order = (index & 2U) != 0, .offloads = (index & 4U) != 0};
  }
  [[nodiscard]] constexpr unsigned index() const {
    return (packed ? 1U : 0U) | (in_order ? 2U : 0U) | (offloads ? 4U : 0U);
  }
  constexpr bool operator==(const TxFeatures&) const = default;
};

/// A TX queue of any features, for the control plane.
class TxQueueControl : public QueueControl {
 public:
  [[nodiscard]] virtual TxStats stats() const noexcept = 0;
};

/// The transmit loop. TX descriptors point into the caller's packet; its headroom takes the net header, so
/// that a frame of one segment is one descriptor.
template <PacketPool Packets, TxFeatures F>
class TxQueue final
    : public Queue<
          Packets,
          RingOf<typename Packets::Packet, F.packed, RingFeatures{.in_order = F.in_order, .chains = true}>,
          TxQueueControl> {
 public:
  using Packet = typename Packets::Packet;

  /// `empty_header` is sizeof(HashHeader) zero bytes in DMA memory, for packets without headroom; it outlives
  /// the queue.
  TxQueue(QueueParts<Packets>&& parts, Iova empty_header)
      : TxQueue::Queue(std::move(parts)),
        tables_(parts.indirect.data() == nullptr ? IndirectTables()
                                                 : IndirectTables(std::move(parts.indirect), *parts.table)),
        empty_header_(empty_header),
        place_(place_of<Packets>(*this->cache_, *this->table_)),
        batch_(kBatch.of(parts)),
        most_done_(kDone.of(parts)) {}
  ~TxQueue() override { give_back(); }

  void give_back() noexcept override {
    this->set_faulted();
    this->ring_.release_all([this](Packet* head) { this->free_chain(head); });
  }
  void renew(mempool::DmaBlock memory) override {
    TxQueue::Queue::renew(std::move(memory));
    held_back_ = 0;
    told_ = true;
  }
  /// What the device has not sent, in the order in which it was given, behind those in `unsent`, which has
  /// room for them: to be posted again. What it has sent goes back to the cache. The device was reset, and
  /// the queue is not used any more.
  void withdraw(std::vector<Packet*>& unsent) noexcept {
    this->ring_.publish();
    if (!this->faulted()) reclaim();
    this->set_faulted();
    this->ring_.release_all([&unsent](Packet* head) {
      if constexpr (F.offloads)
        undo_pseudo_header(Packets::tx_request(*head), Packets::data(*head), Packets::frame_length(*head));
      unsent.push_back(head);
    });
  }
  [[nodiscard]] TxStats stats() const noexcept override {
    return {packets_.value(), bytes_.value(), ring_full_.value(), rejected_.value(), this->bad_completions()};
  }

  /// Takes packets from the front until the ring is full; returns how many. Called with none, it only
  /// publishes and reclaims, and takes it that the lcore has time: the device is slower, and so it is helped
  /// with the next burst. `more`: the caller calls again soon, so a batch may be completed first.
  template <class Runs = NarrowRuns>
  [[nodiscard]] std::uint16_t burst(Packet** packets, std::uint16_t count, More more) noexcept {
    if (this->faulted()) [[unlikely]]
      return 0;
    const bool pressed = count == 0 || this->ring_.free() < count;
    if (pressed || this->ring_.held() >= most_done_) reclaim<Runs>(pressed ? 1 : enough_taken());
    const bool expected = expect_sent(count);
    Offer offer{.at = packets, .end = packets + count, .demotes = std::exchange(has_time_, count == 0)};
    while (offer.at != offer.end) {
      post_plain<Runs>(offer);
      if (offer.at == offer.end || !post_other(offer)) break;
    }
    const auto taken = static_cast<std::uint16_t>(offer.at - packets);
    const std::uint16_t posted = offer.posted;
    const std::uint64_t bytes = offer.bytes;
    if (posted != 0) {
      packets_.add(posted);
      bytes_.add(bytes);
      held_back_ = static_cast<std::uint16_t>(held_back_ + offer.descriptors);
    }
    publish(more, taken == count ? batch_ : std::uint16_t{1});
    if constexpr (!F.packed) {
      if (expected) this->ring_.glance(Base::kHarvest);
    }
    if (taken < count) [[unlikely]]
      ring_full_.add(static_cast<std::uint64_t>(count - taken));
    return taken;
  }

 private:
  using Base = typename TxQueue::Queue;
  /// How many packets are handled together: so many eighths of those that go round, as far as the ring has
  /// room for them, and not more than `most`.
  struct Share {
    std::uint16_t eighths;
    std::uint16_t most;
    [[nodiscard]] constexpr std::uint16_t of(const QueueParts<Packets>& parts) const noexcept {
      return std::clamp<std::uint16_t>(std::min(parts.going_round, parts.size) / 8 * eighths, 1, most);
    }
  };
  static constexpr Share kBatch{.eighths = F.packed ? 2 : 1, .most = 64};
  /// To take what was sent back late lets the device get ahead, so that a line of completions is written
  /// whole before it is read: most of all in a packed ring, where descriptors are written to the same line. A
  /// split RX ring is written anew unless just as many packets go round as it wants (rx_queue.hpp), so those
  /// that wait here are no more than a part of what it could lack.
  static constexpr Share kDone =
      F.packed ? Share{.eighths = 6, .most = 288} : Share{.eighths = 3, .most = 192};
  static constexpr std::uint16_t kNotSendable = 0;
  static constexpr std::uint32_t kMostHeaderBytes = F.offloads ? sizeof(HashHeader) : sizeof(NetHeader);
  [[nodiscard]] std::uint32_t header_bytes() const noexcept {
    return this->template net_header_bytes<F.offloads>();
  }

  /// Without more to come, the device is to see all now, and to be told if it sleeps: that takes a fence.
  /// With more to come whole batches are published, and a later call tells.
  void publish(More more, std::uint16_t batch) noexcept {
    if (more == More::kSoon) {
      if (held_back_ < batch) return;
      this->ring_.publish();
      if (this->ring_.notify_is_due()) this->ring_doorbell();
    } else {
      if (held_back_ == 0 && told_) return;
      this->ring_.publish();
      if (this->ring_.must_notify()) this->ring_doorbell();
    }
    told_ = more == More::kNo;
    held_back_ = 0;
  }

  /// Packets in the ring below which enough of those that were sent are taken back: all, but where so few may
  /// wait that the device is still busy with the last.
  [[nodiscard]] std::uint16_t enough_taken() const noexcept {
    return F.packed || most_done_ == kDone.most ? std::uint16_t{1}
                                                : static_cast<std::uint16_t>(most_done_ / 2);
  }
  /// Whether the next burst will want to know what was sent, and a device that sends as fast is to be asked
  /// during this one, of `count` packets; what says it is on its way then.
  [[nodiscard]] bool expect_sent(std::uint16_t count) const noexcept {
    if constexpr (F.packed) {
      return false;
    } else {
      return keeps_up_ && this->ring_.held() + count >= most_done_ && this->ring_.expect(Base::kHarvest);
    }
  }
  /// Gives the packets that the device has sent back to their pool, in batches, until fewer than `least` are
  /// held. To look after a full batch whether there are more takes a line that the device is writing.
  template <class Runs = NarrowRuns>
  void reclaim(std::uint16_t least = 1) noexcept {
    Reclaimed<Runs> reclaimed{*this};
    std::uint16_t found = 0;
    if constexpr (!F.packed) keeps_up_ = false;
    do {
      reclaimed.end = reclaimed.single.data();
      found = this->ring_.template harvest<Runs>(Base::kHarvest, Unseen{}, std::ref(reclaimed));
      if (reclaimed.end != reclaimed.single.data())
        this->cache_->recycle(std::span(reclaimed.single.data(), reclaimed.end));
      if (found == kBroken) [[unlikely]]
        return this->set_faulted();
      if constexpr (!F.packed) keeps_up_ |= found == Base::kHarvest;
    } while (found == Base::kHarvest && this->ring_.held() >= least);
  }
  /// What one harvest has found: packets of one segment; the others go back at once.
  template <class Runs>
  struct Reclaimed {
    TxQueue& queue;
    std::array<Packet*, Base::kHarvest> single;
    Packet** end = nullptr;

    explicit Reclaimed(TxQueue& of) noexcept : queue(of) {}

    template <std::size_t kCount>
    void operator()(const std::array<Packet*, kCount>& run,
                    const std::array<std::uint32_t, kCount>& /*lengths*/) noexcept {
      copy_run<Runs, kCount>(end, run.data());
      end += kCount;
    }
    void operator()(Packet* head, std::uint32_t /*length*/, std::uint16_t descriptors) noexcept {
      if (descriptors == 1) [[likely]] {
        *end++ = head;
      } else {
        queue.free_chain(head);
      }
    }
  };

  /// One segment, room for the header, no offload: nearly every packet.
  [[nodiscard]] bool is_plain(const Packet& packet) const noexcept {
    return Packets::segments(packet) == 1 && Packets::next(packet) == nullptr &&
           Packets::data_length(packet) != 0 && Packets::tx_offloads(packet) == 0 && header_fits(packet);
  }
  [[nodiscard]] bool header_fits(const Packet& packet) const noexcept {
    return Packets::headroom(packet) >= header_bytes();
  }
  /// The pieces that a packet is sent as. What the ring could never take, or what asks for an offload that
  /// was not negotiated, is refused, not sent wrongly. A chain has as many segments as its head counts, none
  /// of them empty (virtio 1.2, 2.7.5: a descriptor has a length).
  [[nodiscard]] std::uint16_t pieces_of(Packet& head) noexcept {
    const std::uint16_t segments = Packets::segments(head);
    const std::uint32_t pieces = segments + (header_fits(head) ? 0U : 1U);
    if (segments == 0 || !may_ask(head) || pieces > this->ring_.size() || pieces > kMaxPieces)
      return kNotSendable;
    const Packet* segment = &head;
    for (std::uint16_t left = segments; left > 0; --left) {
      if (segment == nullptr || Packets::data_length(*segment) == 0) return kNotSendable;
      segment = Packets::next(*segment);
    }
    return segment == nullptr ? static_cast<std::uint16_t>(pieces) : kNotSendable;
  }

  /// Whether the packet's request may be sent; the header for it is kept for post_pieces().
  [[nodiscard]] bool may_ask(Packet& head) noexcept {
    if constexpr (F.offloads) {
      return describe_request(Packets::tx_request(head), {Packets::data(head), Packets::data_length(head)},
                              Packets::frame_length(head), this->rules_, asked_) &&
             (Packets::tx_offloads(head) == 0 || header_fits(head) || header_fits_behind(head));
    }
    return Packets::tx_offloads(head) == 0;
  }
  /// A header of a packet's own that does not fit in front of the frame goes behind it.
  [[nodiscard]] bool header_fits_behind(Packet& head) const noexcept {
    const std::byte* const end = Packets::buffer(head) + Packets::capacity(head);
    return end - (Packets::data(head) + Packets::data_length(head)) >= std::ptrdiff_t{header_bytes()};
  }
  void write_header(Packet& head, std::byte* at) noexcept {
    clear_header(at);
    if constexpr (F.offloads) {
      std::memcpy(at, &asked_, sizeof(asked_));
      complete_pseudo_header(Packets::tx_request(head), Packets::data(head), Packets::frame_length(head));
    }
  }

  /// What says nothing; of a length that the compiler knows, since this is done for each packet.
  void clear_header(std::byte* at) const noexcept {
    std::memset(at, 0, sizeof(NetHeader));
    if (header_bytes() == sizeof(HashHeader))
      std::memset(at + sizeof(NetHeader), 0, sizeof(HashHeader) - sizeof(NetHeader));
  }

  /// The packets of a burst that are still to be posted, and what was.
  struct Offer {
    Packet** at;
    Packet** end;
    bool demotes;                   ///< what was written of plain ones
    std::uint16_t posted = 0;       ///< packets
    std::uint16_t descriptors = 0;  ///< of the ring
    std::uint64_t bytes = 0;
  };
  /// Plain packets from the front, for Ring::post().
  struct PlainPackets {
    Packet** at;
    const TxQueue& queue;
    std::uint64_t bytes = 0;

    template <class Runs, std::uint16_t kCount>
    [[nodiscard]] bool run(PostingRun<Packet, kCount>& run) noexcept {
      run.packets = at;
      if (!place_run<Runs>(run) && !describe_run<Runs>(run)) [[unlikely]]
        return false;
      at += kCount;
      return true;
    }
    [[nodiscard]] bool one(Posting<Packet>& buffer) noexcept {
      Packet& packet = **at;
      if (!queue.is_plain(packet)) [[unlikely]]
        return false;
      ++at;
      buffer = {&packet, (*this)(packet)};
      return true;
    }
    /// Where a plain packet lies with its header, which is written.
    [[nodiscard]] Extent operator()(Packet& packet) noexcept {
      const std::uint32_t length = Packets::data_length(packet);
      bytes += length;
      return {Packets::iova(packet, clear_header(packet), *queue.table_), queue.header_bytes() + length};
    }

   private:
    std::byte* clear_header(Packet& packet) const noexcept {
      std::byte* const header = Packets::data(packet) - queue.header_bytes();
      queue.clear_header(header);
      return header;
    }
    /// A run of plain packets of the queue's own pool, by vectors. False: it is none, or there are no such
    /// vectors.
    template <class Runs, std::uint16_t kCount>
    [[nodiscard]] bool place_run(PostingRun<Packet, kCount>& run) noexcept {
      if constexpr (requires {
                      mempool::place_plain<Runs, kCount, kMostHeaderBytes>(run.packets, queue.place_, 0,
                                                                           nullptr, nullptr);
                    }) {
        if (!mempool::place_plain<Runs, kCount, kMostHeaderBytes>(
                run.packets, queue.place_, queue.header_bytes(), run.addresses.data(), run.lengths.data()))
            [[unlikely]]
          return false;
        bytes += Runs::template sum<kCount>(run.lengths.data()) - kCount * queue.header_bytes();
#pragma GCC unroll 8
        for (std::size_t i = 0; i < kCount; ++i) clear_header(*run.packets[i]);
        return true;
      }
      return false;
    }
    /// A run of any plain packets. False: it is none.
    template <class Runs, std::uint16_t kCount>
    [[nodiscard]] bool describe_run(PostingRun<Packet, kCount>& run) noexcept {
      if (!std::all_of(at, at + kCount, [this](const Packet* packet) { return queue.is_plain(*packet); }))
          [[unlikely]]
        return false;
      run.template describe<Runs>(*this);
      return true;
    }
  };
  /// Plain packets up to the first that is not, as many as the ring takes.
  template <class Runs>
  void post_plain(Offer& offer) noexcept {
    PlainPackets list{offer.at, *this};
    const auto most =
        static_cast<std::uint16_t>(std::min<std::ptrdiff_t>(offer.end - offer.at, this->ring_.free()));
    const std::uint16_t posted = this->ring_.template post<Runs>(most, list);
    if (offer.demotes) [[unlikely]]
      demote_frames({offer.at, list.at});
    offer.at = list.at;
    offer.posted = static_cast<std::uint16_t>(offer.posted + posted);
    offer.descriptors = static_cast<std::uint16_t>(offer.descriptors + posted);
    offer.bytes += list.bytes;
  }
  /// Of packets that are posted and not published: the header's line and the next, where the frame's own
  /// headers end at the latest.
  [[gnu::cold]] [[gnu::noinline]] void demote_frames(std::span<Packet*> packets) const noexcept {
    for (Packet* const packet : packets) {
      const std::byte* const header = Packets::data(*packet) - header_bytes();
      demote(header);
      demote(header + kCacheLine);
    }
  }
  /// A packet that is not plain, or has no room in the ring: then false. Compiled once, not for each width of
  /// vectors.
  [[nodiscard]] [[gnu::noinline]] bool post_other(Offer& offer) noexcept {
    Packet& packet = **offer.at;
    const std::uint16_t pieces = pieces_of(packet);
    if (pieces == kNotSendable) {
      rejected_.add(1);
      this->free_chain(&packet);
    } else {
      // burst() has counted packets: a chain may find too little room with much of it to be taken back.
      const std::uint16_t descriptors = tables_.places(pieces);
      if (descriptors > this->ring_.free() && descriptors > 1) reclaim();
      if (descriptors > this->ring_.free()) return false;
      offer.bytes += Packets::frame_length(packet);
      post_pieces(packet, pieces);
      ++offer.posted;
      offer.descriptors = static_cast<std::uint16_t>(offer.descriptors + descriptors);
    }
    ++offer.at;
    return true;
  }

  /// A frame of several segments, or one whose headroom is too small for the header.
  [[gnu::noinline]] void post_pieces(Packet& head, std::uint16_t count) noexcept {
    std::array<Piece, kMaxPieces> pieces;
    std::size_t used = 0;
    std::uint32_t prepended = 0;
    if (header_fits(head)) {
      prepended = header_bytes();
      write_header(head, Packets::data(head) - prepended);
    } else if (!F.offloads || Packets::tx_offloads(head) == 0) {
      pieces[used++] = {empty_header_, header_bytes(), 0};
    } else {
      std::byte* const behind = Packets::data(head) + Packets::data_length(head);
      write_header(head, behind);
      pieces[used++] = {Packets::iova(head, behind, *this->table_), header_bytes(), 0};
    }
    for (Packet* segment = &head; used < count; segment = Packets::next(*segment)) {
      pieces[used++] = {Packets::iova(*segment, Packets::data(*segment) - prepended, *this->table_),
                        prepended + Packets::data_length(*segment), 0};
      prepended = 0;
    }
    const auto all = std::span<const Piece>(pieces).first(used);
    if (tables_.hold(used)) {
      this->ring_.post_table(
          head, [this, all](std::uint16_t id) { return tables_.template write<F.packed>(id, all); });
    } else {
      this->ring_.post_chain(head, all);
    }
  }

  IndirectTables tables_;
  NetHeader asked_{};  ///< what the packet at hand asks for
  Iova empty_header_;
  [[no_unique_address]] Place<Packets> place_;  ///< of the cache's packets
  std::uint16_t batch_;          ///< descriptors that are published together while there are more to come
  std::uint16_t most_done_;      ///< packets in the ring from which those that were sent are taken back
  std::uint16_t held_back_ = 0;  ///< posted and not published
  bool has_time_ = false;        ///< the lcore, before the next burst
  bool keeps_up_ = false;        ///< split: the device had sent a whole batch when that was last looked for
  bool told_ = true;             ///< the device knows of all that was published, or did not ask
  Counter packets_;
  Counter bytes_;
  Counter ring_full_;
  Counter rejected_;
};

}  // namespace spinring::pmd::virtio
