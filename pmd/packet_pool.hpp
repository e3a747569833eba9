#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/dma.hpp"
#include "mempool/packet.hpp"
#include "mempool/pool.hpp"

namespace spinring::pmd {

/// What a driver's queues need to know of a packet type. A program brings its own buffers by a struct of this
/// shape (the DPDK plug-in brings rte_mbuf); SpinringPackets below is the library's own. All functions are
/// called by the queue's lcore only.
// clang-format 14 breaks each requirement over two lines.
// clang-format off
template <class P>
concept PacketPool = requires(typename P::Cache& cache, typename P::Packet& packet,
                              const typename P::Packet& const_packet, std::span<typename P::Packet*> out,
                              std::span<typename P::Packet* const> in, const DmaTable& table,
                              std::uint16_t u16, std::uint32_t u32) {
  { cache.get(out) } noexcept -> std::same_as<std::size_t>;  // up to out.size() single segments
  { cache.put(in) } noexcept;  // single segments back
  { P::buffer(packet) } noexcept -> std::same_as<std::byte*>;  // start of the buffer, headroom included
  { P::capacity(const_packet) } noexcept -> std::same_as<std::uint16_t>;  // its bytes
  { P::headroom_wanted() } noexcept -> std::same_as<std::uint16_t>;  // offset from which the device may write
  { P::iova(const_packet, static_cast<const void*>(nullptr), table) } noexcept -> std::same_as<Iova>;
  { P::data(packet) } noexcept -> std::same_as<std::byte*>;
  { P::headroom(const_packet) } noexcept -> std::same_as<std::uint16_t>;      // bytes before data
  { P::tx_offloads(const_packet) } noexcept -> std::same_as<std::uint32_t>;   // what is asked of the device; 0: nothing
  { P::data_length(const_packet) } noexcept -> std::same_as<std::uint16_t>;
  { P::frame_length(const_packet) } noexcept -> std::same_as<std::uint32_t>;  // head only
  { P::segments(const_packet) } noexcept -> std::same_as<std::uint16_t>;  // head only
  { P::next(const_packet) } noexcept -> std::same_as<typename P::Packet*>;
  { P::set_received(packet, u16, u16) } noexcept;  // offset, length: one segment, no offloads
  { P::append(packet, packet, packet, u16, u16) } noexcept;  // head, tail, segment, offset, length
};
// clang-format on

/// The library's own packets.
struct SpinringPackets {
  using Packet = mempool::Packet;
  using Cache = mempool::PoolCache;

  static std::byte* buffer(Packet& packet) noexcept { return packet.buffer(); }
  static std::uint16_t capacity(const Packet& packet) noexcept { return packet.buffer_length; }
  static std::uint16_t headroom_wanted() noexcept { return Packet::kHeadroom; }
  static Iova iova(const Packet& packet, const void* address, const DmaTable& table) noexcept {
    return table.iova(address, packet.region);
  }
  static std::byte* data(Packet& packet) noexcept { return packet.data(); }
  static std::uint16_t headroom(const Packet& packet) noexcept { return packet.headroom(); }
  static std::uint32_t tx_offloads(const Packet& packet) noexcept {
    return packet.offloads & mempool::kTxOffloads;
  }
  static std::uint16_t data_length(const Packet& packet) noexcept { return packet.data_length; }
  static std::uint32_t frame_length(const Packet& packet) noexcept { return packet.packet_length; }
  static std::uint16_t segments(const Packet& packet) noexcept { return packet.segments; }
  static Packet* next(const Packet& packet) noexcept { return packet.next; }

  static void set_received(Packet& packet, std::uint16_t offset, std::uint16_t length) noexcept {
    packet.next = nullptr;
    packet.packet_length = length;
    packet.data_length = length;
    packet.data_offset = offset;
    packet.segments = 1;
    packet.offloads = 0;
  }
  static void append(Packet& head, Packet& tail, Packet& segment, std::uint16_t offset,
                     std::uint16_t length) noexcept {
    set_received(segment, offset, length);
    tail.next = &segment;
    head.segments = static_cast<std::uint16_t>(head.segments + 1);
    head.packet_length += length;
  }
};
static_assert(PacketPool<SpinringPackets>);

}  // namespace spinring::pmd
