#include "vfio_glue/device.hpp"

#include <fmt/format.h>
#include <linux/vfio.h>

#include <algorithm>

#include "base/log.hpp"
#include "vfio_glue/errors.hpp"
#include "vfio_glue/info_chain.hpp"
#include "vfio_glue/reset.hpp"

namespace spinring::vfio_glue {

Device::Device(Sys& sys, Fd fd, const PciAddress& address, const IommuBackend& backend)
    : sys_(sys), backend_(backend), address_(address), name_(address.to_string()), fd_(std::move(fd)) {}

Result<std::unique_ptr<Device>> Device::open(Sys& sys, Fd fd, const PciAddress& address,
                                             const IommuBackend& backend) {
  std::unique_ptr<Device> device(new Device(sys, std::move(fd), address, backend));
  if (Result<void> read = device->read_info(); !read) return fail(std::move(read));
  Result<ConfigSpace> config = ConfigSpace::open(sys, device->fd_.get(), device->name_);
  if (!config) return fail(std::move(config));
  device->config_ = std::move(*config);
  if (Result<void> awake = device->awaken(); !awake) return fail(std::move(awake));
  if (Result<void> armed = device->arm_event(IrqKind::kError, device->error_); !armed) {
    return fail(std::move(armed));
  }
  if (Result<void> armed = device->arm_event(IrqKind::kRequest, device->request_); !armed) {
    return fail(std::move(armed));
  }
  return device;
}

Device::~Device() {
  vectors_.reset();
  if (!config_) return;  // never came up: nothing runs
  if (const Result<void> stopped = config_->set_bus_master(false); !stopped) {
    log(LogLevel::kWarning, stopped.error().message());
  }
  if (!has_function_reset_) return;  // a bus-wide reset is not ours to do in passing
  if (const Result<void> done = reset_function(sys_, fd_.get(), address_); !done) {
    log(LogLevel::kWarning, done.error().message());
  }
}

Result<void> Device::read_info() {
  auto info = zeroed<vfio_device_info>();
  info.argsz = sizeof(info);
  const SysResult<int> done = ioctl_with(sys_, fd_.get(), VFIO_DEVICE_GET_INFO, &info);
  if (!done) return fail(Errc::kKernel, "VFIO_DEVICE_GET_INFO", name_, done.error());
  if ((info.flags & VFIO_DEVICE_FLAGS_PCI) == 0 || info.num_regions <= VFIO_PCI_CONFIG_REGION_INDEX) {
    return fail(Errc::kBadDevice, "VFIO_DEVICE_GET_INFO", name_, 0, "It is not a PCI device of vfio-pci");
  }
  has_function_reset_ = (info.flags & VFIO_DEVICE_FLAGS_RESET) != 0;
  irq_kinds_ = info.num_irqs;
  return {};
}

Result<void> Device::awaken() {
  // In this order: nothing that a former user left running may DMA once memory is mapped.
  if (Result<void> off = config_->set_bus_master(false); !off) return off;
  return config_->set_memory_space(true);
}

Result<void> Device::arm_event(IrqKind kind, std::optional<IrqVectors>& event) {
  if (static_cast<std::uint32_t>(kind) >= irq_kinds_) return {};
  Result<unsigned> count = count_irqs(sys_, fd_.get(), name_, kind);
  if (!count) return fail(std::move(count));
  if (*count == 0) return {};
  Result<IrqVectors> armed = IrqVectors::arm(sys_, fd_.get(), name_, kind, 1);
  if (!armed) return fail(std::move(armed));
  event.emplace(std::move(*armed));
  return {};
}

Result<Region*> Device::bar(unsigned index) {
  if (index >= kBars) return fail(Errc::kBadRegion, fmt::format("opening BAR {}", index), name_);
  if (bars_[index] == nullptr) {
    Result<RegionInfo> info = query_region(sys_, fd_.get(), name_, VFIO_PCI_BAR0_REGION_INDEX + index);
    if (!info) return fail(std::move(info));
    if (info->size == 0) {
      return fail(Errc::kBadRegion, fmt::format("opening BAR {}", index), name_, 0,
                  "The device has no such BAR");
    }
    Result<std::unique_ptr<Region>> region = Region::map(sys_, fd_.get(), name_, std::move(*info));
    if (!region) return fail(std::move(region));
    bars_[index] = std::move(*region);
  }
  return bars_[index].get();
}

Result<void> Device::reset() {
  if (Result<void> off = config_->set_bus_master(false); !off) return off;
  Result<void> done = has_function_reset_ ? reset_function(sys_, fd_.get(), address_)
                                          : reset_bus(sys_, fd_.get(), address_, backend_);
  if (!done) return done;
  return awaken();
}

Result<unsigned> Device::enable_interrupts(unsigned count) {
  for (const IrqKind kind : {IrqKind::kMsix, IrqKind::kMsi, IrqKind::kIntx}) {
    if (kind == IrqKind::kIntx && count != 1) break;
    if (static_cast<std::uint32_t>(kind) >= irq_kinds_) continue;
    Result<unsigned> available = count_irqs(sys_, fd_.get(), name_, kind);
    if (!available) return available;
    if (*available == 0) continue;
    if (Result<void> armed = arm(kind, std::min(count, *available)); !armed) return fail(std::move(armed));
    return vectors_->count();
  }
  vectors_.reset();
  return 0U;
}

Result<void> Device::arm(IrqKind kind, unsigned count) {
  vectors_.reset();  // the kernel arms one kind at a time
  Result<IrqVectors> armed = IrqVectors::arm(sys_, fd_.get(), name_, kind, count);
  if (!armed) return fail(std::move(armed));
  vectors_.emplace(std::move(*armed));
  return {};
}

}  // namespace spinring::vfio_glue
