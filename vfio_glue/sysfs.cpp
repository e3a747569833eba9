#include "vfio_glue/sysfs.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <charconv>

#include "vfio_glue/errors.hpp"

namespace spinring::vfio_glue {
namespace {

constexpr std::string_view kGroupsPath = "/sys/kernel/iommu_groups";

/// Last part of a link's target: the name of a driver, the number of a group. Empty if there is no link.
Result<std::string> link_name(Sys& sys, const std::string& path) {
  const SysResult<std::string> target = sys.read_link(path);
  if (!target) {
    if (target.error() == ENOENT) return std::string();
    return fail(Errc::kKernel, "readlink", path, target.error());
  }
  return target->substr(target->rfind('/') + 1);
}

Result<long> read_number(Sys& sys, const std::string& path) {
  const SysResult<std::string> text = sys.read_file(path);
  if (!text) return fail(Errc::kKernel, "reading", path, text.error());
  std::string_view digits = *text;
  int base = 10;
  if (digits.starts_with("0x")) {
    digits.remove_prefix(2);
    base = 16;
  }
  long value = 0;
  const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (error != std::errc{}) return fail(Errc::kKernel, "reading a number", path);
  return value;
}

}  // namespace

std::string device_path(const PciAddress& address) { return "/sys/bus/pci/devices/" + address.to_string(); }

Result<std::string> current_driver(Sys& sys, const PciAddress& address) {
  return link_name(sys, device_path(address) + "/driver");
}

Result<int> iommu_group_of(Sys& sys, const PciAddress& address) {
  Result<std::string> name = link_name(sys, device_path(address) + "/iommu_group");
  if (!name) return fail(std::move(name));
  if (name->empty()) return kUngrouped;
  int group = kUngrouped;
  const auto [stop, error] = std::from_chars(name->data(), name->data() + name->size(), group);
  if (error != std::errc{}) {
    return fail(Errc::kKernel, "reading the group's number", device_path(address) + "/iommu_group");
  }
  return group;
}

Result<PciDeviceInfo> read_pci_device(Sys& sys, const PciAddress& address) {
  const std::string path = device_path(address);
  if (const SysResult<int> there = sys.access(path, 0); !there) {
    if (there.error() != ENOENT) return fail(Errc::kKernel, "access", path, there.error());
    return fail(Errc::kNoDevice, "looking for the device", address.to_string(), 0,
                "lspci -D lists the devices of this machine");
  }
  Result<long> vendor = read_number(sys, path + "/vendor");
  if (!vendor) return fail(std::move(vendor));
  Result<long> device = read_number(sys, path + "/device");
  if (!device) return fail(std::move(device));
  Result<long> class_code = read_number(sys, path + "/class");
  if (!class_code) return fail(std::move(class_code));
  Result<long> numa_node = read_number(sys, path + "/numa_node");
  if (!numa_node) {
    // Kernels built without NUMA have no such file.
    if (numa_node.error().system_errno != ENOENT) return fail(std::move(numa_node));
    numa_node = -1;
  }
  Result<int> group = iommu_group_of(sys, address);
  if (!group) return fail(std::move(group));
  Result<std::string> driver = current_driver(sys, address);
  if (!driver) return fail(std::move(driver));
  return PciDeviceInfo{address,
                       static_cast<std::uint16_t>(*vendor),
                       static_cast<std::uint16_t>(*device),
                       static_cast<std::uint32_t>(*class_code),
                       *group,
                       static_cast<int>(*numa_node),
                       std::move(*driver)};
}

Result<std::vector<PciDeviceInfo>> scan_pci_devices(Sys& sys) {
  const std::string path = "/sys/bus/pci/devices";
  const SysResult<std::vector<std::string>> names = sys.list_directory(path);
  if (!names) return fail(Errc::kKernel, "listing", path, names.error());
  std::vector<PciDeviceInfo> devices;
  for (const std::string& name : *names) {
    Result<PciAddress> address = PciAddress::parse(name);
    if (!address) return fail(std::move(address));
    Result<PciDeviceInfo> device = read_pci_device(sys, *address);
    if (!device) return fail(std::move(device));
    devices.push_back(std::move(*device));
  }
  return devices;
}

Result<std::vector<PciAddress>> group_devices(Sys& sys, int group) {
  const std::string path = fmt::format("{}/{}/devices", kGroupsPath, group);
  const SysResult<std::vector<std::string>> names = sys.list_directory(path);
  if (!names) return fail(Errc::kKernel, "listing", path, names.error());
  std::vector<PciAddress> devices;
  for (const std::string& name : *names) {
    if (const Result<PciAddress> address = PciAddress::parse(name)) devices.push_back(*address);
  }
  return devices;
}

Result<bool> has_iommu(Sys& sys) {
  const SysResult<std::vector<std::string>> groups = sys.list_directory(std::string(kGroupsPath));
  if (groups) return !groups->empty();
  if (groups.error() == ENOENT) return false;  // a kernel built without IOMMU support
  return fail(Errc::kKernel, "listing", std::string(kGroupsPath), groups.error());
}

Result<bool> may_be_grouped_when_bound(Sys& sys, const PciDeviceInfo& device) {
  if (!device.driver.empty()) return false;
  return has_iommu(sys);
}

}  // namespace spinring::vfio_glue
