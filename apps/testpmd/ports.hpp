#pragma once

#include <memory>
#include <vector>

#include "apps/testpmd/options.hpp"
#include "base/result.hpp"
#include "mempool/memory.hpp"
#include "pmd/bus/vfio/vfio_bus.hpp"
#include "pmd/port.hpp"

namespace spinring::testpmd {

/// The ports that the options name, and the bus that must outlive them.
struct OpenPorts {
  std::unique_ptr<pmd::VfioBus> vfio;  ///< null if no port needs it; goes after the ports
  std::vector<std::unique_ptr<pmd::AnyPort>> ports;
};

/// Opens every -a and every --vdev, in that order. The one place that knows buses. On an error all that was
/// opened is closed and given back. `memory` outlives the result. Main thread.
[[nodiscard]] Result<OpenPorts> open_ports(const MachineOptions& options, mempool::Memory& memory);

}  // namespace spinring::testpmd
