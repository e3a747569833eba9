#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

#include "base/cpu.hpp"
#include "pmd/port.hpp"
#include "pmd/virtio/queue.hpp"

namespace spinring::pmd::virtio {

/// What a TX loop is specialised by. No feature of the split ring matters to it yet: one instantiation.
struct TxFeatures {
  static constexpr unsigned kCombinations = 1;
  static constexpr TxFeatures from_index(unsigned /*index*/) { return {}; }
  [[nodiscard]] constexpr unsigned index() const { return 0; }
  constexpr bool operator==(const TxFeatures&) const = default;
};

/// A TX queue of any features, for the control plane.
template <PacketPool Packets>
class TxQueueBase : public Queue<Packets> {
 public:
  using Packet = typename Packets::Packet;

  /// `empty_header` is sizeof(NetHeader) zero bytes in DMA memory, for packets without headroom; it outlives
  /// the queue.
  TxQueueBase(QueueParts<Packets>&& parts, Iova empty_header)
      : Queue<Packets>(std::move(parts)),
        next_id_(std::make_unique<std::uint16_t[]>(this->ring_.size())),
        descriptors_(std::make_unique<std::uint16_t[]>(this->ring_.size())),
        empty_header_(empty_header),
        reclaim_threshold_(static_cast<std::uint16_t>(this->ring_.size() / 2)) {}
  virtual ~TxQueueBase() { give_back(); }

  /// Returns every packet that the device held, with all segments; the device was reset.
  void give_back() noexcept {
    this->release_held([this](Packet* head) { this->free_chain(head); });
  }

  [[nodiscard]] TxStats stats() const noexcept {
    return {packets_.value(), bytes_.value(), ring_full_.value(), rejected_.value(),
            bad_completions_.value()};
  }

 protected:
  static constexpr std::size_t kFreeBatch = 64;

  /// Gives the packets that the device has sent back to their pool, in batches.
  void reclaim() noexcept {
    const std::uint16_t waiting = this->ring_.completed();
    if (waiting == SplitRing::kBroken) [[unlikely]]
      return this->set_faulted();
    std::array<Packet*, kFreeBatch> batch;
    std::size_t filled = 0;
    for (std::uint16_t nth = 0; nth < waiting; ++nth) {
      const std::uint32_t id = this->ring_.completion(nth).id;
      Packet* const head = this->claim(id);
      if (head == nullptr) [[unlikely]] {
        bad_completions_.add(1);
        continue;
      }
      release_descriptors(static_cast<std::uint16_t>(id));
      if (Packets::next(*head) != nullptr) [[unlikely]] {
        this->free_chain(head);
        continue;
      }
      batch[filled++] = head;
      if (filled == kFreeBatch) {
        this->cache_->put(batch);
        filled = 0;
      }
    }
    this->ring_.consume(waiting);
    if (filled != 0) this->cache_->put(std::span(batch).first(filled));
  }

  std::unique_ptr<std::uint16_t[]> next_id_;      ///< by id: next descriptor of its chain
  std::unique_ptr<std::uint16_t[]> descriptors_;  ///< by head id: descriptors in its chain
  Iova empty_header_;
  std::uint16_t reclaim_threshold_;
  Counter packets_;
  Counter bytes_;
  Counter ring_full_;
  Counter rejected_;
  Counter bad_completions_;

 private:
  /// The chain's links are the driver's own: what stands in the descriptor table is the device's to read, not
  /// ours to trust.
  void release_descriptors(std::uint16_t head) noexcept {
    std::uint16_t id = head;
    for (std::uint16_t left = descriptors_[head]; left > 1; --left) {
      const std::uint16_t next = next_id_[id];
      this->ring_.release_id(id);
      id = next;
    }
    this->ring_.release_id(id);
  }
};

/// The transmit loop. TX descriptors point into the caller's packet; its headroom takes the net header, so
/// that a frame of one segment is one descriptor.
template <PacketPool Packets, TxFeatures F>
class TxQueue final : public TxQueueBase<Packets> {
 public:
  using Packet = typename Packets::Packet;
  using TxQueueBase<Packets>::TxQueueBase;

  /// Takes packets from the front until the ring is full; returns how many. Called with none, it only
  /// reclaims.
  [[nodiscard]] std::uint16_t burst(Packet** packets, std::uint16_t count) noexcept {
    if (this->faulted()) [[unlikely]]
      return 0;
    if (count == 0 || this->ring_.free() < std::max(count, this->reclaim_threshold_)) this->reclaim();
    std::uint16_t taken = 0;
    std::uint16_t posted = 0;
    std::uint64_t bytes = 0;
    for (; taken < count; ++taken) {
      if (taken + 1 < count) prefetch_write(packets[taken + 1]);
      Packet& packet = *packets[taken];
      const std::uint16_t segments = Packets::segments(packet);
      if (!sendable(packet, segments)) [[unlikely]] {
        this->rejected_.add(1);
        this->free_chain(&packet);
        continue;
      }
      if (segments + 1 > this->ring_.free() && !fits(packet, segments)) break;
      bytes += Packets::frame_length(packet);
      ++posted;
      post(packet);
    }
    if (posted != 0) {
      this->packets_.add(posted);
      this->bytes_.add(bytes);
      this->publish();
    }
    if (taken < count) [[unlikely]]
      this->ring_full_.add(static_cast<std::uint64_t>(count - taken));
    return taken;
  }

 private:
  [[nodiscard]] bool header_fits(const Packet& packet) const noexcept {
    return Packets::headroom(packet) >= sizeof(NetHeader);
  }
  [[nodiscard]] bool fits(const Packet& packet, std::uint16_t segments) const noexcept {
    return segments + (header_fits(packet) ? 0 : 1) <= this->ring_.free();
  }
  /// What the ring could never take, or what asks for an offload that was not negotiated, is refused, not
  /// sent wrongly.
  [[nodiscard]] bool sendable(const Packet& packet, std::uint16_t segments) const noexcept {
    if (Packets::data_length(packet) == 0 || Packets::tx_offloads(packet) != 0) return false;
    if (segments == 1) [[likely]]
      return Packets::next(packet) == nullptr;
    return segments != 0 && segments < this->ring_.size() && whole_chain(packet, segments);
  }
  /// As many segments as the head counts, none of them empty (virtio 1.2, 2.7.5: a descriptor has a length).
  [[nodiscard]] static bool whole_chain(const Packet& head, std::uint16_t segments) noexcept {
    const Packet* segment = &head;
    for (; segments > 0 && segment != nullptr && Packets::data_length(*segment) != 0; --segments) {
      segment = Packets::next(*segment);
    }
    return segments == 0 && segment == nullptr;
  }

  void post(Packet& packet) noexcept {
    if (Packets::next(packet) == nullptr && header_fits(packet)) [[likely]] {
      std::byte* const header = Packets::data(packet) - sizeof(NetHeader);
      std::memset(header, 0, sizeof(NetHeader));
      const std::uint16_t id = this->ring_.take_id();
      this->slots_[id] = &packet;
      this->descriptors_[id] = 1;
      this->ring_.describe(id, Packets::iova(packet, header, *this->table_),
                           static_cast<std::uint32_t>(sizeof(NetHeader)) + Packets::data_length(packet), 0,
                           0);
      this->ring_.offer(id);
      return;
    }
    post_chain(packet);
  }

  /// A frame of several segments, or one whose headroom is too small for the header.
  [[gnu::noinline]] void post_chain(Packet& head) noexcept {
    const std::uint16_t first = this->ring_.peek_id();
    std::uint16_t used = 0;
    std::uint32_t prepended = 0;
    if (header_fits(head)) {
      prepended = sizeof(NetHeader);
      std::memset(Packets::data(head) - prepended, 0, prepended);
    } else {
      describe_next(this->empty_header_, sizeof(NetHeader), false);
      ++used;
    }
    for (Packet* segment = &head; segment != nullptr; segment = Packets::next(*segment)) {
      describe_next(Packets::iova(*segment, Packets::data(*segment) - prepended, *this->table_),
                    prepended + Packets::data_length(*segment), Packets::next(*segment) == nullptr);
      prepended = 0;
      ++used;
    }
    this->slots_[first] = &head;
    this->descriptors_[first] = used;
    this->ring_.offer(first);
  }

  void describe_next(Iova address, std::uint32_t length, bool last) noexcept {
    const std::uint16_t id = this->ring_.take_id();
    const std::uint16_t next = last ? std::uint16_t{0} : this->ring_.peek_id();
    this->next_id_[id] = next;
    this->ring_.describe(id, address, length, last ? std::uint16_t{0} : kDescNext, next);
  }
};

}  // namespace spinring::pmd::virtio
