#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/word_run.hpp"
#include "mempool/packet.hpp"

/// What loops do with several packets at once, by vectors (Runs of base/word_run.hpp).
namespace spinring::mempool {

/// Packet::set_single() of each: `bytes` are the lengths and `skip` more, which comes before the data.
template <class Runs, std::size_t kCount>
void set_singles(const std::array<Packet*, kCount>& packets, std::uint16_t offset,
                 const std::array<std::uint32_t, kCount>& bytes, std::uint16_t skip) noexcept {
  std::array<std::uint64_t, kCount> places;
  Runs::template double_each<kCount>(bytes.data(), single_place(offset, 0) - single_place(0, skip),
                                     places.data());
#pragma GCC unroll 8
  for (std::size_t i = 0; i < kCount; ++i) packets[i]->set_single(places[i]);
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

}  // namespace spinring::mempool
