#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "base/counter.hpp"
#include "base/dma.hpp"
#include "base/mmio.hpp"
#include "pmd/packet_pool.hpp"
#include "pmd/virtio/split_ring.hpp"

namespace spinring::pmd::virtio {

/// What every queue is made of, whatever its features.
template <PacketPool Packets>
struct QueueParts {
  mempool::DmaBlock memory;                  ///< SplitRing::bytes(size), zeroed
  std::uint16_t size = 0;                    ///< entries
  std::uint16_t index = 0;                   ///< virtqueue number: what the doorbell says
  const DmaTable* table = nullptr;           ///< outlives the queue
  typename Packets::Cache* cache = nullptr;  ///< the lcore's; outlives the queue
};

/// State and cold members common to RX and TX queues. Owns the packets that the device holds: their
/// give_back(), after the device was reset, returns them to the cache.
template <PacketPool Packets>
class Queue {
 public:
  using Packet = typename Packets::Packet;

  explicit Queue(QueueParts<Packets>&& parts)
      : ring_(std::move(parts.memory), parts.size),
        slots_(std::make_unique<Packet*[]>(parts.size)),
        cache_(parts.cache),
        table_(parts.table),
        index_(parts.index) {}
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  [[nodiscard]] std::uint16_t index() const noexcept { return index_; }
  [[nodiscard]] std::uint16_t size() const noexcept { return ring_.size(); }
  [[nodiscard]] QueueAddresses addresses() const noexcept { return ring_.addresses(*table_); }
  /// Set after the device has been told of the queue, before the first burst.
  void set_doorbell(Doorbell doorbell) noexcept { doorbell_ = doorbell; }
  /// True once the device has broken the ring's rules so that it cannot be followed. Any thread.
  [[nodiscard]] bool faulted() const noexcept { return faulted_.load(std::memory_order_relaxed); }

 protected:
  ~Queue() = default;

  /// The packet that the device completed, or nullptr if it may not name that id now.
  [[nodiscard]] Packet* claim(std::uint32_t id) noexcept {
    if (id >= ring_.size()) [[unlikely]]
      return nullptr;
    return std::exchange(slots_[id], nullptr);
  }
  [[gnu::cold]] void set_faulted() noexcept { faulted_.store(true, std::memory_order_relaxed); }
  void publish() noexcept {
    if (ring_.publish()) doorbell_.ring(index_);
  }
  /// Hands every packet that the device held to `free`. The device was reset, no lcore is in a burst, and
  /// none will be.
  template <class Free>
  void release_held(Free free) noexcept {
    set_faulted();  // whoever polls the queue all the same gets nothing
    for (std::uint16_t id = 0; id < ring_.size(); ++id) {
      if (Packet* const packet = std::exchange(slots_[id], nullptr); packet != nullptr) free(packet);
    }
  }
  void free_chain(Packet* head) noexcept {
    while (head != nullptr) {
      Packet* const segment = std::exchange(head, Packets::next(*head));
      cache_->put({&segment, 1});
    }
  }
  SplitRing ring_;
  std::unique_ptr<Packet*[]>
      slots_;  ///< by descriptor id: the packet (head of a chain) that the device holds
  typename Packets::Cache* cache_;
  const DmaTable* table_;
  Doorbell doorbell_;
  std::uint16_t index_;

 private:
  std::atomic<bool> faulted_ = false;
};

}  // namespace spinring::pmd::virtio
