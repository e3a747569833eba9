#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "vfio_glue/pci_address.hpp"
#include "vfio_glue/sys.hpp"

/// What sysfs says of PCI devices and IOMMU groups (Documentation/ABI/testing/sysfs-bus-pci,
/// sysfs-kernel-iommu_groups). Read fresh at every call: drivers come and go. Control thread only.
namespace spinring::vfio_glue {

inline constexpr int kUngrouped = -1;

struct PciDeviceInfo {
  PciAddress address;
  std::uint16_t vendor = 0;
  std::uint16_t device = 0;
  std::uint32_t class_code = 0;  ///< class, subclass, interface: 0x020000 is an Ethernet controller
  int iommu_group = kUngrouped;
  int numa_node = -1;  ///< -1: unknown, or the machine has one
  std::string driver;  ///< empty: none

  [[nodiscard]] bool is_network() const noexcept { return (class_code >> 16) == 0x02; }
};

/// "/sys/bus/pci/devices/0000:01:00.0"
[[nodiscard]] std::string device_path(const PciAddress& address);

/// The kernel driver of a device; empty if it has none.
[[nodiscard]] Result<std::string> current_driver(Sys& sys, const PciAddress& address);
/// The IOMMU group of a device, kUngrouped if it has none.
[[nodiscard]] Result<int> iommu_group_of(Sys& sys, const PciAddress& address);
/// Everything of one device; Errc::kNoDevice if there is none at that address.
[[nodiscard]] Result<PciDeviceInfo> read_pci_device(Sys& sys, const PciAddress& address);
/// Every PCI function of the machine, by address.
[[nodiscard]] Result<std::vector<PciDeviceInfo>> scan_pci_devices(Sys& sys);
/// The devices of one group; those that are not PCI devices are left out.
[[nodiscard]] Result<std::vector<PciAddress>> group_devices(Sys& sys, int group);
/// Whether the kernel has any IOMMU group at all.
[[nodiscard]] Result<bool> has_iommu(Sys& sys);
/// Whether a device that has no group may get one when a driver takes it: some IOMMUs (virtio-iommu as a
/// module) look at a device only then.
[[nodiscard]] Result<bool> may_be_grouped_when_bound(Sys& sys, const PciDeviceInfo& device);

}  // namespace spinring::vfio_glue
