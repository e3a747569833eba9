#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

#include "base/counter.hpp"
#include "base/dma.hpp"
#include "base/mmio.hpp"
#include "pmd/packet_pool.hpp"
#include "pmd/virtio/net_header.hpp"
#include "pmd/virtio/packed_ring.hpp"
#include "pmd/virtio/split_ring.hpp"

namespace spinring::pmd::virtio {

/// What every queue is made of, whatever its features.
template <PacketPool Packets>
struct QueueParts {
  mempool::DmaBlock memory;                  ///< the ring's bytes(size), zeroed
  std::uint16_t size = 0;                    ///< entries
  std::uint16_t fill = 0;                    ///< RX: QueueConfig::fill
  std::uint16_t index = 0;                   ///< virtqueue number: what the doorbell says
  const DmaTable* table = nullptr;           ///< outlives the queue
  typename Packets::Cache* cache = nullptr;  ///< the lcore's; outlives the queue
  HeaderRules rules{};                       ///< what headers may say
  NotifyRules notify{};
  bool aligned_frames = false;    ///< RX: Transport::wants_aligned_frames()
  std::uint16_t going_round = 0;  ///< TX: packets that are to go round between it and an RX queue
  mempool::DmaBlock indirect{};   ///< TX: for IndirectTables; empty: there are none
};

/// A queue's ring: packed or split.
template <class Packet, bool kPacked, RingFeatures F>
using RingOf = std::conditional_t<kPacked, PackedRing<Packet, F>, SplitRing<Packet, F>>;

/// A queue of any features, for the control plane.
class QueueControl {
 public:
  QueueControl() = default;
  QueueControl(const QueueControl&) = delete;
  QueueControl& operator=(const QueueControl&) = delete;
  virtual ~QueueControl() = default;

  [[nodiscard]] virtual std::uint16_t index() const noexcept = 0;
  [[nodiscard]] virtual std::uint16_t size() const noexcept = 0;
  [[nodiscard]] virtual QueueAddresses addresses() const noexcept = 0;
  /// Set after the device has been told of the queue, before the first burst.
  virtual void set_doorbell(Doorbell doorbell) noexcept = 0;
  /// Rings the doorbell for what was offered so far.
  virtual void announce() noexcept = 0;
  /// Returns every packet that the device held, with all segments. The device was reset, no lcore is in a
  /// burst, and none will be: whoever polls the queue all the same gets nothing.
  virtual void give_back() noexcept = 0;
  /// After give_back(): a new ring in `memory` (zeroed, of the same bytes), as if it had never run; what was
  /// counted stays. Enabled and filled next.
  virtual void renew(mempool::DmaBlock memory) = 0;
  /// True once the device has broken the ring's rules so that it cannot be followed. Any thread.
  [[nodiscard]] bool faulted() const noexcept { return faulted_.load(std::memory_order_relaxed); }
  /// Stopped alone, with the port running. Control thread.
  [[nodiscard]] bool resting() const noexcept { return resting_; }
  void set_resting(bool resting) noexcept { resting_ = resting; }

 protected:
  [[gnu::cold]] void set_faulted() noexcept { faulted_.store(true, std::memory_order_relaxed); }
  void clear_faulted() noexcept { faulted_.store(false, std::memory_order_relaxed); }

 private:
  std::atomic<bool> faulted_ = false;
  bool resting_ = false;
};

/// State and members common to RX and TX queues: `Control` is QueueControl with what is RX's or TX's own.
/// Owns the packets that the device holds.
template <PacketPool Packets, class Ring, class Control>
class Queue : public Control {
 public:
  using Packet = typename Packets::Packet;

  explicit Queue(QueueParts<Packets>&& parts)
      : ring_(std::move(parts.memory), parts.size, parts.notify),
        cache_(parts.cache),
        table_(parts.table),
        index_(parts.index),
        rules_(parts.rules) {}

  [[nodiscard]] std::uint16_t index() const noexcept final { return index_; }
  [[nodiscard]] std::uint16_t size() const noexcept final { return ring_.size(); }
  [[nodiscard]] QueueAddresses addresses() const noexcept final { return ring_.addresses(*table_); }
  void set_doorbell(Doorbell doorbell) noexcept final { doorbell_ = doorbell; }
  void announce() noexcept final {
    (void)ring_.must_notify();
    ring_doorbell();
  }
  void renew(mempool::DmaBlock memory) override {
    Ring fresh(std::move(memory), ring_.size(), ring_.notify_rules());
    past_bad_completions_.add(ring_.bad_completions());
    std::destroy_at(&ring_);
    std::construct_at(&ring_, std::move(fresh));
    this->clear_faulted();
  }

 protected:
  [[nodiscard]] std::uint64_t bad_completions() const noexcept {
    return past_bad_completions_.value() + ring_.bad_completions();
  }
  /// Completions that one harvest() takes at most: so many cache lines are fetched at once.
  static constexpr std::uint16_t kHarvest = 64;

  /// In front of each frame; only with offloads can it be of another length than the least.
  template <bool kOffloads>
  [[nodiscard]] std::uint32_t net_header_bytes() const noexcept {
    return kOffloads ? rules_.bytes : sizeof(NetHeader);
  }
  void free_chain(Packet* head) noexcept { pmd::free_chain<Packets>(*cache_, head); }
  void ring_doorbell() noexcept { doorbell_.ring(ring_.doorbell(index_)); }

  Ring ring_;
  typename Packets::Cache* cache_;
  const DmaTable* table_;
  Doorbell doorbell_;
  std::uint16_t index_;
  HeaderRules rules_;             ///< looked at by loops with offloads alone
  Counter past_bad_completions_;  ///< of rings before the present one
};

}  // namespace spinring::pmd::virtio
