#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

#include "base/cpu.hpp"
#include "pmd/port.hpp"
#include "pmd/virtio/queue.hpp"

namespace spinring::pmd::virtio {

/// What an RX loop is specialised by. A structural type: each value is one instantiation.
struct RxFeatures {
  bool mergeable = false;  ///< VIRTIO_NET_F_MRG_RXBUF: a frame may span several buffers

  static constexpr unsigned kCombinations = 2;
  static constexpr RxFeatures from_index(unsigned index) { return {.mergeable = (index & 1U) != 0}; }
  [[nodiscard]] constexpr unsigned index() const { return mergeable ? 1U : 0U; }
  constexpr bool operator==(const RxFeatures&) const = default;
};

/// An RX queue of any features, for the control plane.
template <PacketPool Packets>
class RxQueueBase : public Queue<Packets> {
 public:
  using Queue<Packets>::Queue;
  virtual ~RxQueueBase() { give_back(); }

  /// Returns every packet that the device held; the device was reset. Each is a single buffer whose `next`
  /// nobody has set: it must not be followed.
  void give_back() noexcept {
    this->release_held([this](typename Packets::Packet* packet) { this->cache_->put({&packet, 1}); });
  }

  /// Offers as many packets as the ring takes and the pool has; before the first burst.
  void fill() noexcept { refill(1); }
  [[nodiscard]] RxStats stats() const noexcept {
    return {packets_.value(), bytes_.value(), bad_completions_.value(), truncated_.value(),
            refill_short_.value()};
  }
  /// True when a buffer of this pool cannot take a whole frame of `frame_bytes`.
  [[nodiscard]] static bool too_small(const typename Packets::Packet& packet,
                                      std::uint32_t frame_bytes) noexcept {
    return writable(packet) < sizeof(NetHeader) + frame_bytes;
  }

 protected:
  using Packet = typename Packets::Packet;
  static constexpr std::uint16_t kRefillBatch = 32;

  /// Bytes that the device may write into a buffer.
  [[nodiscard]] static std::uint32_t writable(const Packet& packet) noexcept {
    return std::uint32_t{Packets::capacity(packet)} - Packets::headroom_wanted();
  }

  /// Refills once `threshold` descriptors are free, in batches: one pool access and one publication for many
  /// packets.
  void refill(std::uint16_t threshold) noexcept {
    std::uint16_t free = this->ring_.free();
    if (free < threshold) return;
    bool posted = false;
    while (free >= threshold) {
      std::array<Packet*, kRefillBatch> fresh;
      const std::size_t wanted = std::min(free, kRefillBatch);
      const std::size_t got = this->cache_->get(std::span(fresh).first(wanted));
      for (Packet* packet : std::span(fresh).first(got)) post(*packet);
      posted |= got != 0;
      free = static_cast<std::uint16_t>(free - got);
      if (got < wanted) [[unlikely]] {
        refill_short_.add(1);
        break;
      }
    }
    if (posted) this->publish();
  }

  Counter packets_;
  Counter bytes_;
  Counter bad_completions_;
  Counter truncated_;
  Counter refill_short_;

 private:
  void post(Packet& packet) noexcept {
    const std::uint16_t id = this->ring_.take_id();
    this->slots_[id] = &packet;
    const void* start = Packets::buffer(packet) + Packets::headroom_wanted();
    this->ring_.describe(id, Packets::iova(packet, start, *this->table_), writable(packet), kDescWrite, 0);
    this->ring_.offer(id);
  }
};

/// The receive loop. RX descriptors point into pool packets at the wanted headroom: the device writes the net
/// header there and the frame behind it.
template <PacketPool Packets, RxFeatures F>
class RxQueue final : public RxQueueBase<Packets> {
 public:
  using Packet = typename Packets::Packet;

  explicit RxQueue(QueueParts<Packets>&& parts)
      : RxQueueBase<Packets>(std::move(parts)),
        refill_threshold_(std::clamp<std::uint16_t>(this->ring_.size() / 4, 1, this->kRefillBatch)) {}

  /// Up to `count` frames into `out`. Bounded by the completions that waited when it began.
  [[nodiscard]] std::uint16_t burst(Packet** out, std::uint16_t count) noexcept {
    const std::uint16_t waiting = this->ring_.completed();
    if (waiting == SplitRing::kBroken || this->faulted()) [[unlikely]] {
      this->set_faulted();
      return 0;
    }
    std::uint16_t taken = 0;
    std::uint16_t received = 0;
    std::uint64_t bytes = 0;
    while (taken < waiting && received < count) {
      prefetch(static_cast<std::uint16_t>(taken + kPrefetchAhead), waiting);
      Packet* const head = take(taken++, kMinimumLength, sizeof(NetHeader));
      if (head == nullptr) [[unlikely]]
        continue;
      if constexpr (F.mergeable) {
        if (!gather(*head, taken, waiting)) [[unlikely]]
          continue;
      }
      bytes += Packets::frame_length(*head);
      out[received++] = head;
    }
    if (taken != 0) {
      this->ring_.consume(taken);
      this->packets_.add(received);
      this->bytes_.add(bytes);
    }
    this->refill(refill_threshold_);
    return received;
  }

 private:
  static constexpr std::uint16_t kPrefetchAhead = 3;
  /// A frame has an Ethernet header: what is shorter is none.
  static constexpr std::uint32_t kMinimumLength = sizeof(NetHeader) + 14;

  /// Metadata and first line of a packet that the device has completed.
  void prefetch(std::uint16_t nth, std::uint16_t waiting) const noexcept {
    if (nth >= waiting) return;
    const std::uint32_t id =
        this->ring_.completion(nth).id & static_cast<std::uint32_t>(this->ring_.size() - 1);
    Packet* const packet = this->slots_[id];
    if (packet == nullptr) return;
    prefetch_write(packet);
    prefetch_read(Packets::buffer(*packet) + Packets::headroom_wanted());
  }

  /// The nth waiting completion as a segment, `skip` bytes before its data; nullptr if the device may not
  /// have written it so. The one place where a device-written id or length enters.
  [[nodiscard]] Packet* take(std::uint16_t nth, std::uint32_t minimum, std::uint32_t skip) noexcept {
    const Completion completion = this->ring_.completion(nth);
    Packet* const packet = this->claim(completion.id);
    if (packet == nullptr) [[unlikely]] {
      this->bad_completions_.add(1);
      return nullptr;
    }
    this->ring_.release_id(static_cast<std::uint16_t>(completion.id));
    if (completion.length < minimum || completion.length > this->writable(*packet)) [[unlikely]] {
      this->bad_completions_.add(1);
      this->cache_->put({&packet, 1});
      return nullptr;
    }
    Packets::set_received(*packet, static_cast<std::uint16_t>(Packets::headroom_wanted() + skip),
                          static_cast<std::uint16_t>(completion.length - skip));
    return packet;
  }

  /// virtio 1.2, 5.1.6.4: the other buffers of a frame that spans several. They are completed together with
  /// the first: if one is missing or bad, the frame is dropped with all that belongs to it.
  [[nodiscard]] bool gather(Packet& head, std::uint16_t& taken, std::uint16_t waiting) noexcept {
    const auto* header = reinterpret_cast<const NetHeader*>(Packets::data(head) - sizeof(NetHeader));
    const std::uint16_t buffers = load_relaxed(header->num_buffers);
    if (buffers == 1) [[likely]]
      return true;
    bool whole = buffers != 0;
    Packet* tail = &head;
    for (std::uint16_t left = static_cast<std::uint16_t>(buffers - 1); buffers != 0 && left > 0; --left) {
      Packet* const segment = taken < waiting ? take(taken++, 1, 0) : nullptr;
      if (segment == nullptr) {
        whole = false;
        if (taken == waiting) break;
        continue;
      }
      Packets::append(head, *tail, *segment, Packets::headroom_wanted(), Packets::data_length(*segment));
      tail = segment;
    }
    if (!whole) {
      this->truncated_.add(1);
      Packet* chain = &head;
      this->free_chain(chain);
    }
    return whole;
  }

  std::uint16_t refill_threshold_;
};

}  // namespace spinring::pmd::virtio
