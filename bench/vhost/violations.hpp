#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace spinring::bench::vhost {

/// What a driver may not do (virtio 1.2; the section is named at each). Counted, never fatal to this program.
enum class Violation : std::uint8_t {
  kAddress,         ///< a buffer that is not within the shared memory
  kEmptyBuffer,     ///< a descriptor of length 0
  kDirection,       ///< 2.7.5/5.1.6: RX buffers are device-writable, TX buffers device-readable
  kAvailableIndex,  ///< 2.7.6: more buffers made available than the ring has descriptors
  kHead,            ///< 2.7.5: the available ring names a descriptor beyond the table
  kChain,           ///< 2.7.5.1: a loop, or a chain longer than the ring
  kIndirect,        ///< 2.7.5.3.1: a bad indirect table
  kOrder,           ///< 2.7.9/2.8.11: IN_ORDER, and descriptors not made available in ring order
  kBufferId,        ///< 2.8.6: packed ring: a buffer id beyond the ring
  kPacketHeader,    ///< 5.1.6.2.1: flags or gso_type of an offload that was not negotiated
  kNumBuffers,   ///< 5.1.6.2.1: num_buffers of a TX packet not 0. QUIRK(DPDK 22.11): sends what it received
  kPacketShort,  ///< 5.1.6.2: no room for the header and an Ethernet header
  kBufferSmall,  ///< 5.1.6.3.1: RX buffers that cannot hold a frame (without MRG_RXBUF at least 1526 bytes)
  kCount,
};

inline constexpr std::size_t kViolations = static_cast<std::size_t>(Violation::kCount);
inline constexpr std::array<std::string_view, kViolations> kViolationNames{
    "address", "empty_buffer", "direction",     "available_index", "head",         "chain",       "indirect",
    "order",   "buffer_id",    "packet_header", "num_buffers",     "packet_short", "buffer_small"};

/// Counts, and the first one's values to look at.
struct Violations {
  std::array<std::uint64_t, kViolations> counts{};
  Violation first = Violation::kCount;
  std::uint64_t first_a = 0;  ///< address, index or id, as the violation has it
  std::uint64_t first_b = 0;  ///< length or limit

  void note(Violation what, std::uint64_t a, std::uint64_t b, std::uint64_t times = 1) noexcept {
    counts[static_cast<std::size_t>(what)] += times;
    if (first == Violation::kCount) {
      first = what;
      first_a = a;
      first_b = b;
    }
  }
  [[nodiscard]] std::uint64_t of(Violation what) const noexcept {
    return counts[static_cast<std::size_t>(what)];
  }
  /// Of all kinds but those whose bit (1 << kind) is set.
  [[nodiscard]] std::uint64_t total(std::uint32_t without = 0) const noexcept {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < kViolations; ++i) sum += ((without >> i) & 1U) != 0 ? 0 : counts[i];
    return sum;
  }
};

}  // namespace spinring::bench::vhost
