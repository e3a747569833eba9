#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <type_traits>

#include "base/cpu.hpp"
#include "pmd/e1000/descriptors.hpp"
#include "pmd/e1000/queue.hpp"
#include "pmd/port.hpp"

namespace spinring::pmd::e1000 {

/// What an RX loop is specialised by. A structural type: each value is one instantiation.
struct RxFeatures {
  RxFormat format = RxFormat::kLegacy;
  bool notes = false;  ///< something of what the device says of a frame was asked for
  constexpr bool operator==(const RxFeatures&) const = default;
};

/// What an RX queue is told of its frames.
struct RxSettings {
  std::uint16_t fill = 0;           ///< QueueConfig::fill
  std::uint16_t buffer = 0;         ///< bytes that the device writes into each packet at most
  std::uint32_t longest_frame = 0;  ///< bytes without FCS
  std::uint32_t notes = 0;          ///< mempool::OffloadBits that may be set in a received packet
};

/// Packets that the longest frame takes.
[[nodiscard]] constexpr std::uint32_t buffers_per_frame(const RxSettings& settings) noexcept {
  return (settings.longest_frame + settings.buffer - 1) / settings.buffer;
}

/// An RX queue of any features, for the control plane.
class RxQueueControl : public QueueControl {
 public:
  /// Offers as many packets as the ring is kept filled with and the pool has. The device runs.
  virtual void fill() noexcept = 0;
  [[nodiscard]] virtual RxStats stats() const noexcept = 0;
};

template <RxFormat F>
using RxDescriptor = std::conditional_t<F == RxFormat::kLegacy, LegacyRxDescriptor, ExtendedRxDescriptor>;

/// The receive loop of the family. The device completes descriptors in order; a frame longer than a buffer
/// takes several, of which the last has EOP.
template <PacketPool Packets, RxFeatures F>
class RxQueue final : public Queue<Packets, RxDescriptor<F.format>, RxQueueControl> {
 public:
  using Packet = typename Packets::Packet;

  RxQueue(QueueParts<Packets>&& parts, const RxSettings& settings)
      : RxQueue::Queue(std::move(parts)), settings_(settings) {
    // RDT = RDH is an empty ring: one slot stays free.
    const auto most = static_cast<std::uint16_t>(this->size_ - 1);
    fill_ = settings.fill == 0 ? most : std::min(settings.fill, most);
    // A device waits for as many buffers as a frame takes: so many it must have before we wait for it.
    const auto frame =
        static_cast<std::uint16_t>(std::min<std::uint32_t>(buffers_per_frame(settings), fill_));
    low_water_ = std::max<std::uint16_t>(fill_ / 2, frame);
    threshold_ = static_cast<std::uint16_t>(std::clamp(fill_ / 8, 1, std::min(128, fill_ - frame + 1)));
  }
  ~RxQueue() override { give_back(); }

  /// Each is a single buffer whose `next` nobody has set: it must not be followed.
  void give_back() noexcept override {
    this->set_stopped();
    for (; held_ != 0; --held_) {
      this->cache_->put({&this->packets_[next_], 1});
      next_ = this->after(next_);
    }
    this->free_chain(std::exchange(head_, nullptr));
  }
  void fill() noexcept override {
    const std::uint16_t posted = give(fill_, [this](auto out) { return this->cache_->get(out); });
    if (posted < fill_) refill_short_.add(1);
    this->publish(tail_);
  }
  [[nodiscard]] RxStats stats() const noexcept override {
    return {packets_received_.value(), bytes_.value(), bad_.value(), truncated_.value(),
            refill_short_.value()};
  }

  /// Up to `count` frames into `out`. Bounded by the packets that the device holds, whatever it writes.
  [[nodiscard]] std::uint16_t burst(Packet** out, std::uint16_t count) noexcept {
    if (rests()) return 0;
    return busy_burst(out, count);
  }

 private:
  using Base = typename RxQueue::Queue;

  /// Packets that the device could hold in addition.
  [[nodiscard]] std::uint16_t missing() const noexcept { return static_cast<std::uint16_t>(fill_ - held_); }
  /// Whether a batch of packets is missing, and there may be some: what is missing may wait in the TX ring,
  /// and only a ring that runs low takes more of the pool.
  [[nodiscard]] bool can_refill() const noexcept {
    return missing() >= threshold_ && (this->cache_->reusable() != 0 || held_ <= low_water_);
  }
  /// Whether a burst has nothing to do, not even for the ring's sake.
  [[nodiscard]] bool rests() const noexcept {
    if (this->stopped()) [[unlikely]]
      return true;
    return (held_ == 0 || !this->descriptors_[next_].done()) && !can_refill();
  }
  /// Apart from burst(), so that a poll which finds nothing is over before registers are saved for the loop.
  [[nodiscard, gnu::noinline]] std::uint16_t busy_burst(Packet** out, std::uint16_t count) noexcept {
    std::uint16_t received = 0;
    std::uint64_t bytes = 0;
    while (received < count) {
      const auto most = std::min<std::uint16_t>(static_cast<std::uint16_t>(count - received), Base::kHarvest);
      const std::uint16_t found = completed(std::min(most, held_));
      for (std::uint16_t i = 0; i < found; ++i) {
        Packet* const head = take(*this->packets_[next_], this->descriptors_[next_].read());
        next_ = this->after(next_);
        if (head == nullptr) [[unlikely]]
          continue;
        bytes += Packets::frame_length(*head);
        out[received++] = head;
      }
      held_ = static_cast<std::uint16_t>(held_ - found);
      if (found < most) break;
    }
    if (received != 0) {
      packets_received_.add(received);
      bytes_.add(bytes);
    }
    if (can_refill()) refill();
    return received;
  }

  /// Completed descriptors from the next on, with what is touched of their frames on the way.
  [[nodiscard]] std::uint16_t completed(std::uint16_t most) const noexcept {
    std::uint16_t found = 0;
    for (std::uint16_t at = next_; found < most && this->descriptors_[at].done(); at = this->after(at)) {
      Packet* const packet = this->packets_[at];
      prefetch_write(packet);
      prefetch_write(Packets::buffer(*packet) + Packets::headroom_wanted());
      ++found;
    }
    return found;
  }

  /// The frame that ends with this descriptor; nullptr if none does, or a bad one.
  [[nodiscard]] Packet* take(Packet& packet, const RxWriteBack& said) noexcept {
    constexpr std::uint32_t kJudged = RxWriteBack::kEop | RxWriteBack::kFrameErrors;
    if ((said.status & kJudged) != RxWriteBack::kEop || head_ != nullptr || skipping_ ||
        said.length < kShortestFrame || said.length > settings_.buffer ||
        said.length > settings_.longest_frame) [[unlikely]]
      return take_part(packet, said);
    Packets::set_received(packet, Packets::headroom_wanted(), said.length);
    note(packet, said);
    return &packet;
  }

  /// A piece of a longer frame, or one that the device may not have written. A bad piece takes the whole
  /// frame with it, to its EOP.
  [[gnu::noinline]] Packet* take_part(Packet& packet, RxWriteBack said) noexcept {
    const bool last = (said.status & RxWriteBack::kEop) != 0;
    const std::uint32_t before = head_ == nullptr ? 0 : Packets::frame_length(*head_);
    const bool bad =
        said.length == 0 || said.length > settings_.buffer ||
        (last && ((said.status & RxWriteBack::kFrameErrors) != 0 || before + said.length < kShortestFrame));
    if (bad || skipping_ || before + said.length > settings_.longest_frame) {
      if (!skipping_) (bad ? bad_ : truncated_).add(1);
      Packet* const bad_one = &packet;
      this->cache_->put({&bad_one, 1});
      this->free_chain(std::exchange(head_, nullptr));
      skipping_ = !last;
      return nullptr;
    }
    if (head_ == nullptr) {
      Packets::set_received(packet, Packets::headroom_wanted(), said.length);
      head_ = &packet;
    } else {
      Packets::append(*head_, *end_, packet, Packets::headroom_wanted(), said.length);
    }
    end_ = &packet;
    if (!last) return nullptr;
    Packet* const head = std::exchange(head_, nullptr);
    note(*head, said);
    return head;
  }

  void note(Packet& packet, const RxWriteBack& said) noexcept {
    if constexpr (F.notes) {
      RxNotes notes{.rss_hash = said.hash, .vlan_tci = said.vlan};
      if ((said.status & RxWriteBack::kIxsm) == 0) {
        if ((said.status & (RxWriteBack::kL4e | RxWriteBack::kIpe)) != 0) {
          notes.offloads |= mempool::kRxChecksumBad;
        } else if ((said.status & RxWriteBack::kL4cs) != 0) {
          notes.offloads |= mempool::kRxChecksumGood;
        }
      }
      if ((said.status & RxWriteBack::kVp) != 0) notes.offloads |= mempool::kRxVlanStripped;
      if ((said.status & RxWriteBack::kTs) != 0) notes.offloads |= mempool::kRxTimestampKept;
      if (said.hashed) notes.offloads |= mempool::kRxHashValid;
      notes.offloads &= settings_.notes;
      Packets::note(packet, notes);
    }
  }

  /// Gives the device packets. Those that a TX queue of this lcore recycled come first.
  void refill() noexcept {
    const std::uint16_t wanted = missing();
    std::uint16_t posted = give(wanted, [this](auto out) { return this->cache_->reuse(out); });
    if (held_ <= low_water_ && posted < wanted) {
      posted += give(wanted - posted, [this](auto out) { return this->cache_->get(out); });
      if (posted < wanted) [[unlikely]]
        refill_short_.add(1);
    }
    if (posted != 0) this->publish(tail_);
  }
  /// Offers up to `wanted` packets that `pick` gets; returns how many.
  template <class Pick>
  std::uint16_t give(std::uint32_t wanted, Pick pick) noexcept {
    return post_in_batches<Packets>(wanted, pick, [this](std::span<Packet*> fresh) {
      for (Packet* packet : fresh) {
        const void* start = Packets::buffer(*packet) + Packets::headroom_wanted();
        this->descriptors_[tail_].offer(Packets::iova(*packet, start, *this->table_));
        this->packets_[tail_] = packet;
        tail_ = this->after(tail_);
      }
      held_ = static_cast<std::uint16_t>(held_ + fresh.size());
    });
  }

  RxSettings settings_;
  std::uint16_t fill_;       ///< packets that the device holds at most
  std::uint16_t low_water_;  ///< and at least, as long as the pool has some
  std::uint16_t threshold_;  ///< missing ones that are worth a refill
  std::uint16_t next_ = 0;   ///< the slot that is completed next
  std::uint16_t tail_ = 0;   ///< the slot that is offered next
  std::uint16_t held_ = 0;
  bool skipping_ = false;   ///< the frame's beginning was dropped: so is the rest
  Packet* head_ = nullptr;  ///< the frame whose EOP has not come yet
  Packet* end_ = nullptr;   ///< its last piece
  Counter packets_received_;
  Counter bytes_;
  Counter bad_;
  Counter truncated_;
  Counter refill_short_;
};

}  // namespace spinring::pmd::e1000
