#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "pmd/port.hpp"

namespace spinring::testpmd {

/// A UDP frame as DPDK's txonly makes it: from 198.18.0.1 to 198.18.0.2 (the benchmark network of RFC 2544),
/// discard port to discard port, TTL 64, no UDP checksum, payload of zeros. `length` counts from the Ethernet
/// header to the end of the payload, at least kMinFrame.
[[nodiscard]] std::vector<std::byte> make_udp_frame(const pmd::MacAddress& destination,
                                                    const pmd::MacAddress& source, std::uint16_t length);

/// The ones' complement checksum of RFC 1071, in wire order as the bytes are read; 0 over a header whose
/// checksum is right.
[[nodiscard]] std::uint16_t internet_checksum(const std::byte* bytes, std::size_t length) noexcept;

}  // namespace spinring::testpmd
