#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>

#include "base/dma.hpp"
#include "mempool/packet.hpp"
#include "mempool/packet_run.hpp"
#include "mempool/pool.hpp"

namespace spinring::pmd {

/// What a packet asks of the device that sends it (mempool::OffloadBits), with what the device must know for
/// it. Offsets are bytes from the start of the frame.
struct TxRequest {
  std::uint32_t offloads = 0;
  std::uint16_t csum_start = 0;     ///< start of the L4 header
  std::uint16_t csum_offset = 0;    ///< of the checksum field, from csum_start
  std::uint16_t segment_size = 0;   ///< payload bytes of each segment
  std::uint16_t header_length = 0;  ///< L2 + L3 + L4 header bytes
  std::uint16_t vlan_tci = 0;
};

/// What the device said of a received frame.
struct RxNotes {
  std::uint32_t offloads = 0;  ///< mempool::OffloadBits
  std::uint32_t rss_hash = 0;
  std::uint16_t csum_start = 0;
  std::uint16_t csum_offset = 0;
  std::uint16_t vlan_tci = 0;
  std::uint64_t timestamp = 0;
  std::uint16_t segment_size = 0;   ///< with kRxCoalesced: payload bytes of each segment as it came
  std::uint16_t header_length = 0;  ///< with kRxCoalesced: L2 + L3 + L4 header bytes; 0: not known
};

/// What a driver's queues need to know of a packet type. A program brings its own buffers by a struct of this
/// shape (the DPDK plug-in brings rte_mbuf); SpinringPackets below is the library's own. All functions are
/// called by the queue's lcore only.
// clang-format 14 breaks each requirement over two lines.
// clang-format off
template <class P>
concept PacketPool = requires(typename P::Cache& cache, typename P::Packet& packet,
                              const typename P::Packet& const_packet, const RxNotes& notes, std::span<typename P::Packet*> out,
                              std::span<typename P::Packet* const> in, const DmaTable& table,
                              std::uint16_t u16, std::uint32_t u32) {
  { cache.get(out) } noexcept -> std::same_as<std::size_t>;  // up to out.size() single segments
  { cache.put(in) } noexcept;  // single segments back
  { cache.recycle(in) } noexcept;  // the same, of packets that an RX queue may have next
  { cache.reuse(out) } noexcept -> std::same_as<std::size_t>;  // recycled ones, oldest first; none: 0
  { cache.reusable() } noexcept -> std::same_as<std::size_t>;  // how many reuse() could take now
  { P::buffer(packet) } noexcept -> std::same_as<std::byte*>;  // start of the buffer, headroom included
  { P::capacity(const_packet) } noexcept -> std::same_as<std::uint16_t>;  // its bytes
  { P::headroom_wanted() } noexcept -> std::same_as<std::uint16_t>;  // where received frames begin, or virtio's header in front of them
  { P::iova(const_packet, static_cast<const void*>(nullptr), table) } noexcept -> std::same_as<Iova>;
  { P::data(packet) } noexcept -> std::same_as<std::byte*>;
  { P::headroom(const_packet) } noexcept -> std::same_as<std::uint16_t>;      // bytes before data
  { P::tx_offloads(const_packet) } noexcept -> std::same_as<std::uint32_t>;   // what is asked of the device; 0: nothing
  { P::tx_request(const_packet) } noexcept -> std::same_as<TxRequest>;        // the same, with its details
  { P::data_length(const_packet) } noexcept -> std::same_as<std::uint16_t>;
  { P::frame_length(const_packet) } noexcept -> std::same_as<std::uint32_t>;  // head only
  { P::segments(const_packet) } noexcept -> std::same_as<std::uint16_t>;  // head only
  { P::next(const_packet) } noexcept -> std::same_as<typename P::Packet*>;
  { P::set_received(packet, u16, u16) } noexcept;  // offset, length: one segment, no offloads
  { P::note(packet, notes) } noexcept;  // after set_received(), head only
  { P::append(packet, packet, packet, u16, u16) } noexcept;  // head, tail, segment, offset, length
};
// clang-format on

/// Gives a frame back, all its segments. The queue's lcore.
template <PacketPool P>
void free_chain(typename P::Cache& cache, typename P::Packet* head) noexcept {
  while (head != nullptr) {
    typename P::Packet* const segment = std::exchange(head, P::next(*head));
    cache.put({&segment, 1});
  }
}

/// Takes up to `wanted` packets by `take` (fills a span, returns how many) and hands them on to `post`, in
/// batches; returns how many. Ends with the first batch that `take` does not fill.
template <PacketPool P, class Take, class Post>
std::uint16_t post_in_batches(std::uint32_t wanted, Take take, Post post) noexcept {
  std::uint16_t posted = 0;
  while (posted < wanted) {
    std::array<typename P::Packet*, 64> fresh;
    const auto batch = std::min<std::size_t>(wanted - posted, fresh.size());
    const std::size_t got = take(std::span(fresh).first(batch));
    post(std::span(fresh).first(got));
    posted = static_cast<std::uint16_t>(posted + got);
    if (got < batch) break;
  }
  return posted;
}

/// set_received() of kCount packets whose `bytes` count `skip` before the data. By vectors (Runs of
/// base/word_run.hpp), if the packets can do that.
template <PacketPool P, class Runs, std::size_t kCount>
void set_received_run(typename P::Packet* const* packets, std::uint16_t offset, const std::uint32_t* bytes,
                      std::uint16_t skip) noexcept {
  if constexpr (requires { P::template set_received_run<Runs, kCount>(packets, offset, bytes, skip); }) {
    P::template set_received_run<Runs, kCount>(packets, offset, bytes, skip);
  } else {
    for (std::size_t i = 0; i < kCount; ++i)
      P::set_received(*packets[i], offset, static_cast<std::uint16_t>(bytes[i] - skip));
  }
}

/// Packets of which a cache hands out and keeps those of one pool alone, with buffers that are all alike: so
/// where they lie is known without a look at them. `table` is the device's.
template <class P>
concept PlacedPackets = requires(const typename P::Cache& cache, const DmaTable& table) {
  { P::place(cache, table) }
  noexcept->std::same_as<mempool::PoolPlace>;
};
/// P::place(), or nothing for other packets.
struct NoPlace {};
template <class P>
using Place = std::conditional_t<PlacedPackets<P>, mempool::PoolPlace, NoPlace>;
template <PacketPool P>
[[nodiscard]] Place<P> place_of(const typename P::Cache& cache, const DmaTable& table) noexcept {
  if constexpr (PlacedPackets<P>) {
    return P::place(cache, table);
  } else {
    return {};
  }
}

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
  static TxRequest tx_request(const Packet& packet) noexcept {
    return {tx_offloads(packet), packet.csum_start,    packet.csum_offset,
            packet.segment_size, packet.header_length, packet.vlan_tci};
  }
  static std::uint16_t data_length(const Packet& packet) noexcept { return packet.data_length; }
  static std::uint32_t frame_length(const Packet& packet) noexcept { return packet.packet_length; }
  static std::uint16_t segments(const Packet& packet) noexcept { return packet.segments; }
  static Packet* next(const Packet& packet) noexcept { return packet.next; }

  static void set_received(Packet& packet, std::uint16_t offset, std::uint16_t length) noexcept {
    packet.set_single(offset, length);
  }
  template <class Runs, std::size_t kCount>
  static void set_received_run(Packet* const* packets, std::uint16_t offset, const std::uint32_t* bytes,
                               std::uint16_t skip) noexcept {
    mempool::set_singles<Runs, kCount>(packets, offset, bytes, skip);
  }
  static mempool::PoolPlace place(const Cache& cache, const DmaTable& table) noexcept {
    const mempool::Pool& pool = cache.pool();
    const Packet* const first = pool.packet(0);
    const auto address = reinterpret_cast<std::uintptr_t>(first);
    return {.packets = {address, reinterpret_cast<std::uintptr_t>(pool.packet(pool.capacity() - 1))},
            .to_buffer = to_u64(table.iova(first->buffer(), first->region)) - address,
            .buffer_length = pool.buffer_length()};
  }
  static void note(Packet& packet, const RxNotes& notes) noexcept {
    packet.offloads = notes.offloads;
    packet.rss_hash = notes.rss_hash;
    packet.csum_start = notes.csum_start;
    packet.csum_offset = notes.csum_offset;
    packet.vlan_tci = notes.vlan_tci;
    packet.timestamp = notes.timestamp;
    packet.segment_size = notes.segment_size;
    packet.header_length = notes.header_length;
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
