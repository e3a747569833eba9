#include "pmd/bus/vfio/vfio_function.hpp"

#include <fmt/format.h>

#include <utility>

#include "vfio_glue/errors.hpp"

namespace spinring::pmd {

VfioFunction::VfioFunction(std::optional<vfio_glue::BoundDevice> bound, VfioMembership membership,
                           std::unique_ptr<vfio_glue::Device> device, const vfio_glue::PciDeviceInfo& info,
                           const DmaTable& table)
    : iommu_group_(info.iommu_group),
      numa_node_(info.numa_node),
      table_(table),
      bound_(std::move(bound)),
      membership_(std::move(membership)),
      device_(std::move(device)) {}

Result<std::uint32_t> VfioFunction::read_config(std::uint16_t offset, unsigned width) {
  return device_->config().read(offset, width);
}

Result<void> VfioFunction::write_config(std::uint16_t offset, unsigned width, std::uint32_t value) {
  return device_->config().write(offset, width, value);
}

Result<RegisterBlock*> VfioFunction::bar(unsigned index) {
  Result<vfio_glue::Region*> region = device_->bar(index);
  if (!region) return fail(std::move(region));
  return *region;
}

Result<Doorbell> VfioFunction::doorbell(unsigned bar, std::uint64_t offset, unsigned width_bits) {
  Result<vfio_glue::Region*> region = device_->bar(bar);
  if (!region) return fail(std::move(region));
  const std::size_t width = width_bits / 8;
  if ((width_bits != 16 && width_bits != 32) || offset % width != 0 || !(*region)->contains(offset, width)) {
    return fail(vfio_glue::Errc::kBadRegion,
                fmt::format("a doorbell of {} bits at {:#x} of BAR {}", width_bits, offset, bar), name());
  }
  if (volatile void* address = (*region)->mapped(offset, width)) {
    return width_bits == 16 ? Doorbell::mapped16(address) : Doorbell::mapped32(address);
  }
  doorbells_.push_back(std::make_unique<UnmappedDoorbell>(UnmappedDoorbell{*region, offset, width_bits}));
  return Doorbell::call(
      [](void* context, std::uint32_t value) {
        const auto& bell = *static_cast<const UnmappedDoorbell*>(context);
        if (bell.width_bits == 16) {
          bell.registers->write16(bell.offset, static_cast<std::uint16_t>(value));
        } else {
          bell.registers->write32(bell.offset, value);
        }
      },
      doorbells_.back().get());
}

Result<unsigned> VfioFunction::enable_interrupts(unsigned count) { return device_->enable_interrupts(count); }

int VfioFunction::interrupt_fd(unsigned vector) const noexcept {
  const vfio_glue::IrqVectors* vectors = device_->interrupts();
  return vectors == nullptr ? -1 : vectors->event_fd(vector);
}

Result<void> VfioFunction::unmask_interrupt(unsigned vector) {
  const vfio_glue::IrqVectors* vectors = device_->interrupts();
  if (vectors == nullptr || vector >= vectors->count()) {
    return fail(vfio_glue::Errc::kNoInterrupt, fmt::format("unmasking vector {}", vector), name());
  }
  if (vectors->kind() != vfio_glue::IrqKind::kIntx) return {};  // edges need no mask
  return vectors->unmask();
}

}  // namespace spinring::pmd
