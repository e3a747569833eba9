#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "base/counter.hpp"
#include "base/dma.hpp"
#include "base/mmio.hpp"
#include "base/shared.hpp"
#include "mempool/memory.hpp"
#include "pmd/packet_pool.hpp"

namespace spinring::pmd::e1000 {

/// What every queue is made of.
template <PacketPool Packets>
struct QueueParts {
  mempool::DmaBlock memory;                  ///< the descriptors, zeroed
  std::uint16_t size = 0;                    ///< how many; a multiple of 8
  const DmaTable* table = nullptr;           ///< outlives the queue
  typename Packets::Cache* cache = nullptr;  ///< the lcore's; outlives the queue
};

/// A queue of any format, for the control plane.
class QueueControl {
 public:
  QueueControl() = default;
  QueueControl(const QueueControl&) = delete;
  QueueControl& operator=(const QueueControl&) = delete;
  virtual ~QueueControl() = default;

  [[nodiscard]] virtual std::uint16_t size() const noexcept = 0;
  [[nodiscard]] virtual Iova ring() const noexcept = 0;
  /// The queue's tail register; before the first burst.
  virtual void set_doorbell(Doorbell doorbell) noexcept = 0;
  /// Returns every packet that the device held, with all segments. The device was reset, no lcore is in a
  /// burst, and none will be: whoever polls the queue all the same gets nothing.
  virtual void give_back() noexcept = 0;
};

/// State and members common to RX and TX queues. A slot's packet is the queue's while the device holds it.
/// The ring's size need not be a power of two: indexes wrap by a comparison.
template <PacketPool Packets, class Descriptor, class Control>
class Queue : public Control {
 public:
  using Packet = typename Packets::Packet;

  explicit Queue(QueueParts<Packets>&& parts)
      : descriptors_(reinterpret_cast<Descriptor*>(parts.memory.data())),
        packets_(std::make_unique<Packet*[]>(parts.size)),
        cache_(parts.cache),
        table_(parts.table),
        size_(parts.size),
        memory_(std::move(parts.memory)) {}

  [[nodiscard]] std::uint16_t size() const noexcept final { return size_; }
  [[nodiscard]] Iova ring() const noexcept final { return memory_.iova(*table_); }
  void set_doorbell(Doorbell doorbell) noexcept final { doorbell_ = doorbell; }

 protected:
  /// Descriptors that are looked at together at most.
  static constexpr std::uint16_t kHarvest = 64;

  [[nodiscard]] std::uint16_t after(std::uint16_t slot) const noexcept {
    const auto next = static_cast<std::uint16_t>(slot + 1);
    return next == size_ ? std::uint16_t{0} : next;
  }
  /// Tells the device that all before `tail` is its own.
  void publish(std::uint16_t tail) noexcept {
    before_doorbell();
    doorbell_.ring(tail);
  }
  void free_chain(Packet* head) noexcept { pmd::free_chain<Packets>(*cache_, head); }
  /// Set when the device was stopped: nobody may look at the ring any more.
  [[nodiscard]] bool stopped() const noexcept { return stopped_.load(std::memory_order_relaxed); }
  void set_stopped() noexcept { stopped_.store(true, std::memory_order_relaxed); }

  Descriptor* descriptors_;
  std::unique_ptr<Packet*[]> packets_;  ///< by slot
  typename Packets::Cache* cache_;
  const DmaTable* table_;
  Doorbell doorbell_;
  std::uint16_t size_;

 private:
  std::atomic<bool> stopped_ = false;
  mempool::DmaBlock memory_;
};

}  // namespace spinring::pmd::e1000
