#pragma once

#include <cstddef>
#include <cstdint>

#include "base/cpu.hpp"
#include "bench/vhost/protocol.hpp"

namespace spinring::bench::vhost {

/// What a batch from a split ring is expected to be: runs of heads that count up, and each descriptor in one
/// region of memory, with the first's length and flags.
struct PlainBuffers {
  const std::uint16_t* ring = nullptr;  ///< the available ring's entries
  const std::byte* table = nullptr;     ///< the descriptors
  std::uint16_t mask = 0;
  std::uint16_t slot = 0;  ///< of the first entry
  std::uint16_t head = 0;  ///< that it holds; within the table
  std::uint32_t length = 0;
  std::uint16_t flags = 0;
  bool in_order = false;      ///< heads must count up
  std::uint64_t guest = 0;    ///< the region's first address,
  std::uint64_t last = 0;     ///< how far from there a buffer may begin,
  std::uint64_t to_here = 0;  ///< and what makes its addresses this process's
};

/// The same of a packed ring, line by line: ids are as they come.
struct PlainLines {
  const std::byte* first = nullptr;  ///< descriptor, at the start of a line
  std::uint32_t size = 0;            ///< of the ring
  std::uint32_t length = 0;
  std::uint16_t flags = 0;
  std::uint64_t guest = 0;  ///< these three as in PlainBuffers
  std::uint64_t last = 0;
  std::uint64_t to_here = 0;
};

inline constexpr unsigned kDescriptorsOfLine = kCacheLine / sizeof(vring_packed_desc);
/// Of the second word of a chain or a packed descriptor.
inline constexpr std::uint64_t kIdBits = 0xffff'0000'0000;

}  // namespace spinring::bench::vhost
