#pragma once

#include <cstdint>
#include <vector>

#include "base/mmio.hpp"
#include "pmd/e1000/models.hpp"
#include "pmd/port.hpp"

namespace spinring::pmd::e1000 {

/// The device's registers and those of its first queues, with their fields in words: those that the family
/// has and that reading leaves alone. Control thread.
[[nodiscard]] std::vector<RegisterDump> dump(RegisterBlock& registers, const Family& family,
                                             std::uint16_t rx_queues, std::uint16_t tx_queues);

}  // namespace spinring::pmd::e1000
