#pragma once

#include <cstdint>

#include "base/dma.hpp"
#include "pmd/packet_pool.hpp"
#include "pmd/virtio/ring_book.hpp"

namespace spinring::pmd::virtio {

/// Bytes that the device may write into a buffer of this type: all behind the headroom.
template <PacketPool Packets>
[[nodiscard]] std::uint32_t writable(const typename Packets::Packet& packet) noexcept {
  return std::uint32_t{Packets::capacity(packet)} - Packets::headroom_wanted();
}

/// Where the buffers of a cache's packets lie that an RX queue offers, for Ring::post_empty().
template <PacketPool Packets>
class RxBuffers {
 public:
  using Packet = typename Packets::Packet;

  /// `table` outlives it.
  RxBuffers(const typename Packets::Cache& /*cache*/, const DmaTable& table) noexcept : table_(&table) {}

  [[nodiscard]] Extent operator()(Packet& packet) noexcept {
    const std::uint32_t length = writable<Packets>(packet);
    if (length < shortest_) [[unlikely]]
      shortest_ = length;
    return {Packets::iova(packet, Packets::buffer(packet) + Packets::headroom_wanted(), *table_), length};
  }
  /// No buffer that was ever offered is shorter.
  [[nodiscard]] std::uint32_t shortest() const noexcept { return shortest_; }

 private:
  const DmaTable* table_;
  std::uint32_t shortest_ = 0x7FFF'FFFF;
};

/// All alike: the packets are not looked at.
template <PacketPool Packets>
requires PlacedPackets<Packets>
class RxBuffers<Packets> {
 public:
  using Packet = typename Packets::Packet;

  RxBuffers(const typename Packets::Cache& cache, const DmaTable& table) noexcept
      : RxBuffers(Packets::place(cache, table)) {}

  [[nodiscard]] Extent operator()(Packet& packet) const noexcept {
    return {Iova{reinterpret_cast<std::uintptr_t>(&packet) + to_start_}, length_};
  }
  /// The same of a run.
  template <class Runs, std::uint16_t kCount>
  void describe(PostingRun<Packet, kCount>& run) const noexcept {
    Runs::template add<kCount>(run.addresses.data(), reinterpret_cast<const RunWord*>(run.packets),
                               to_start_);
    Runs::template fill<kCount>(run.lengths.data(), length_);
  }
  [[nodiscard]] std::uint32_t shortest() const noexcept { return length_; }

 private:
  explicit RxBuffers(const mempool::PoolPlace& place) noexcept
      : to_start_(place.to_buffer + Packets::headroom_wanted()),
        length_(place.buffer_length - Packets::headroom_wanted()) {}

  std::uint64_t to_start_;  ///< what makes a packet's address the device's of what it may write
  std::uint32_t length_;
};

}  // namespace spinring::pmd::virtio
