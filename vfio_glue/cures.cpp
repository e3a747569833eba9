#include "vfio_glue/cures.hpp"

#include <fmt/format.h>

#include <cerrno>

#include "vfio_glue/errors.hpp"
#include "vfio_glue/sysfs.hpp"

namespace spinring::vfio_glue {
namespace {

Error make(Errc code, std::string operation, std::string subject, int system_errno, std::string cure) {
  return {make_error_code(code), std::move(operation), std::move(subject), system_errno, std::move(cure)};
}

}  // namespace

Error no_iommu_error(std::string subject) {
  return make(Errc::kNoIommu, "looking for the device's IOMMU group", std::move(subject), 0,
              "Switch the IOMMU on in the firmware (VT-d, AMD-Vi) and boot the kernel with intel_iommu=on "
              "(Intel; AMD needs no option); afterwards /sys/kernel/iommu_groups is not empty");
}

Error no_module_error(std::string operation, std::string subject, const std::string& module,
                      int system_errno) {
  return make(Errc::kNoModule, std::move(operation), std::move(subject), system_errno,
              fmt::format("Load the module: modprobe {}", module));
}

Error open_node_error(std::string operation, const std::string& path, int system_errno) {
  switch (system_errno) {
    case EACCES:
    case EPERM:
      return make(Errc::kPermission, std::move(operation), path, system_errno,
                  fmt::format("Give this user the node: sudo chown $USER {}", path));
    case EBUSY:
      return make(Errc::kBusy, std::move(operation), path, system_errno,
                  fmt::format("A group can be open in one process only. See which one: fuser -v {}", path));
    case ENOENT:
    case ENODEV:
    case ENXIO:
      return make(Errc::kNoGroup, std::move(operation), path, system_errno,
                  "No device of this group is bound to vfio-pci. Bind it: spinring-devbind --bind ADDRESS");
    default:
      return make(Errc::kKernel, std::move(operation), path, system_errno, "");
  }
}

Error open_container_error(std::string operation, const std::string& path, int system_errno) {
  if (system_errno == ENOENT || system_errno == ENODEV || system_errno == ENXIO) {
    return no_module_error(std::move(operation), path, "vfio-pci", system_errno);
  }
  return open_node_error(std::move(operation), path, system_errno);
}

bool driver_is_harmless(const std::string& driver) {
  return driver.empty() || driver == "vfio-pci" || driver == "pci-stub" || driver == "pcieport";
}

Error not_viable_error(Sys& sys, int group, std::string operation, int system_errno) {
  std::string list;
  std::string culprits;
  if (const Result<std::vector<PciAddress>> devices = group_devices(sys, group)) {
    for (const PciAddress& address : *devices) {
      const Result<std::string> driver = current_driver(sys, address);
      const std::string name = driver ? *driver : "unreadable";
      list += fmt::format("{}{} ({})", list.empty() ? "" : ", ", address.to_string(),
                          name.empty() ? "no driver" : name);
      if (!driver_is_harmless(name)) culprits += fmt::format(" {}", address.to_string());
    }
  }
  std::string cure =
      fmt::format("All devices of a group must be bound to vfio-pci or to no driver; group {} has: {}", group,
                  list.empty() ? "an unreadable list of devices" : list);
  if (!culprits.empty()) cure += fmt::format(". Run: spinring-devbind --bind{}", culprits);
  return make(Errc::kGroupNotViable, std::move(operation), fmt::format("/dev/vfio/{}", group), system_errno,
              std::move(cure));
}

Error memlock_error(std::string operation, std::string subject, std::uint64_t needed, std::uint64_t allowed,
                    int system_errno) {
  const std::uint64_t needed_kib = (needed + 1023) / 1024;
  return make(
      Errc::kMemlock, std::move(operation), std::move(subject), system_errno,
      fmt::format("{} KiB of locked memory are needed, {} KiB are allowed. Raise the limit: ulimit -l "
                  "{} (for good: memlock in /etc/security/limits.conf), or run as root",
                  needed_kib, allowed / 1024, needed_kib));
}

Error hugepages_error(std::uint64_t page_size, std::uint64_t wanted, std::uint64_t free,
                      std::uint64_t total) {
  const std::uint64_t kib = page_size / 1024;
  const std::string folder = fmt::format("/sys/kernel/mm/hugepages/hugepages-{}kB", kib);
  return make(Errc::kHugepages, "counting hugepages", folder, 0,
              fmt::format("{} free pages of {} KiB are needed, {} of {} are free. Reserve more: echo {} > "
                          "{}/nr_hugepages",
                          wanted, kib, free, total, total - free + wanted, folder));
}

}  // namespace spinring::vfio_glue
