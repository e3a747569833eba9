#pragma once

#include <system_error>

namespace spinring::vfio_glue {

enum class Errc {
  kBadAddress = 1,     ///< not a PCI address
  kNoDevice,           ///< no PCI function at that address
  kNoModule,           ///< a kernel module that is needed is not loaded
  kBind,               ///< the kernel did not bind the device to the driver
  kNoIommu,            ///< the kernel runs without an IOMMU, or the device is not behind it
  kNoGroup,            ///< the group has no node under /dev/vfio
  kGroupNotViable,     ///< other devices of the group are in the hands of kernel drivers
  kPermission,         ///< this user may not do that
  kBusy,               ///< another process holds it
  kApiVersion,         ///< a VFIO that this code does not know
  kNoIommuType,        ///< the container offers no IOMMU type that this code knows
  kMemlock,            ///< the locked-memory limit is lower than the memory to map
  kMappingsExhausted,  ///< the container takes no more DMA mappings
  kAperture,           ///< no room left in the IOMMU's address ranges
  kAlignment,          ///< memory in pages that the IOMMU cannot map
  kNotContiguous,      ///< no-IOMMU mode: the region is not one physical range
  kBadRegion,          ///< the device has no such region, or the access lies outside it
  kBadDevice,          ///< the device's answers contradict the PCI specification
  kNoReset,            ///< the device cannot be reset alone
  kNoInterrupt,        ///< the device has no interrupt of that kind
  kHugepages,          ///< too few free hugepages
  kKernel,             ///< a system call failed: errno says why
};

std::error_code make_error_code(Errc code) noexcept;

}  // namespace spinring::vfio_glue

template <>
struct std::is_error_code_enum<spinring::vfio_glue::Errc> : std::true_type {};
