#pragma once

#include <cstddef>
#include <cstdint>

#include "apps/testpmd/options.hpp"
#include "base/result.hpp"

namespace spinring::testpmd {

/// Entries to ask of a ring: what the user said, or the default as far as the device has it (0: it does not
/// say).
[[nodiscard]] std::uint16_t ring_entries(std::uint16_t asked, std::uint16_t device_most) noexcept;

/// How many packets the rings and lcores need.
struct PoolNeed {
  std::uint32_t least = 0;     ///< every ring full and a burst in each lcore's hands
  std::uint32_t standard = 0;  ///< and every lcore's cache full: the default
};
[[nodiscard]] PoolNeed pool_need(const ForwardOptions& options, unsigned ports, unsigned lcores);

/// The pool's packets: --total-num-mbufs, or the standard. Too few for the rings is an error that says how
/// many it takes.
[[nodiscard]] Result<std::uint32_t> pool_packets(const ForwardOptions& options, unsigned ports,
                                                 unsigned lcores);

/// Bytes of DMA memory for a pool of so many packets and the rings of all ports.
[[nodiscard]] std::size_t memory_bytes(const ForwardOptions& options, unsigned ports, std::uint32_t packets);

}  // namespace spinring::testpmd
