#pragma once

#include <string>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "vfio_glue/container.hpp"
#include "vfio_glue/pci_address.hpp"
#include "vfio_glue/sys.hpp"

namespace spinring::vfio_glue {

/// /dev/vfio/<group>: the smallest set of devices that the IOMMU can tell apart from others. Open in one
/// process at a time. Closing it takes the group out of its container, once its devices are closed.
/// Control thread only.
class Group {
 public:
  /// Opens the group's node and checks that it is viable. With `no_iommu`, the node
  /// /dev/vfio/noiommu-<group>: never chosen unless asked for, and logged as a warning.
  [[nodiscard]] static Result<Group> open(Sys& sys, int number, bool no_iommu);

  /// VFIO_GROUP_SET_CONTAINER.
  [[nodiscard]] Result<void> attach(const Container& container) const;
  /// VFIO_GROUP_GET_DEVICE_FD; the container's IOMMU must have been set.
  [[nodiscard]] Result<Fd> open_device(const PciAddress& address) const;

  [[nodiscard]] int number() const noexcept { return number_; }
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

 private:
  Group(Sys& sys, int number, std::string path, Fd fd)
      : sys_(&sys), number_(number), path_(std::move(path)), fd_(std::move(fd)) {}
  Result<void> check_viable() const;

  Sys* sys_;
  int number_;
  std::string path_;
  Fd fd_;
};

}  // namespace spinring::vfio_glue
