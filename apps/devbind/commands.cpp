#include "apps/devbind/commands.hpp"

#include <fmt/format.h>
#include <fmt/ostream.h>

#include <functional>

#include "vfio_glue/bind.hpp"
#include "vfio_glue/preflight.hpp"
#include "vfio_glue/sysfs.hpp"

namespace spinring::devbind {
namespace {

using vfio_glue::PciAddress;
using vfio_glue::Sys;

std::string or_none(const std::string& driver) { return driver.empty() ? "no driver" : driver; }

Result<void> bind(Sys& sys, const PciAddress& address, std::ostream& out) {
  Result<std::string> before = vfio_glue::current_driver(sys, address);
  if (!before) return fail(std::move(before));
  Result<vfio_glue::BoundDevice> bound = vfio_glue::BoundDevice::bind(sys, address);
  if (!bound) return fail(std::move(bound));
  bound->keep();
  Result<int> group = vfio_glue::iommu_group_of(sys, address);
  if (!group) return fail(std::move(group));
  const bool was_there = *before == vfio_glue::kVfioDriver;
  fmt::print(out, "{}: {} (/dev/vfio/{}), was with {}\n", address.to_string(),
             was_there ? "already bound to vfio-pci" : "bound to vfio-pci", *group, or_none(*before));
  return {};
}

Result<void> restore(Sys& sys, const PciAddress& address, const std::string& driver, std::ostream& out) {
  if (Result<void> done = vfio_glue::hand_over(sys, address, driver); !done) return done;
  Result<std::string> now = vfio_glue::current_driver(sys, address);
  if (!now) return fail(std::move(now));
  fmt::print(out, "{}: with {} now\n", address.to_string(), or_none(*now));
  return {};
}

bool for_each(const std::vector<std::string>& addresses, std::ostream& err,
              const std::function<Result<void>(const PciAddress&)>& action) {
  bool good = true;
  for (const std::string& text : addresses) {
    Result<void> done;
    if (Result<PciAddress> address = PciAddress::parse(text)) {
      done = action(*address);
    } else {
      done = fail(std::move(address));
    }
    if (done) continue;
    fmt::print(err, "{}\n", done.error().message());
    good = false;
  }
  return good;
}

bool preflight(const Request& request, Sys& sys, std::ostream& out, std::ostream& err) {
  vfio_glue::PreflightRequest wanted;
  wanted.memory = request.memory_mib << 20;
  wanted.page_size = request.page_kib << 10;
  bool good = for_each(request.preflight_devices, err, [&wanted](const PciAddress& address) -> Result<void> {
    wanted.devices.push_back(address);
    return {};
  });
  for (const vfio_glue::Finding& finding : vfio_glue::preflight(sys, wanted)) {
    fmt::print(out, "{:4} {}\n", finding.good ? "ok" : "BAD", finding.what);
    if (!finding.good) fmt::print(out, "     {}\n", finding.error.message());
    good = good && finding.good;
  }
  return good;
}

bool status(Sys& sys, std::ostream& out, std::ostream& err) {
  const auto devices = vfio_glue::scan_pci_devices(sys);
  if (!devices) {
    fmt::print(err, "{}\n", devices.error().message());
    return false;
  }
  constexpr const char* kRow = "{:<13} {:<10} {:<16} {:>5} {:>5}\n";
  fmt::print(out, kRow, "address", "ids", "driver", "group", "numa");
  for (const vfio_glue::PciDeviceInfo& device : *devices) {
    if (!device.is_network()) continue;
    const auto number = [](int value) { return value < 0 ? std::string("-") : std::to_string(value); };
    fmt::print(
        out, kRow, device.address.to_string(), fmt::format("{:04x}:{:04x}", device.vendor, device.device),
        device.driver.empty() ? "-" : device.driver, number(device.iommu_group), number(device.numa_node));
  }
  return true;
}

}  // namespace

int run(const Request& request, Sys& sys, std::ostream& out, std::ostream& err) {
  bool good = for_each(request.restore, err,
                       [&](const PciAddress& address) { return restore(sys, address, request.driver, out); });
  good =
      for_each(request.bind, err, [&](const PciAddress& address) { return bind(sys, address, out); }) && good;
  if (request.preflight) good = preflight(request, sys, out, err) && good;
  if (request.status) good = status(sys, out, err) && good;
  return good ? 0 : 1;
}

}  // namespace spinring::devbind
