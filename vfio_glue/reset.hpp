#pragma once

#include <vector>

#include "base/result.hpp"
#include "vfio_glue/iommu.hpp"
#include "vfio_glue/pci_address.hpp"
#include "vfio_glue/sys.hpp"

namespace spinring::vfio_glue {

/// VFIO_DEVICE_RESET: resets this function alone. The kernel saves and restores configuration space around
/// it.
[[nodiscard]] Result<void> reset_function(Sys& sys, int device_fd, const PciAddress& address);

/// The functions that a bus-wide reset of this device hits, itself included
/// (VFIO_DEVICE_GET_PCI_HOT_RESET_INFO). Errc::kNoReset if the bus has no such reset.
[[nodiscard]] Result<std::vector<ResetPeer>> reset_peers(Sys& sys, int device_fd, const PciAddress& address);

/// VFIO_DEVICE_PCI_HOT_RESET: resets the slot or bus, with every function on it. `backend` proves that all of
/// them are in our hands, and refuses when another of them is in use.
[[nodiscard]] Result<void> reset_bus(Sys& sys, int device_fd, const PciAddress& address,
                                     const IommuBackend& backend);

}  // namespace spinring::vfio_glue
