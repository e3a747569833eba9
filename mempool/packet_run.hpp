#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "base/word_run.hpp"
#include "mempool/packet.hpp"

/// What loops do with several packets at once, by vectors (Runs of base/word_run.hpp).
namespace spinring::mempool {

/// What set_single() writes, but for the length, which is added to both halves of the second word when it is
/// known together with the `skip` bytes before the data.
[[nodiscard]] constexpr Block single_block(std::uint16_t offset, std::uint16_t skip) noexcept {
  static_assert(std::endian::native == std::endian::little);
  return {0, (std::uint64_t{offset} << 48U) - skip * kBothHalves, 1, 0};
}
/// Packet::set_single() of kCount packets: `bytes` are the lengths and `skip` more, which comes before the
/// data.
template <class Runs, std::size_t kCount>
void set_singles(Packet* const* packets, std::uint16_t offset, const std::uint32_t* bytes,
                 std::uint16_t skip) noexcept {
  const Block block = single_block(offset, skip);
  Runs::template write_blocks<kCount>(reinterpret_cast<void* const*>(packets), block, bytes);
}

/// What the first 32 bytes of a packet are like that is a single segment with data, has `headroom` bytes or
/// more before it and asks for nothing.
[[nodiscard]] constexpr BlockRule plain_rule(std::uint16_t headroom) noexcept {
  BlockRule rule;
  rule.mask[0] = ~std::uint64_t{0};                           // next
  rule.mask[2] = 0xFFFF | std::uint64_t{kTxOffloads} << 32U;  // segments, offloads
  rule.expected[2] = 1;
  rule.least[6] = 1;         // data_length
  rule.least[7] = headroom;  // data_offset
  return rule;
}

/// Where the packets of a pool lie, whose buffers are all alike.
struct PoolPlace {
  AddressRange packets;
  std::uint64_t to_buffer = 0;  ///< what makes a packet's address the device's (Iova) of its buffer
  std::uint32_t buffer_length = 0;
};

/// Whether kCount packets are of that pool and keep plain_rule(kRoom). Then where they begin for the device,
/// `before` bytes before their data, and how many bytes they are from there; not more than kRoom. Only there
/// for vectors that make it cheaper than to look at one after the other.
template <class Runs, unsigned kCount, std::uint16_t kRoom>
[[nodiscard]] bool place_plain(Packet* const* packets, const PoolPlace& pool, std::uint32_t before,
                               RunWord* addresses, RunWord* lengths) noexcept requires
    requires(const void* const* blocks) {
  Runs::template place_blocks<kCount>(blocks, BlockRule{}, BlockPlaces{}, addresses, lengths);
}
{
  static constexpr BlockRule kRule = plain_rule(kRoom);
  const BlockPlaces to{.range = pool.packets, .to_place = pool.to_buffer - before, .to_other = before};
  return Runs::template place_blocks<kCount>(reinterpret_cast<const void* const*>(packets), kRule, to,
                                             addresses, lengths);
}

}  // namespace spinring::mempool
