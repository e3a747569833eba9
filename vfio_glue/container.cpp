#include "vfio_glue/container.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/vfio.h>

#include <cerrno>

#include "vfio_glue/cures.hpp"
#include "vfio_glue/errors.hpp"

namespace spinring::vfio_glue {

Result<Container> Container::open(Sys& sys) {
  SysResult<Fd> fd = sys.open(kPath, O_RDWR);
  if (!fd) return tl::unexpected<Error>(open_container_error("open", kPath, fd.error()));
  Container container(sys, std::move(*fd));
  const SysResult<int> version = sys.ioctl(container.fd(), VFIO_GET_API_VERSION, 0);
  if (!version) return fail(Errc::kKernel, "VFIO_GET_API_VERSION", kPath, version.error());
  if (*version != VFIO_API_VERSION) {
    return fail(
        Errc::kApiVersion, "VFIO_GET_API_VERSION", kPath, 0,
        fmt::format("The kernel speaks version {}, this program version {}", *version, VFIO_API_VERSION));
  }
  return container;
}

Result<bool> Container::supports(unsigned long extension) const {
  const SysResult<int> answer = sys_->ioctl(fd_.get(), VFIO_CHECK_EXTENSION, extension);
  if (!answer) return fail(Errc::kKernel, "VFIO_CHECK_EXTENSION", kPath, answer.error());
  return *answer > 0;
}

Result<void> Container::set_iommu(unsigned long type) const {
  const SysResult<int> done = sys_->ioctl(fd_.get(), VFIO_SET_IOMMU, type);
  if (done) return {};
  if (done.error() == EPERM) {
    // vfio_iommu_type1_attach_group(): without interrupt remapping a device could forge any interrupt.
    return fail(Errc::kPermission, "VFIO_SET_IOMMU", kPath, EPERM,
                "The platform has no interrupt remapping: switch it on (firmware, or intremap=on of QEMU's "
                "intel-iommu), or, if you trust the devices, modprobe vfio_iommu_type1 "
                "allow_unsafe_interrupts=1");
  }
  return fail(Errc::kKernel, "VFIO_SET_IOMMU", kPath, done.error());
}

}  // namespace spinring::vfio_glue
