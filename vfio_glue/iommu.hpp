#pragma once

#include <span>
#include <vector>

#include "base/dma.hpp"
#include "base/fd.hpp"
#include "base/result.hpp"
#include "vfio_glue/pci_address.hpp"
#include "vfio_glue/sysfs.hpp"

namespace spinring::vfio_glue {

/// A function that a bus-wide reset would hit (VFIO_DEVICE_GET_PCI_HOT_RESET_INFO).
struct ResetPeer {
  PciAddress address;
  int group = kUngrouped;
};

/// An I/O address space and the devices in it. The rest of the program opens devices and maps memory through
/// this alone, whichever of the kernel's interfaces is behind it. Control thread only.
class IommuBackend {
 public:
  IommuBackend() = default;
  IommuBackend(const IommuBackend&) = delete;
  IommuBackend& operator=(const IommuBackend&) = delete;
  virtual ~IommuBackend() = default;

  /// Puts the device (bound to vfio-pci) into the address space and opens it. On an error nothing is held.
  [[nodiscard]] virtual Result<Fd> open_device(const PciDeviceInfo& device) = 0;
  /// Takes the device out again; its descriptor must have been closed. With the last device the address space
  /// and the mapper go: memory must have been detached by then.
  virtual void release_device(const PciAddress& address) noexcept = 0;
  /// Devices in the address space.
  [[nodiscard]] virtual std::size_t devices() const noexcept = 0;
  /// Maps memory for all devices of the address space; nullptr while there are none.
  [[nodiscard]] virtual DmaMapper* mapper() noexcept = 0;
  /// The descriptors that prove to the kernel that every peer is in our hands, for a bus-wide reset asked for
  /// by `self`. An error if a peer is not, or is open here and would be reset under its user's feet.
  [[nodiscard]] virtual Result<std::vector<int>> reset_proof(const PciAddress& self,
                                                             std::span<const ResetPeer> peers) const = 0;
};

}  // namespace spinring::vfio_glue
