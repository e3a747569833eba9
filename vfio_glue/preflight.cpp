#include "vfio_glue/preflight.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <optional>

#include "vfio_glue/bind.hpp"
#include "vfio_glue/container.hpp"
#include "vfio_glue/cures.hpp"
#include "vfio_glue/errors.hpp"
#include "vfio_glue/sysfs.hpp"

namespace spinring::vfio_glue {
namespace {

constexpr const char* kHugepages = "/sys/kernel/mm/hugepages";

class Check {
 public:
  Check(Sys& sys, const PreflightRequest& request) : sys_(sys), request_(request) {}

  std::vector<Finding> run() {
    iommu();
    modules();
    memlock();
    hugepages();
    for (const PciAddress& address : request_.devices) device(address);
    return std::move(findings_);
  }

 private:
  void good(std::string what) { findings_.push_back({std::move(what), true, {}}); }
  void bad(std::string what, Error error) { findings_.push_back({std::move(what), false, std::move(error)}); }

  void iommu() {
    Result<bool> there = has_iommu(sys_);
    if (!there) return bad("IOMMU", std::move(there.error()));
    if (!*there) return bad("IOMMU", no_iommu_error("/sys/kernel/iommu_groups"));
    good("IOMMU");
  }

  void modules() {
    const std::string driver = std::string("/sys/bus/pci/drivers/") + kVfioDriver;
    if (sys_.access(driver, F_OK)) {
      good("module vfio-pci");
    } else {
      bad("module vfio-pci", no_module_error("looking for the driver", driver, kVfioDriver));
    }
    if (sys_.access("/sys/module/vfio_iommu_type1", F_OK)) {
      good("module vfio_iommu_type1");
    } else {
      bad("module vfio_iommu_type1",
          no_module_error("looking for the module", "/sys/module/vfio_iommu_type1", "vfio_iommu_type1"));
    }
    node(Container::kPath, open_container_error);
  }

  void node(const std::string& path, Error (*refusal)(std::string, const std::string&, int)) {
    const SysResult<int> usable = sys_.access(path, R_OK | W_OK);
    if (usable) return good(path);
    bad(path, refusal("access", path, usable.error()));
  }

  void memlock() {
    const SysResult<std::uint64_t> allowed = sys_.memlock_limit();
    if (!allowed) {
      return bad("locked memory",
                 {make_error_code(Errc::kKernel), "getrlimit", "RLIMIT_MEMLOCK", allowed.error(), ""});
    }
    const std::string what = *allowed == Sys::kUnlimited
                                 ? std::string("locked memory: unlimited")
                                 : fmt::format("locked memory: {} KiB allowed", *allowed / 1024);
    if (*allowed >= request_.memory) return good(what);
    bad(what, memlock_error("getrlimit", "RLIMIT_MEMLOCK", request_.memory, *allowed));
  }

  std::optional<std::uint64_t> read_count(const std::string& path) {
    const SysResult<std::string> text = sys_.read_file(path);
    std::uint64_t value = 0;
    if (!text || std::from_chars(text->data(), text->data() + text->size(), value).ec != std::errc{}) {
      return std::nullopt;
    }
    return value;
  }

  /// Every size that the kernel has, and what is wanted of one of them.
  void hugepages() {
    const SysResult<std::vector<std::string>> folders = sys_.list_directory(kHugepages);
    bool found = request_.page_size == 0;
    for (const std::string& folder : folders ? *folders : std::vector<std::string>{}) {
      std::uint64_t kib = 0;
      constexpr std::string_view kPrefix = "hugepages-";
      if (!folder.starts_with(kPrefix)) continue;
      std::from_chars(folder.data() + kPrefix.size(), folder.data() + folder.size(), kib);
      const auto total = read_count(fmt::format("{}/{}/nr_hugepages", kHugepages, folder));
      const auto free = read_count(fmt::format("{}/{}/free_hugepages", kHugepages, folder));
      if (!total || !free) {
        bad(folder, {make_error_code(Errc::kKernel), "counting hugepages",
                     fmt::format("{}/{}", kHugepages, folder), 0, ""});
        continue;
      }
      const std::string what = fmt::format("hugepages of {} KiB: {} of {} free", kib, *free, *total);
      const bool asked_for = kib * 1024 == request_.page_size;
      found = found || asked_for;
      const std::uint64_t wanted =
          asked_for ? (request_.memory + request_.page_size - 1) / request_.page_size : 0;
      if (*free >= wanted) {
        good(what);
      } else {
        bad(what, hugepages_error(kib * 1024, wanted, *free, *total));
      }
    }
    if (!found) {
      bad(fmt::format("hugepages of {} KiB", request_.page_size / 1024),
          {make_error_code(Errc::kHugepages), "looking for the page size", kHugepages, 0,
           "This kernel has no pages of that size; 1 GiB pages need hugepagesz=1G on its command line"});
    }
  }

  void device(const PciAddress& address) {
    Result<PciDeviceInfo> info = read_pci_device(sys_, address);
    if (!info) return bad(address.to_string(), std::move(info.error()));
    const std::string what =
        fmt::format("{} [{:04x}:{:04x}], driver {}, IOMMU group {}", address.to_string(), info->vendor,
                    info->device, info->driver.empty() ? "none" : info->driver, info->iommu_group);
    if (info->iommu_group == kUngrouped) {
      const Result<bool> later = may_be_grouped_when_bound(sys_, *info);
      if (later && *later) return good(what + " (known once a driver has it)");
      return bad(what, no_iommu_error(address.to_string()));
    }
    good(what);
    group(address, info->iommu_group);
    // The node is there only once a device of the group is bound to vfio-pci.
    if (info->driver == kVfioDriver) node(fmt::format("/dev/vfio/{}", info->iommu_group), open_node_error);
  }

  /// Whether the group will be viable once `address` is bound.
  void group(const PciAddress& address, int number) {
    const std::string what = fmt::format("IOMMU group {}", number);
    Result<std::vector<PciAddress>> devices = group_devices(sys_, number);
    if (!devices) return bad(what, std::move(devices.error()));
    const bool viable = std::all_of(devices->begin(), devices->end(), [&](const PciAddress& other) {
      const Result<std::string> driver = current_driver(sys_, other);
      return other == address || (driver && driver_is_harmless(*driver)) ||
             std::find(request_.devices.begin(), request_.devices.end(), other) != request_.devices.end();
    });
    if (viable) return good(what);
    bad(what, not_viable_error(sys_, number, "looking at the group's drivers"));
  }

  Sys& sys_;
  const PreflightRequest& request_;
  std::vector<Finding> findings_;
};

}  // namespace

std::vector<Finding> preflight(Sys& sys, const PreflightRequest& request) {
  return Check(sys, request).run();
}

}  // namespace spinring::vfio_glue
