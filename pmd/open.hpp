#pragma once

#include <memory>
#include <string_view>

#include "base/result.hpp"
#include "mempool/memory.hpp"
#include "pmd/bus/pci_function.hpp"
#include "pmd/port.hpp"

namespace spinring::pmd {

/// Opens the driver for a PCI function by its vendor and device id. The port owns the function; `memory`
/// outlives the port and is where its rings lie. A device that no driver knows is an error that names its
/// ids. Control thread.
[[nodiscard]] Result<std::unique_ptr<AnyPort>> open_port(std::unique_ptr<PciFunction> function,
                                                         mempool::Memory& memory);

/// Opens a virtio-net port on a vhost-user socket, `vdev` as vhost_user/virtio_user_vdev.hpp has it. Waits
/// for the switch for a while. `memory` outlives the port and is shared with the switch. Control thread.
[[nodiscard]] Result<std::unique_ptr<AnyPort>> open_virtio_user(std::string_view vdev,
                                                                mempool::Memory& memory);

}  // namespace spinring::pmd
