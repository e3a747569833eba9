#pragma once

#include <cstdint>
#include <string>

#include "base/result.hpp"
#include "vfio_glue/pci_address.hpp"
#include "vfio_glue/sys.hpp"

/// The refusals that users meet, worded once: the calls that fail and the preflight check say the same.
namespace spinring::vfio_glue {

/// The kernel has no IOMMU, or this device is not behind it. `subject`: the device or the sysfs folder.
[[nodiscard]] Error no_iommu_error(std::string subject);
/// The module of that name must be loaded. `operation` is what was tried.
[[nodiscard]] Error no_module_error(std::string operation, std::string subject, const std::string& module,
                                    int system_errno = 0);
/// /dev/vfio/vfio could not be opened.
[[nodiscard]] Error open_container_error(std::string operation, const std::string& path, int system_errno);
/// A group's node under /dev/vfio could not be opened: permission, in use, missing, or whatever errno says.
[[nodiscard]] Error open_node_error(std::string operation, const std::string& path, int system_errno);
/// The group's other devices are in the hands of kernel drivers: lists every device with its driver.
[[nodiscard]] Error not_viable_error(Sys& sys, int group, std::string operation, int system_errno = 0);
/// `needed` bytes must be locked in total, `allowed` may be.
[[nodiscard]] Error memlock_error(std::string operation, std::string subject, std::uint64_t needed,
                                  std::uint64_t allowed, int system_errno = 0);
/// Fewer than `wanted` free hugepages of `page_size` bytes.
[[nodiscard]] Error hugepages_error(std::uint64_t page_size, std::uint64_t wanted, std::uint64_t free,
                                    std::uint64_t total);

/// Whether a device in that driver's hands leaves its group viable (drivers/vfio/vfio_main.c: VFIO drivers,
/// no driver, pci-stub, and bridges' pcieport).
[[nodiscard]] bool driver_is_harmless(const std::string& driver);

}  // namespace spinring::vfio_glue
