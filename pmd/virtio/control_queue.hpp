#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/mmio.hpp"
#include "base/result.hpp"
#include "mempool/memory.hpp"
#include "pmd/virtio/split_ring.hpp"

namespace spinring::pmd::virtio {

/// The control virtqueue of a network device (virtio 1.2, 5.1.6.5): one command at a time, answered before
/// the call returns. Control thread only.
class ControlQueue {
 public:
  static constexpr std::uint16_t kMinSize = 4;  ///< a command takes three descriptors
  static constexpr std::uint16_t kMaxSize = 64;

  /// Memory for the ring and for one command; `size` as the device allows, kMinSize to kMaxSize.
  [[nodiscard]] static Result<ControlQueue> create(mempool::Memory& memory, const DmaTable& table,
                                                   std::string device, std::uint16_t index,
                                                   std::uint16_t size);

  [[nodiscard]] std::uint16_t index() const noexcept { return index_; }
  [[nodiscard]] std::uint16_t size() const noexcept { return ring_.size(); }
  [[nodiscard]] QueueAddresses addresses() const noexcept { return ring_.addresses(*table_); }
  void set_doorbell(Doorbell doorbell) noexcept { doorbell_ = doorbell; }

  /// Sends one command with its data (at most kMaxData bytes) and waits for the answer. kRejected if the
  /// device answers with an error, kTimeout if not at all: the queue then takes no further command until the
  /// device was reset.
  [[nodiscard]] Result<void> command(ControlHeader header, std::span<const std::byte> data, const char* what);

  static constexpr std::size_t kMaxData = 2048;

 private:
  ControlQueue(mempool::DmaBlock ring, mempool::DmaBlock buffer, const DmaTable& table, std::string device,
               std::uint16_t index, std::uint16_t size)
      : ring_(std::move(ring), size),
        buffer_(std::move(buffer)),
        table_(&table),
        device_(std::move(device)),
        index_(index) {}
  void post(std::span<const std::uint16_t> chain, std::size_t data_bytes);

  SplitRing ring_;
  mempool::DmaBlock buffer_;  ///< header, then answer, then data
  const DmaTable* table_;
  Doorbell doorbell_;
  std::string device_;
  std::uint16_t index_;
  bool stuck_ = false;
};

}  // namespace spinring::pmd::virtio
