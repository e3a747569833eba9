// /dev/vfio, /sys/bus/pci, /sys/kernel/iommu_groups: what is there follows from the devices and their
// drivers.
#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "tests/sim/fake_kernel.hpp"

namespace spinring::sim {
namespace {

using vfio_glue::SysResult;

constexpr std::string_view kDevices = "/sys/bus/pci/devices";
constexpr std::string_view kDrivers = "/sys/bus/pci/drivers";
constexpr std::string_view kGroups = "/sys/kernel/iommu_groups";

/// "/a/b/c" under "/a/b" is "c"; nothing if it is elsewhere.
std::optional<std::string> below(const std::string& path, std::string_view folder) {
  if (!path.starts_with(folder) || path.size() <= folder.size() || path[folder.size()] != '/')
    return std::nullopt;
  return path.substr(folder.size() + 1);
}

std::pair<std::string, std::string> split(const std::string& path) {
  const std::size_t slash = path.find('/');
  if (slash == std::string::npos) return {path, ""};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

}  // namespace

FakeKernel::Answer FakeKernel::open_node(const std::string& path) {
  if (!exists(path)) return error(ENOENT);
  if (denied.contains(path)) return error(EACCES);
  File file{.name = path};
  if (path == "/dev/vfio/vfio") {
    file.kind = Kind::kContainer;
    file.container = next_container_++;
    containers_[file.container];
  } else if (path == "/proc/self/pagemap") {
    file.kind = Kind::kPagemap;
  } else {
    file.kind = Kind::kGroup;
    const std::size_t digits = path.find_first_of("0123456789");
    std::from_chars(path.data() + digits, path.data() + path.size(), file.group);
    // One opener at a time, here or elsewhere; an open device holds its group's file.
    if (held_elsewhere.contains(file.group) || has_open_group(file.group) || has_open_device(file.group)) {
      return error(EBUSY);
    }
  }
  return hand_out(Fd{::memfd_create("fake-node", MFD_CLOEXEC)}, std::move(file)).release();
}

bool FakeKernel::exists(const std::string& path) const {
  if (path == "/proc/self/pagemap" || path == kGroups || path == kDevices) return true;
  if (path == "/dev/vfio/vfio" || path == "/sys/bus/pci/drivers/vfio-pci") return vfio_pci_loaded;
  if (path == "/sys/module/vfio_iommu_type1") return type1v2 || type1;
  if (const auto node = below(path, "/dev/vfio")) {
    return std::any_of(devices_.begin(), devices_.end(), [&](const auto& entry) {
      const FakeDevice& device = entry.second;
      return device.driver == "vfio-pci" &&
             *node == fmt::format("{}{}", device.unguarded ? "noiommu-" : "", device.group);
    });
  }
  if (const auto driver = below(path, kDrivers)) {
    return std::any_of(devices_.begin(), devices_.end(),
                       [&](const auto& entry) { return entry.second.natural_driver == *driver; });
  }
  if (const auto name = below(path, kDevices)) {
    const auto [device, rest] = split(*name);
    if (!devices_.contains(device)) return false;
    return rest.empty() || link_target(path) || file_text(path);
  }
  return files.contains(path) || !children(path).empty();
}

std::vector<std::string> FakeKernel::children(const std::string& path) const {
  std::set<std::string> names;
  for (const auto& [name, device] : devices_) {
    if (path == kDevices) names.insert(name);
    if (path == kGroups && device.group >= 0) names.insert(std::to_string(device.group));
    if (device.group >= 0 && path == fmt::format("{}/{}/devices", kGroups, device.group)) names.insert(name);
  }
  for (const auto& [file, text] : files) {
    if (const auto rest = below(file, path)) names.insert(split(*rest).first);
  }
  return {names.begin(), names.end()};
}

std::optional<std::string> FakeKernel::link_target(const std::string& path) const {
  const auto name = below(path, kDevices);
  if (!name) return std::nullopt;
  const auto [address, attribute] = split(*name);
  const auto found = devices_.find(address);
  if (found == devices_.end()) return std::nullopt;
  const FakeDevice& device = found->second;
  if (attribute == "driver" && !device.driver.empty()) return "../../../bus/pci/drivers/" + device.driver;
  if (attribute == "iommu_group" && device.group >= 0) {
    return fmt::format("../../../kernel/iommu_groups/{}", device.group);
  }
  return std::nullopt;
}

std::optional<std::string> FakeKernel::file_text(const std::string& path) const {
  if (const auto text = files.find(path); text != files.end()) return text->second;
  const auto name = below(path, kDevices);
  if (!name) return std::nullopt;
  const auto [address, attribute] = split(*name);
  const auto found = devices_.find(address);
  if (found == devices_.end()) return std::nullopt;
  const FakeDevice& device = found->second;
  if (attribute == "vendor") return fmt::format("0x{:04x}\n", device.vendor);
  if (attribute == "device") return fmt::format("0x{:04x}\n", device.device);
  if (attribute == "class") return fmt::format("0x{:06x}\n", device.class_code);
  if (attribute == "numa_node") return fmt::format("{}\n", device.numa_node);
  if (attribute == "driver_override") {
    return (device.driver_override.empty() ? "(null)" : device.driver_override) + "\n";
  }
  return std::nullopt;
}

SysResult<int> FakeKernel::access(const std::string& path, int) {
  if (const auto fault = enter("access " + path)) return error(*fault);
  if (!exists(path)) return error(ENOENT);
  if (denied.contains(path)) return error(EACCES);
  return 0;
}

SysResult<std::string> FakeKernel::read_link(const std::string& path) {
  if (const auto fault = enter("readlink " + path)) return error(*fault);
  if (auto target = link_target(path)) return *target;
  return error(ENOENT);
}

SysResult<std::vector<std::string>> FakeKernel::list_directory(const std::string& path) {
  if (const auto fault = enter("listdir " + path)) return error(*fault);
  if (!exists(path)) return error(ENOENT);
  return children(path);
}

SysResult<std::string> FakeKernel::read_file(const std::string& path) {
  if (const auto fault = enter("read " + path)) return error(*fault);
  if (auto text = file_text(path)) return *text;
  return error(ENOENT);
}

FakeKernel::Answer FakeKernel::unbind(FakeDevice& device) {
  const std::string name = device.address.to_string();
  if (device.driver == "vfio-pci") {
    const bool open = std::any_of(files_.begin(), files_.end(), [&name](const File& file) {
      return file.kind == Kind::kDevice && file.device == name;
    });
    const auto bound_in_group = std::count_if(devices_.begin(), devices_.end(), [&](const auto& entry) {
      return entry.second.group == device.group && entry.second.driver == "vfio-pci";
    });
    // vfio_unregister_group_dev() waits for the device's file to be closed, and, when no device of the group
    // is left, for the group to leave its container.
    if (open || (bound_in_group == 1 && group_in_use(device.group))) {
      violation(name + ": unbinding it would have waited for ourselves");
      return error(EDEADLK);
    }
    if (device.unguarded) {
      device.unguarded = false;
      device.group = -1;
    }
  }
  device.driver.clear();
  return 0;
}

FakeKernel::Answer FakeKernel::bind(FakeDevice& device, const std::string& driver) {
  if (!device.driver.empty()) return error(EBUSY);
  const bool matches =
      device.driver_override.empty() ? driver == device.natural_driver : driver == device.driver_override;
  if (!matches || (driver == "vfio-pci" && !vfio_pci_loaded)) return error(ENODEV);
  if (driver == "vfio-pci") {
    if (device.probe_fails) return error(EINVAL);
    if (device.group < 0) device.group = device.group_on_bind;
    if (device.group < 0) {
      if (!noiommu) return error(EINVAL);
      // VFIO makes a group for it.
      device.group = 100 + static_cast<int>(devices_.size());
      device.unguarded = true;
    }
  } else if (group_in_use(device.group)) {
    return error(EBUSY);  // the group's DMA is user space's
  }
  device.driver = driver;
  return 0;
}

SysResult<int> FakeKernel::write_file(const std::string& path, std::string_view text) {
  if (const auto fault = enter(fmt::format("write {} '{}'", path, text == "\n" ? "\\n" : text)))
    return error(*fault);
  if (denied.contains(path)) return error(EACCES);
  if (path == "/sys/bus/pci/drivers_probe") {
    const auto found = devices_.find(std::string(text));
    if (found == devices_.end()) return error(ENODEV);
    FakeDevice& device = found->second;
    if (!device.driver.empty()) return 0;
    // drivers_probe answers well even if no driver took the device.
    static_cast<void>(
        bind(device, device.driver_override.empty() ? device.natural_driver : device.driver_override));
    return 0;
  }
  if (const auto name = below(path, kDrivers)) {
    const auto [driver, attribute] = split(*name);
    const auto found = devices_.find(std::string(text));
    if (found == devices_.end() || !exists(fmt::format("{}/{}", kDrivers, driver))) return error(ENODEV);
    if (attribute == "bind") return bind(found->second, driver);
    if (attribute == "unbind") return found->second.driver == driver ? unbind(found->second) : error(ENODEV);
    return error(ENOENT);
  }
  if (const auto name = below(path, kDevices)) {
    const auto [address, attribute] = split(*name);
    const auto found = devices_.find(address);
    if (found == devices_.end() || attribute != "driver_override") return error(ENOENT);
    if (text.empty()) return error(EINVAL);
    found->second.driver_override = text == "\n" ? "" : std::string(text);
    return 0;
  }
  return error(ENOENT);
}

}  // namespace spinring::sim
