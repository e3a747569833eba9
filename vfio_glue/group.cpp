#include "vfio_glue/group.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/vfio.h>

#include <cerrno>

#include "base/log.hpp"
#include "vfio_glue/cures.hpp"
#include "vfio_glue/errors.hpp"
#include "vfio_glue/info_chain.hpp"

namespace spinring::vfio_glue {

Result<Group> Group::open(Sys& sys, int number, bool no_iommu) {
  std::string path = fmt::format("/dev/vfio/{}{}", no_iommu ? "noiommu-" : "", number);
  SysResult<Fd> fd = sys.open(path, O_RDWR);
  if (!fd) return tl::unexpected<Error>(open_node_error("open", path, fd.error()));
  Group group(sys, number, std::move(path), std::move(*fd));
  if (Result<void> viable = group.check_viable(); !viable) return fail(std::move(viable));
  if (no_iommu) {
    log(LogLevel::kWarning, fmt::format("{}: no IOMMU stands between this device and the whole memory of the "
                                        "machine: a wrong descriptor can overwrite anything",
                                        group.path()));
  }
  return group;
}

Result<void> Group::check_viable() const {
  auto status = zeroed<vfio_group_status>();
  status.argsz = sizeof(status);
  const SysResult<int> done = ioctl_with(*sys_, fd_.get(), VFIO_GROUP_GET_STATUS, &status);
  if (!done) return fail(Errc::kKernel, "VFIO_GROUP_GET_STATUS", path_, done.error());
  if ((status.flags & VFIO_GROUP_FLAGS_VIABLE) != 0) return {};
  return tl::unexpected<Error>(not_viable_error(*sys_, number_, "VFIO_GROUP_GET_STATUS"));
}

Result<void> Group::attach(const Container& container) const {
  int container_fd = container.fd();
  const SysResult<int> done = ioctl_with(*sys_, fd_.get(), VFIO_GROUP_SET_CONTAINER, &container_fd);
  if (done) return {};
  switch (done.error()) {
    case EPERM:
    case EBUSY:
      // A kernel driver has taken a device of the group since its status was read
      // (iommu_group_claim_dma_owner).
      return tl::unexpected<Error>(
          not_viable_error(*sys_, number_, "VFIO_GROUP_SET_CONTAINER", done.error()));
    case EINVAL:
      return fail(Errc::kAperture, "VFIO_GROUP_SET_CONTAINER", path_, EINVAL,
                  "This group's IOMMU cannot take the memory that is mapped already (narrower aperture or "
                  "reserved ranges): open its devices before the others, or use a bus of its own");
    default:
      return fail(Errc::kKernel, "VFIO_GROUP_SET_CONTAINER", path_, done.error());
  }
}

Result<Fd> Group::open_device(const PciAddress& address) const {
  const std::string name = address.to_string();
  const SysResult<int> fd = ioctl_with(*sys_, fd_.get(), VFIO_GROUP_GET_DEVICE_FD, name.c_str());
  if (fd) return Fd{*fd};
  switch (fd.error()) {
    case ENODEV:
      return fail(Errc::kBind, "VFIO_GROUP_GET_DEVICE_FD", name, ENODEV,
                  fmt::format("It is not bound to vfio-pci. Run: spinring-devbind --bind {}", name));
    case EBUSY:
      return fail(Errc::kBusy, "VFIO_GROUP_GET_DEVICE_FD", name, EBUSY,
                  fmt::format("See who holds its group: fuser -v {}", path_));
    default:
      return fail(Errc::kKernel, "VFIO_GROUP_GET_DEVICE_FD", name, fd.error());
  }
}

}  // namespace spinring::vfio_glue
