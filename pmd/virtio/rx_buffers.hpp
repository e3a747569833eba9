#pragma once

#include <cstdint>

#include "base/dma.hpp"
#include "pmd/packet_pool.hpp"
#include "pmd/virtio/ring_book.hpp"

namespace spinring::pmd::virtio {

/// Where in each buffer the device writes a header of so many bytes, and the frame behind it. The headroom
/// ends with a cache line: there begins the frame, if it is to be aligned, otherwise the header, which then
/// shares its line with the frame's first bytes. Packets without headroom for a header keep theirs.
template <PacketPool Packets>
[[nodiscard]] std::uint16_t device_start(bool aligned_frames, std::uint32_t header_bytes) noexcept {
  const std::uint16_t headroom = Packets::headroom_wanted();
  return static_cast<std::uint16_t>(headroom -
                                    (aligned_frames && headroom >= header_bytes ? header_bytes : 0));
}
/// Bytes that the device may write into a buffer, from there on.
template <PacketPool Packets>
[[nodiscard]] std::uint32_t writable(const typename Packets::Packet& packet, std::uint16_t start) noexcept {
  return std::uint32_t{Packets::capacity(packet)} - start;
}

/// Where the buffers of a cache's packets lie that an RX queue offers, for Ring::post_empty().
template <PacketPool Packets>
class RxBuffers {
 public:
  using Packet = typename Packets::Packet;

  /// `table` outlives it. `start`: device_start().
  RxBuffers(const typename Packets::Cache& /*cache*/, const DmaTable& table, std::uint16_t start) noexcept
      : table_(&table), start_(start) {}

  [[nodiscard]] Extent operator()(Packet& packet) noexcept {
    const std::uint32_t length = writable<Packets>(packet, start_);
    if (length < shortest_) [[unlikely]]
      shortest_ = length;
    return {Packets::iova(packet, Packets::buffer(packet) + start_, *table_), length};
  }
  /// No buffer that was ever offered is shorter.
  [[nodiscard]] std::uint32_t shortest() const noexcept { return shortest_; }

 private:
  const DmaTable* table_;
  std::uint16_t start_;
  std::uint32_t shortest_ = 0x7FFF'FFFF;
};

/// All alike: the packets are not looked at.
template <PacketPool Packets>
requires PlacedPackets<Packets>
class RxBuffers<Packets> {
 public:
  using Packet = typename Packets::Packet;

  RxBuffers(const typename Packets::Cache& cache, const DmaTable& table, std::uint16_t start) noexcept
      : RxBuffers(Packets::place(cache, table), start) {}

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
  RxBuffers(const mempool::PoolPlace& place, std::uint16_t start) noexcept
      : to_start_(place.to_buffer + start), length_(place.buffer_length - start) {}

  std::uint64_t to_start_;  ///< what makes a packet's address the device's of what it may write
  std::uint32_t length_;
};

}  // namespace spinring::pmd::virtio
