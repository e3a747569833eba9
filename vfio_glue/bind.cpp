#include "vfio_glue/bind.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <utility>

#include "base/log.hpp"
#include "vfio_glue/cures.hpp"
#include "vfio_glue/errors.hpp"
#include "vfio_glue/sysfs.hpp"

namespace spinring::vfio_glue {
namespace {

std::string driver_path(const std::string& driver) { return "/sys/bus/pci/drivers/" + driver; }

Result<void> write_attribute(Sys& sys, const std::string& path, const std::string& text,
                             std::string operation) {
  const SysResult<int> written = sys.write_file(path, text);
  if (written) return {};
  const bool denied = written.error() == EACCES || written.error() == EPERM;
  return fail(denied ? Errc::kPermission : Errc::kBind, std::move(operation), path, written.error(),
              denied ? "Binding needs root: bind once with sudo spinring-devbind --bind ADDRESS" : "");
}

/// An empty name clears the override: the kernel takes a bare newline for that.
Result<void> set_override(Sys& sys, const PciAddress& address, const std::string& driver) {
  return write_attribute(sys, device_path(address) + "/driver_override", driver.empty() ? "\n" : driver,
                         "setting driver_override");
}

Result<std::string> read_override(Sys& sys, const PciAddress& address) {
  const std::string path = device_path(address) + "/driver_override";
  const SysResult<std::string> text = sys.read_file(path);
  if (!text) return fail(Errc::kKernel, "reading", path, text.error());
  const std::string name = text->substr(0, text->find('\n'));
  return name == "(null)" ? std::string() : name;
}

Result<void> unbind(Sys& sys, const PciAddress& address, const std::string& driver) {
  return write_attribute(sys, driver_path(driver) + "/unbind", address.to_string(), "unbinding the device");
}

Result<void> probe(Sys& sys, const PciAddress& address) {
  return write_attribute(sys, "/sys/bus/pci/drivers_probe", address.to_string(), "probing for a driver");
}

Result<void> bind_to(Sys& sys, const PciAddress& address, const std::string& driver) {
  return write_attribute(sys, driver_path(driver) + "/bind", address.to_string(), "binding the device");
}

Result<void> expect_driver(Sys& sys, const PciAddress& address, const std::string& driver) {
  Result<std::string> now = current_driver(sys, address);
  if (!now) return fail(std::move(now));
  if (*now == driver) return {};
  return fail(Errc::kBind, "binding to " + driver, address.to_string(), 0,
              fmt::format("It is with {} now; the reason is in the kernel's log: dmesg | tail",
                          now->empty() ? "no driver" : *now));
}

Result<void> require_driver(Sys& sys, const PciAddress& address, const std::string& driver) {
  const SysResult<int> there = sys.access(driver_path(driver), 0);
  if (there) return {};
  if (there.error() != ENOENT) return fail(Errc::kKernel, "access", driver_path(driver), there.error());
  return tl::unexpected<Error>(no_module_error("binding to " + driver, address.to_string(), driver, ENOENT));
}

}  // namespace

BoundDevice::BoundDevice(BoundDevice&& other) noexcept
    : sys_(other.sys_),
      address_(other.address_),
      former_driver_(std::move(other.former_driver_)),
      former_override_(std::move(other.former_override_)),
      must_restore_(std::exchange(other.must_restore_, false)) {}

BoundDevice::~BoundDevice() {
  if (const Result<void> restored = restore(); !restored) {
    log(LogLevel::kWarning,
        fmt::format("{} was not given back: {}. Run: spinring-devbind --restore {}{}{}", address_.to_string(),
                    restored.error().message(), address_.to_string(),
                    former_driver_.empty() ? "" : " --driver ", former_driver_));
  }
}

Result<BoundDevice> BoundDevice::bind(Sys& sys, const PciAddress& address) {
  if (const SysResult<int> there = sys.access(device_path(address), 0); !there) {
    return fail(Errc::kNoDevice, "looking for the device", address.to_string(), there.error(),
                "lspci -D lists the devices of this machine");
  }
  BoundDevice device(sys, address);
  Result<std::string> driver = current_driver(sys, address);
  if (!driver) return fail(std::move(driver));
  if (*driver == kVfioDriver) return device;

  device.former_driver_ = std::move(*driver);
  if (Result<void> there = require_driver(sys, address, kVfioDriver); !there) return fail(std::move(there));
  // From here on the destructor undoes what has been done.
  if (Result<void> taken = device.take(); !taken) return fail(std::move(taken));
  log(LogLevel::kInfo, fmt::format("{}: bound to {} (was with {})", address.to_string(), kVfioDriver,
                                   device.former_driver_.empty() ? "no driver" : device.former_driver_));
  return device;
}

Result<void> BoundDevice::take() {
  Result<std::string> override_before = read_override(*sys_, address_);
  if (!override_before) return fail(std::move(override_before));
  former_override_ = std::move(*override_before);
  must_restore_ = true;
  if (Result<void> done = set_override(*sys_, address_, kVfioDriver); !done) return done;
  if (!former_driver_.empty()) {
    if (Result<void> done = unbind(*sys_, address_, former_driver_); !done) return done;
  }
  if (Result<void> done = probe(*sys_, address_); !done) return done;
  return expect_driver(*sys_, address_, kVfioDriver);
}

Result<void> BoundDevice::restore() {
  if (!must_restore_) return {};
  must_restore_ = false;  // once, whatever comes of it
  // Every step is tried, so that one failure leaves as little undone as can be; the first error is told.
  Result<void> outcome = set_override(*sys_, address_, former_override_);
  const auto note = [&outcome](Result<void> step) {
    if (outcome && !step) outcome = std::move(step);
  };
  const Result<std::string> now = current_driver(*sys_, address_);
  if (now && *now == former_driver_) return outcome;
  if (now && *now == kVfioDriver) note(unbind(*sys_, address_, kVfioDriver));
  if (!former_driver_.empty()) {
    note(bind_to(*sys_, address_, former_driver_));
    note(expect_driver(*sys_, address_, former_driver_));
  }
  if (outcome) {
    log(LogLevel::kInfo, fmt::format("{}: given back to {}", address_.to_string(),
                                     former_driver_.empty() ? "no driver" : former_driver_));
  }
  return outcome;
}

Result<void> hand_over(Sys& sys, const PciAddress& address, const std::string& driver) {
  Result<PciDeviceInfo> device = read_pci_device(sys, address);
  if (!device) return fail(std::move(device));
  if (!driver.empty()) {
    if (device->driver == driver) return {};
    if (Result<void> there = require_driver(sys, address, driver); !there) return there;
  }
  if (Result<void> done = set_override(sys, address, driver); !done) return done;
  if (!device->driver.empty()) {
    if (Result<void> done = unbind(sys, address, device->driver); !done) return done;
  }
  if (Result<void> done = probe(sys, address); !done) return done;
  if (!driver.empty()) {
    if (Result<void> done = expect_driver(sys, address, driver); !done) return done;
    // An override binds the device at the next rescan too; only vfio-pci needs that.
    if (driver != kVfioDriver) return set_override(sys, address, "");
  }
  return {};
}

}  // namespace spinring::vfio_glue
