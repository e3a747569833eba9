#pragma once

#include "base/fd.hpp"
#include "base/result.hpp"
#include "vfio_glue/sys.hpp"

namespace spinring::vfio_glue {

/// /dev/vfio/vfio: an I/O address space that groups are put into. Its IOMMU type can be set once the first
/// group is inside, and is gone, with every DMA mapping, when the last group has left. Control thread only.
class Container {
 public:
  static constexpr const char* kPath = "/dev/vfio/vfio";

  /// Opens it and checks the API version.
  [[nodiscard]] static Result<Container> open(Sys& sys);

  /// VFIO_CHECK_EXTENSION: an IOMMU type (VFIO_TYPE1v2_IOMMU, …) or a property.
  [[nodiscard]] Result<bool> supports(unsigned long extension) const;
  /// VFIO_SET_IOMMU; at least one group must be inside.
  [[nodiscard]] Result<void> set_iommu(unsigned long type) const;
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

 private:
  Container(Sys& sys, Fd fd) : sys_(&sys), fd_(std::move(fd)) {}

  Sys* sys_;
  Fd fd_;
};

}  // namespace spinring::vfio_glue
