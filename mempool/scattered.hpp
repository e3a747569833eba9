#pragma once

#include <cstdint>
#include <vector>

namespace spinring::mempool {

/// The numbers from 0 to count - 1, each once, in an order without an even step: neighbours change their
/// places within short stretches, the same each time. A CPU that reads lines at one distance from each other
/// fetches further ones by itself: of buffers in the order of their addresses those that the device is
/// writing, which then cross to and fro. Any thread.
[[nodiscard]] std::vector<std::uint32_t> scattered(std::uint32_t count);

}  // namespace spinring::mempool
