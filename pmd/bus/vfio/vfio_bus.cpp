#include "pmd/bus/vfio/vfio_bus.hpp"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "pmd/bus/vfio/vfio_function.hpp"
#include "vfio_glue/bind.hpp"
#include "vfio_glue/container_iommu.hpp"
#include "vfio_glue/cures.hpp"
#include "vfio_glue/errors.hpp"
#include "vfio_glue/sysfs.hpp"

namespace spinring::pmd {
namespace {

using vfio_glue::BoundDevice;
using vfio_glue::PciAddress;
using vfio_glue::PciDeviceInfo;

/// The device as sysfs has it, refused, before anything is bound, if it is plain that no IOMMU guards it.
Result<PciDeviceInfo> find_device(vfio_glue::Sys& sys, const PciAddress& address,
                                  const VfioOptions& options) {
  Result<PciDeviceInfo> device = vfio_glue::read_pci_device(sys, address);
  if (!device) return device;
  if (device->iommu_group == vfio_glue::kUngrouped && !options.no_iommu) {
    Result<bool> may_be_grouped = vfio_glue::may_be_grouped_when_bound(sys, *device);
    if (!may_be_grouped) return fail(std::move(may_be_grouped));
    if (!*may_be_grouped) return tl::unexpected<Error>(vfio_glue::no_iommu_error(address.to_string()));
  }
  if (device->driver != vfio_glue::kVfioDriver && !options.bind) {
    return fail(vfio_glue::Errc::kBind, "opening the device", address.to_string(), 0,
                fmt::format("It is with {}, not with vfio-pci. Run: spinring-devbind --bind {}",
                            device->driver.empty() ? "no driver" : device->driver, address.to_string()));
  }
  return device;
}

}  // namespace

VfioMembership::VfioMembership(VfioMembership&& other) noexcept
    : bus_(std::exchange(other.bus_, nullptr)), address_(other.address_) {}

VfioMembership::~VfioMembership() {
  if (bus_ != nullptr) bus_->leave(address_);
}

VfioBus::VfioBus(mempool::Memory& memory, VfioOptions options, vfio_glue::Sys& sys,
                 std::unique_ptr<vfio_glue::IommuBackend> backend)
    : memory_(memory), options_(options), sys_(sys), backend_(std::move(backend)) {}

VfioBus::~VfioBus() = default;

Result<std::unique_ptr<VfioBus>> VfioBus::create(mempool::Memory& memory, VfioOptions options,
                                                 vfio_glue::Sys& sys) {
  auto backend = vfio_glue::ContainerIommu::create(sys, options.no_iommu);
  if (!backend) return fail(std::move(backend));
  return std::unique_ptr<VfioBus>(new VfioBus(memory, options, sys, std::move(*backend)));
}

Result<std::unique_ptr<PciFunction>> VfioBus::open(std::string_view pci_address) {
  Result<PciAddress> address = PciAddress::parse(pci_address);
  if (!address) return fail(std::move(address));
  Result<PciDeviceInfo> device = find_device(sys_, *address, options_);
  if (!device) return fail(std::move(device));

  std::optional<BoundDevice> bound;
  if (options_.bind) {
    Result<BoundDevice> taken = BoundDevice::bind(sys_, *address);
    if (!taken) return fail(std::move(taken));
    bound.emplace(std::move(*taken));
  }
  if (device->iommu_group == vfio_glue::kUngrouped) {  // it may have got one by being bound
    Result<int> group = vfio_glue::iommu_group_of(sys_, *address);
    if (!group) return fail(std::move(group));
    device->iommu_group = *group;
  }
  Result<Fd> fd = backend_->open_device(*device);
  if (!fd) return fail(std::move(fd));
  VfioMembership membership(*this, *address);
  if (backend_->devices() == 1) {
    // Only now is there an IOMMU to map memory in; the device cannot DMA before its bus mastering is on.
    Result<mempool::Attachment> attachment = memory_.attach(*backend_->mapper());
    if (!attachment) {
      fd->reset();
      return fail(std::move(attachment));
    }
    attachment_ = std::move(*attachment);
  }
  auto opened = vfio_glue::Device::open(sys_, std::move(*fd), *address, *backend_);
  if (!opened) return fail(std::move(opened));
  return std::unique_ptr<PciFunction>(new VfioFunction(
      std::move(bound), std::move(membership), std::move(*opened), *device, backend_->mapper()->table()));
}

void VfioBus::leave(const PciAddress& address) noexcept {
  if (backend_->devices() == 1) attachment_ = {};
  backend_->release_device(address);
}

}  // namespace spinring::pmd
