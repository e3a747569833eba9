#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <functional>
#include <numeric>
#include <span>
#include <type_traits>
#include <utility>

#include "base/cpu.hpp"
#include "pmd/port.hpp"
#include "pmd/virtio/queue.hpp"
#include "pmd/virtio/rx_buffers.hpp"

namespace spinring::pmd::virtio {

/// What an RX loop is specialised by. A structural type: each value is one instantiation.
struct RxFeatures {
  bool packed = false;     ///< VIRTIO_F_RING_PACKED
  bool in_order = false;   ///< VIRTIO_F_IN_ORDER
  bool mergeable = false;  ///< VIRTIO_NET_F_MRG_RXBUF: a frame may span several buffers
  bool offloads = false;   ///< headers say something: checksums, segments, hashes

  static constexpr unsigned kCombinations = 16;
  static constexpr RxFeatures from_index(unsigned index) {
    return {.packed = (index & 1U) != 0,
            .in_order = (index & 2U) != 0,
            .mergeable = (index & 4U) != 0,
            .offloads = (index & 8U) != 0};
  }
  [[nodiscard]] constexpr unsigned index() const {
    return (packed ? 1U : 0U) | (in_order ? 2U : 0U) | (mergeable ? 4U : 0U) | (offloads ? 8U : 0U);
  }
  constexpr bool operator==(const RxFeatures&) const = default;
};

/// An RX queue of any features, for the control plane.
class RxQueueControl : public QueueControl {
 public:
  /// Offers as many packets as the ring is kept filled with and the pool has; before the first burst.
  virtual void fill() noexcept = 0;
  /// Packets that are to go round between it and a TX queue.
  [[nodiscard]] virtual std::uint16_t going_round() const noexcept = 0;
  [[nodiscard]] virtual RxStats stats() const noexcept = 0;
};

/// The receive loop. RX descriptors point into pool packets at device_start(): the device writes the net
/// header there and the frame behind it.
template <PacketPool Packets, RxFeatures F>
class RxQueue final
    : public Queue<Packets, RingOf<typename Packets::Packet, F.packed, RingFeatures{.in_order = F.in_order}>,
                   RxQueueControl> {
 public:
  using Packet = typename Packets::Packet;

  explicit RxQueue(QueueParts<Packets>&& parts)
      : RxQueue::Queue(std::move(parts)),
        start_(device_start<Packets>(parts.aligned_frames, header_bytes())),
        fill_(parts.fill == 0 ? this->ring_.size() : std::min(parts.fill, this->ring_.size())),
        refill_threshold_(std::clamp<std::uint16_t>(fill_ / 8, 1, 128)),
        enough_(enough()),
        buffers_(*this->cache_, *this->table_, start_) {}
  ~RxQueue() override { give_back(); }

  /// Each is a single buffer whose `next` nobody has set: it must not be followed.
  void give_back() noexcept override {
    this->set_faulted();
    this->ring_.release_all([this](Packet* packet) { this->cache_->put({&packet, 1}); });
  }
  [[nodiscard]] std::uint16_t going_round() const noexcept override { return enough_; }
  void fill() noexcept override {
    const std::uint16_t posted = give<NarrowRuns>(fill_, [this](auto out) { return this->cache_->get(out); });
    borrowed_ = posted;
    joining_ = out_of_step();
    if (posted < fill_) refill_short_.add(1);
    this->ring_.publish();
  }
  [[nodiscard]] RxStats stats() const noexcept override {
    return {packets_.value(), bytes_.value(), bad_lengths_.value() + this->bad_completions(),
            truncated_.value(), refill_short_.value()};
  }

  /// Up to `count` frames into `out`. Bounded by `count`, whatever the device writes.
  [[nodiscard]] std::uint16_t burst(Packet** out, std::uint16_t count) noexcept {
    if (rests()) return 0;
    return narrow_busy_burst(out, count);
  }
  /// Whether a burst has nothing to do, not even for the ring's sake.
  [[nodiscard]] bool rests() const noexcept {
    if (this->faulted()) [[unlikely]]
      return true;
    return !this->ring_.has_completions() && this->ring_.settled() && !can_refill();
  }
  /// The burst of a queue that does not rest.
  template <class Runs>
  [[nodiscard]] std::uint16_t busy_burst(Packet** out, std::uint16_t count) noexcept {
    if (this->ring_.notify_is_due()) [[unlikely]]
      this->ring_doorbell();
    Received<Runs> frames(*this, out);
    while (frames.end != out + count) {
      const auto most =
          std::min<std::uint16_t>(static_cast<std::uint16_t>(out + count - frames.end), Base::kHarvest);
      const std::uint16_t found = this->ring_.template harvest<Runs>(most, look_ahead(), std::ref(frames));
      if constexpr (kGathers) frames.settle();
      if (found == kBroken) [[unlikely]] {
        this->set_faulted();
        break;
      }
      if (found < most) break;
    }
    if constexpr (F.packed) {
      if (frames.end == out + count && fetches_next(count)) this->ring_.show_next(fetch());
    }
    if (F.mergeable && open_.missing != 0) [[unlikely]]
      give_up_frame();
    const auto received = static_cast<std::uint16_t>(frames.end - out);
    if (received != 0) {
      packets_.add(received);
      bytes_.add(frames.bytes - std::uint64_t{received} * header_bytes());
    }
    if (can_refill()) refill<Runs>();
    // With time to spare for the fence: so no later poll need look whether the device asks.
    if (received == 0 && !this->ring_.settled() && this->ring_.must_notify()) this->ring_doorbell();
    return received;
  }

 private:
  using Base = typename RxQueue::Queue;
  static constexpr std::size_t kMostSurplus = 64;  ///< that one refill gives back
  /// In rings that have as many entries: with fewer packets between RX and TX ring each side waits for the
  /// lines of the other at every handing over.
  static constexpr std::uint16_t kEnough = 256;
  static constexpr std::uint16_t kFew = 64;  ///< left, where enough go round: two bursts, as a rule
  [[nodiscard]] std::uint32_t header_bytes() const noexcept {
    return this->template net_header_bytes<F.offloads>();
  }
  /// A frame has an Ethernet header: what is shorter is none.
  [[nodiscard]] std::uint32_t minimum_length() const noexcept { return header_bytes() + detail::kMacHeader; }

  /// A split ring's go round in step only if their number divides the ring's: both are powers of two. Of a
  /// packed one's half as many again may wait in the TX ring.
  [[nodiscard]] std::uint16_t enough() const noexcept {
    const std::uint16_t here = std::min(this->ring_.size(), kEnough);
    if constexpr (kStepsMatter) return std::bit_ceil(std::max(fill_, here));
    return std::max(fill_, static_cast<std::uint16_t>(here + here / 2));
  }
  /// Packets that the device could hold in addition.
  [[nodiscard]] std::uint32_t missing() const noexcept { return fill_ - this->ring_.held(); }
  /// Whether a batch of packets is missing, and there may be some: what is missing may wait in the TX ring,
  /// and only a ring that runs low takes more of the pool.
  [[nodiscard]] bool can_refill() const noexcept {
    return missing() >= refill_threshold_ && (this->cache_->reusable() != 0 || runs_low(this->ring_.held()));
  }

  /// Apart from burst(), so that a poll which finds nothing, as most do where the device is the limit, is
  /// over before registers are saved for the loop.
  [[nodiscard]] [[gnu::noinline]] std::uint16_t narrow_busy_burst(Packet** out,
                                                                  std::uint16_t count) noexcept {
    return busy_burst<NarrowRuns>(out, count);
  }
  /// Has the line on its way that the device wrote and the application reads first.
  struct Fetch {
    std::uint32_t frame;  ///< where it begins in a buffer

    void operator()(Packet& packet) const noexcept { prefetch_write(Packets::buffer(packet) + frame); }
  };
  [[nodiscard]] Fetch fetch() const noexcept { return {start_ + header_bytes()}; }
  [[nodiscard]] auto look_ahead() const noexcept {
    if constexpr (F.packed) {
      return Unseen();
    } else {
      return fetch();
    }
  }
  /// A split ring is not written where the same packet comes as the last time: in order to a descriptor,
  /// which names it already, otherwise to an entry of the available ring.
  static constexpr bool kStepsMatter = !F.packed;
  static constexpr std::uint32_t kRounds = 8;  ///< of the ring, from one count to the next
  /// What the buffers' headers say is read when all of a burst are known and their lines on their way.
  static constexpr bool kGathers = F.mergeable || F.offloads;
  /// Whether the next burst's first frames are fetched at the end of one of so many. A packed ring's
  /// descriptors are the completions: to look ahead is to read a line that the device may be about to write.
  /// That pays if the frames of one burst are too few to come together, or headers are waited for.
  [[nodiscard]] static bool fetches_next(std::uint16_t burst) noexcept {
    return burst < Base::kHarvest / 2 || (kGathers && !F.in_order);
  }

  /// Buffers that one harvest has found.
  struct Gathered {
    static constexpr std::size_t kRun = RingBook<Packet, RingFeatures{.in_order = F.in_order}>::kRun;
    std::array<Packet*, Base::kHarvest> packets;
    std::array<std::uint32_t, Base::kHarvest> lengths;
    std::size_t count = 0;

    template <class Runs, std::size_t kCount>
    void add(const std::array<Packet*, kCount>& run,
             const std::array<std::uint32_t, kCount>& of_run) noexcept {
      copy_run<Runs, kCount>(&packets[count], run.data());
      copy_run<Runs, kCount>(&lengths[count], of_run.data());
      count += kCount;
    }
    void add(Packet* packet, std::uint32_t length) noexcept {
      packets[count] = packet;
      lengths[count++] = length;
    }
  };
  /// What a burst has found.
  template <class Runs>
  struct Received {
    RxQueue& queue;
    Packet** end;
    std::uint64_t bytes = 0;  ///< each frame's header included
    std::conditional_t<kGathers, Gathered, Unseen> gathered;

    Received(RxQueue& of, Packet** out) noexcept : queue(of), end(out) {}

    template <std::size_t kCount>
    void operator()(const std::array<Packet*, kCount>& run,
                    const std::array<std::uint32_t, kCount>& lengths) noexcept {
      if constexpr (F.packed) {
        for (Packet* const packet : run) queue.fetch()(*packet);
      }
      if constexpr (kGathers) {
        gathered.template add<Runs>(run, lengths);
      } else {
        take_run<kCount>(run.data(), lengths.data());
      }
    }
    void operator()(Packet* packet, std::uint32_t length, std::uint16_t /*descriptors*/) noexcept {
      if constexpr (F.packed) queue.fetch()(*packet);
      if constexpr (kGathers) {
        gathered.add(packet, length);
      } else {
        take(packet, length);
      }
    }
    /// Makes frames of what was gathered.
    void settle() noexcept requires kGathers {
      constexpr std::size_t kRun = Gathered::kRun;
      std::size_t at = 0;
      for (; at + kRun <= gathered.count; at += kRun)
        take_run<kRun>(&gathered.packets[at], &gathered.lengths[at]);
      for (; at < gathered.count; ++at) take(gathered.packets[at], gathered.lengths[at]);
      gathered.count = 0;
    }

   private:
    template <std::size_t kCount>
    void take_run(Packet* const* run, const std::uint32_t* lengths) noexcept {
      if (!queue.is_open() && queue.template accept_run<Runs, kCount>(run, lengths) && are_whole<kCount>(run))
          [[likely]] {
        add_run<kCount>(run, lengths);
      } else {
        take_each<kCount>(run, lengths);
      }
    }
    /// From copies, which are made here: so a run that is taken at once need not be in memory.
    template <std::size_t kCount>
    void take_each(Packet* const* run, const std::uint32_t* lengths) noexcept {
      std::array<Packet*, kCount> packets;
      std::array<std::uint32_t, kCount> of_each;
      copy_run<Runs, kCount>(packets.data(), run);
      copy_run<Runs, kCount>(of_each.data(), lengths);
      for (std::size_t i = 0; i < kCount; ++i) take(packets[i], of_each[i]);
    }
    template <std::size_t kCount>
    [[nodiscard]] bool are_whole(Packet* const* run) const noexcept {
      std::uint16_t any = 0;
      std::uint16_t all = 1;
#pragma GCC unroll 8
      for (std::size_t i = 0; i < kCount; ++i) {
        const std::uint16_t buffers = queue.buffers_of(*run[i]);
        any |= buffers;
        all &= buffers;
      }
      return any == 1 && all == 1;
    }
    /// add() of frames whose bytes are all there; stored as they will be loaded, if none can be dropped.
    template <std::size_t kCount>
    void add_run(Packet* const* frames, const std::uint32_t* lengths) noexcept {
      if constexpr (F.offloads) {
#pragma GCC unroll 8
        for (std::size_t i = 0; i < kCount; ++i) add(queue.finished(*frames[i]), lengths[i]);
      } else {
        copy_run<Runs, kCount>(end, frames);
        end += kCount;
        bytes += std::accumulate(lengths, lengths + kCount, std::uint64_t{0});
      }
    }
    void take(Packet* packet, std::uint32_t length) noexcept {
      Packet* const frame = queue.take(packet, length);
      add(frame,
          F.mergeable && frame != nullptr ? Packets::frame_length(*frame) + queue.header_bytes() : length);
    }
    /// A frame that is complete, or nullptr. `length`: its header included.
    void add(Packet* frame, std::uint32_t length) noexcept {
      if (frame == nullptr) [[unlikely]]
        return;
      bytes += length;
      *end++ = frame;
    }
  };

  /// A frame of several buffers of which some are still to come.
  struct OpenFrame {
    Packet* head = nullptr;
    Packet* tail = nullptr;
    std::uint16_t missing = 0;  ///< buffers
    bool whole = true;          ///< no buffer was bad
  };

  [[nodiscard]] bool is_open() const noexcept { return F.mergeable && open_.missing != 0; }
  /// virtio 1.2, 5.1.6.4: buffers that the device has filled with the frame that begins in this one.
  [[nodiscard]] std::uint16_t buffers_of(Packet& packet) const noexcept {
    if constexpr (!F.mergeable) return 1;
    const auto* header = reinterpret_cast<const NetHeader*>(Packets::buffer(packet) + start_);
    return load_relaxed(header->num_buffers);
  }
  /// A buffer that the device has filled. Returns the frame that it completes, or nullptr.
  [[nodiscard]] Packet* take(Packet* packet, std::uint32_t length) noexcept {
    if (is_open()) [[unlikely]]
      return join(packet, length);
    if (!accept(*packet, length, minimum_length(), header_bytes())) [[unlikely]]
      return nullptr;
    if (const std::uint16_t buffers = buffers_of(*packet); buffers != 1) [[unlikely]]
      return open_frame(packet, buffers);
    return finished(*packet);
  }
  /// A frame whose bytes are all there. nullptr: the device says what it may not; dropped.
  [[nodiscard]] Packet* finished(Packet& head) noexcept {
    if constexpr (F.offloads) {
      if (!annotate(head)) [[unlikely]]
        return nullptr;
    }
    return &head;
  }
  /// accept() of a run. False: one of them may not be accepted, or has to be looked at alone.
  template <class Runs, std::size_t kCount>
  [[nodiscard]] bool accept_run(Packet* const* run, const std::uint32_t* lengths) const noexcept {
    if (refused(!Runs::template within<kCount>(lengths, minimum_length(), buffers_.shortest()))) return false;
    const auto skip = static_cast<std::uint16_t>(header_bytes());
    set_received_run<Packets, Runs, kCount>(run, static_cast<std::uint16_t>(start_ + skip), lengths, skip);
    return true;
  }
  /// Makes a segment of a buffer, `skip` bytes before its data. False: the device may not have written that
  /// length; the packet is freed.
  [[nodiscard]] bool accept(Packet& packet, std::uint32_t length, std::uint32_t minimum,
                            std::uint32_t skip) noexcept {
    if (refused(length < minimum || length > writable<Packets>(packet, start_))) [[unlikely]] {
      drop(packet);
      return false;
    }
    Packets::set_received(packet, static_cast<std::uint16_t>(start_ + skip),
                          static_cast<std::uint16_t>(length - skip));
    return true;
  }

  /// Gives a buffer back that has a bad length.
  [[gnu::cold]] [[gnu::noinline]] void drop(Packet& bad) noexcept {
    bad_lengths_.add(1);
    Packet* const packet = &bad;
    this->cache_->put({&packet, 1});
  }

  /// virtio 1.2, 5.1.6.4: the first of several buffers. They are completed together: if one is missing or
  /// bad, the frame is dropped with all that belongs to it.
  [[gnu::noinline]] Packet* open_frame(Packet* head, std::uint16_t buffers) noexcept {
    open_ = {head, head, static_cast<std::uint16_t>(buffers - 1), true};
    if (buffers == 0) give_up_frame();
    return nullptr;
  }
  /// A further buffer of the open frame; returns the frame if it was the last.
  [[gnu::noinline]] Packet* join(Packet* packet, std::uint32_t length) noexcept {
    --open_.missing;
    if (accept(*packet, length, 1, 0)) {
      Packets::append(*open_.head, *open_.tail, *packet, start_, Packets::data_length(*packet));
      open_.tail = packet;
    } else {
      open_.whole = false;
    }
    if (open_.missing != 0) return nullptr;
    if (!open_.whole) {
      give_up_frame();
      return nullptr;
    }
    return finished(*open_.head);
  }
  [[gnu::noinline]] void give_up_frame() noexcept {
    open_.missing = 0;
    truncated_.add(1);
    this->free_chain(open_.head);
  }

  /// What the device says of the frame goes into the packet. False: it says what it may not; dropped.
  [[nodiscard]] bool annotate(Packet& head) noexcept {
    const std::byte* const header = Packets::data(head) - header_bytes();
    RxNotes notes;
    if (!read_notes(*reinterpret_cast<const NetHeader*>(header), Packets::frame_length(head), this->rules_,
                    notes)) [[unlikely]] {
      bad_lengths_.add(1);
      this->free_chain(&head);
      return false;
    }
    if (header_bytes() == sizeof(HashHeader)) read_hash(*reinterpret_cast<const HashHeader*>(header), notes);
    if (notes.offloads != 0) Packets::note(head, notes);
    return true;
  }

  /// Gives the device packets. Those that a TX queue of this lcore recycled come first, in their order: so
  /// buffers keep their place in the ring.
  template <class Runs>
  void refill() noexcept {
    const std::uint16_t held = this->ring_.held();
    if (borrowed_ > enough_ && !runs_low(held)) [[unlikely]]
      give_surplus_back();
    const std::uint16_t wanted = fill_ - held;
    std::uint16_t posted = give<Runs>(wanted, [this](auto out) { return this->cache_->reuse(out); });
    came_back_ += posted;
    if constexpr (kStepsMatter) {
      if ((came_back_ & (kRounds * this->ring_.size() - 1U)) < posted) [[unlikely]]
        count_round();
    }
    if (runs_low(held + posted)) posted += borrow<Runs>(wanted - posted, is_starved(held + posted));
    if (posted != 0) this->ring_.publish();
  }
  /// Whether a ring that holds so many asks the pool for more: half full, and nearly empty once enough go
  /// round and come back. For it gets low as well while both sides are behind by turns, and more than enough
  /// would have to be described again and again, and given back.
  [[nodiscard]] bool runs_low(std::uint32_t held) const noexcept {
    const bool waits = borrowed_ >= enough_ && came_back_ >= fill_ / 8U;
    return held <= (waits ? std::min<std::uint32_t>(fill_ / 4U, kFew) : fill_ / 2U) || joining_;
  }
  /// Packets that an application keeps or drops are gone without a word. So now and then it is seen how many
  /// go round, and believed if it was so the last time: while packets are kept or dropped the number says
  /// nothing.
  [[gnu::cold]] [[gnu::noinline]] void count_round() noexcept {
    const std::uint16_t round = this->ring_.round();
    if (std::exchange(round_, round) != round || round == 0) return;
    borrowed_ = round;
    joining_ = out_of_step();
  }
  [[nodiscard]] bool is_starved(std::uint32_t held) const noexcept { return held <= fill_ / 16U; }
  /// Those that go round come to another place each time, unless their number divides the ring's.
  [[nodiscard]] bool out_of_step() const noexcept {
    return kStepsMatter && borrowed_ != 0 && borrowed_ < enough_ && this->ring_.size() % borrowed_ != 0;
  }
  /// Takes packets of the pool: as many as are enough to go round, but a starved ring all that it wants.
  template <class Runs>
  std::uint16_t borrow(std::uint32_t wanted, bool starved) noexcept {
    const std::uint32_t most =
        borrowed_ < enough_ && !starved ? std::min(wanted, enough_ - borrowed_) : wanted;
    const std::uint16_t posted = give<Runs>(most, [this](auto out) { return this->cache_->get(out); });
    borrowed_ = std::min(borrowed_ + posted, 2U * enough_);
    came_back_ = 0;
    joining_ = posted == most && out_of_step();
    if (posted < most) [[unlikely]]
      refill_short_.add(1);
    return posted;
  }
  /// A time of shortage has left more packets in circulation than are enough: they take turns, and none
  /// comes back to the place that it had. Those that the application kept for itself are not told apart; at
  /// worst they cost another trip to the pool.
  [[gnu::cold]] [[gnu::noinline]] void give_surplus_back() noexcept {
    std::array<Packet*, kMostSurplus> surplus;
    const auto most = std::min<std::size_t>(borrowed_ - enough_, surplus.size());
    const std::size_t got = this->cache_->reuse(std::span(surplus).first(most));
    this->cache_->put(std::span(surplus).first(got));
    borrowed_ -= static_cast<std::uint32_t>(got);
  }
  /// Posts up to `wanted` packets that `take` gets; returns how many.
  template <class Runs, class Take>
  std::uint16_t give(std::uint32_t wanted, Take take) noexcept {
    return post_in_batches<Packets>(wanted, take, [this](std::span<Packet*> fresh) {
      this->ring_.template post_empty<Runs>(fresh, buffers_);
    });
  }

  std::uint16_t start_;  ///< device_start()
  std::uint16_t fill_;   ///< packets that the device holds at most
  std::uint16_t refill_threshold_;
  std::uint16_t enough_;  ///< packets that are to go round
  RxBuffers<Packets> buffers_;
  OpenFrame open_;
  std::uint32_t borrowed_ = 0;   ///< packets that this queue has brought into circulation, as far as it knows
  std::uint32_t came_back_ = 0;  ///< packets that were recycled since this queue last borrowed; it may wrap
  bool joining_ = false;         ///< borrows until they are in step
  std::uint16_t round_ = 0;      ///< what they were counted as
  Counter packets_;
  Counter bytes_;
  Counter bad_lengths_;
  Counter truncated_;
  Counter refill_short_;
};

}  // namespace spinring::pmd::virtio
