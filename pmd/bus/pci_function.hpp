#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/dma.hpp"
#include "base/mmio.hpp"
#include "base/result.hpp"

namespace spinring::pmd {

/// A PCI function as a driver sees it, whatever bus it came by: VFIO, QEMU's qtest protocol, a simulated
/// device in tests. Control thread only. Destroying it gives the device back (reset, bus mastering off,
/// released).
class PciFunction {
 public:
  PciFunction() = default;
  PciFunction(const PciFunction&) = delete;
  PciFunction& operator=(const PciFunction&) = delete;
  virtual ~PciFunction() = default;

  /// "0000:01:00.0", "qtest0": what messages name.
  [[nodiscard]] virtual const std::string& name() const noexcept = 0;
  /// The IOMMU group behind it, -1 where there is none (qtest, simulated).
  [[nodiscard]] virtual int iommu_group() const noexcept { return -1; }
  /// NUMA node of the device, -1 if unknown.
  [[nodiscard]] virtual int numa_node() const noexcept { return -1; }

  /// Configuration space; `width` is 1, 2 or 4 bytes.
  [[nodiscard]] virtual Result<std::uint32_t> read_config(std::uint16_t offset, unsigned width) = 0;
  [[nodiscard]] virtual Result<void> write_config(std::uint16_t offset, unsigned width,
                                                  std::uint32_t value) = 0;

  /// Registers of memory BAR `index` (0..5). Mapped at the first call; valid while this object lives. A BAR
  /// that the device does not have is an error.
  [[nodiscard]] virtual Result<RegisterBlock*> bar(unsigned index) = 0;
  /// A register of 16 or 32 bits in a BAR as a doorbell. Valid while this object lives.
  [[nodiscard]] virtual Result<Doorbell> doorbell(unsigned bar, std::uint64_t offset,
                                                  unsigned width_bits) = 0;

  /// Function-level reset, or the nearest that the bus has. Registers are at their defaults afterwards.
  [[nodiscard]] virtual Result<void> reset() = 0;
  /// Command register: memory space is on while the function is open; this is the bus-master bit. Off stops
  /// all DMA.
  [[nodiscard]] virtual Result<void> set_bus_master(bool on) = 0;

  /// How this device sees memory. The table's owner outlives the function.
  [[nodiscard]] virtual const DmaTable& dma() const noexcept = 0;

  /// Arms `count` MSI-X vectors (or MSI, or INTx when count is 1 and the device has nothing better); returns
  /// how many there are, 0 if the bus delivers no interrupts: the driver then polls.
  [[nodiscard]] virtual Result<unsigned> enable_interrupts(unsigned count) = 0;
  /// The eventfd that becomes readable when `vector` fires; -1 if it is not armed. Owned by this object.
  [[nodiscard]] virtual int interrupt_fd(unsigned vector) const noexcept = 0;
  /// Re-arms a level interrupt (INTx) after it was served; nothing for MSI.
  [[nodiscard]] virtual Result<void> unmask_interrupt(unsigned vector) = 0;
  /// The eventfd that becomes readable when the kernel wants the device back (hot-unplug); -1 if the bus has
  /// none.
  [[nodiscard]] virtual int removal_fd() const noexcept { return -1; }
};

}  // namespace spinring::pmd
