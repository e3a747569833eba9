#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pmd/bus/pci_function.hpp"
#include "vfio_glue/bind.hpp"
#include "vfio_glue/device.hpp"
#include "vfio_glue/pci_address.hpp"
#include "vfio_glue/sysfs.hpp"

namespace spinring::pmd {

class VfioBus;

/// A device's place in the bus's address space; leaves it when it goes. The device is closed by then.
class VfioMembership {
 public:
  VfioMembership(VfioBus& bus, const vfio_glue::PciAddress& address) : bus_(&bus), address_(address) {}
  VfioMembership(VfioMembership&& other) noexcept;
  VfioMembership& operator=(VfioMembership&&) = delete;
  VfioMembership(const VfioMembership&) = delete;
  VfioMembership& operator=(const VfioMembership&) = delete;
  ~VfioMembership();

 private:
  VfioBus* bus_;
  vfio_glue::PciAddress address_;
};

/// A PCI function held through VFIO: made by VfioBus::open().
class VfioFunction final : public PciFunction {
 public:
  VfioFunction(std::optional<vfio_glue::BoundDevice> bound, VfioMembership membership,
               std::unique_ptr<vfio_glue::Device> device, const vfio_glue::PciDeviceInfo& info,
               const DmaTable& table);

  [[nodiscard]] const std::string& name() const noexcept override { return device_->name(); }
  [[nodiscard]] int iommu_group() const noexcept override { return iommu_group_; }
  [[nodiscard]] int numa_node() const noexcept override { return numa_node_; }

  [[nodiscard]] Result<std::uint32_t> read_config(std::uint16_t offset, unsigned width) override;
  [[nodiscard]] Result<void> write_config(std::uint16_t offset, unsigned width, std::uint32_t value) override;
  [[nodiscard]] Result<RegisterBlock*> bar(unsigned index) override;
  [[nodiscard]] Result<Doorbell> doorbell(unsigned bar, std::uint64_t offset, unsigned width_bits) override;

  /// Memory space is on and bus mastering off afterwards.
  [[nodiscard]] Result<void> reset() override { return device_->reset(); }
  [[nodiscard]] Result<void> set_bus_master(bool on) override { return device_->set_bus_master(on); }
  [[nodiscard]] const DmaTable& dma() const noexcept override { return table_; }

  [[nodiscard]] Result<unsigned> enable_interrupts(unsigned count) override;
  [[nodiscard]] int interrupt_fd(unsigned vector) const noexcept override;
  [[nodiscard]] Result<void> unmask_interrupt(unsigned vector) override;
  [[nodiscard]] int removal_fd() const noexcept override { return device_->request_fd(); }

 private:
  /// A doorbell in a part of a BAR that cannot be mapped.
  struct UnmappedDoorbell {
    RegisterBlock* registers;
    std::uint64_t offset;
    unsigned width_bits;
  };

  int iommu_group_;
  int numa_node_;
  const DmaTable& table_;
  std::vector<std::unique_ptr<UnmappedDoorbell>> doorbells_;
  // Order of teardown: the device stops its DMA and is closed; memory is unmapped and the group leaves the
  // container; the device goes back to its former driver.
  std::optional<vfio_glue::BoundDevice> bound_;
  VfioMembership membership_;
  std::unique_ptr<vfio_glue::Device> device_;
};

}  // namespace spinring::pmd
