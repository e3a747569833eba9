#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "vfio_glue/config_space.hpp"
#include "vfio_glue/iommu.hpp"
#include "vfio_glue/irq.hpp"
#include "vfio_glue/pci_address.hpp"
#include "vfio_glue/region.hpp"
#include "vfio_glue/sys.hpp"

namespace spinring::vfio_glue {

/// An open PCI device: registers, configuration space, interrupts, reset. Its address space outlives it.
/// Control thread only.
///
/// When it goes, DMA is stopped first (bus mastering off, then a reset of the function where it has one), so
/// that memory can be unmapped afterwards without a fault.
class Device {
 public:
  static constexpr unsigned kBars = 6;

  /// Takes the descriptor that `backend` gave for `address`. Memory space is on afterwards, bus mastering
  /// off; the error and request interrupts are armed where the device has them.
  [[nodiscard]] static Result<std::unique_ptr<Device>> open(Sys& sys, Fd fd, const PciAddress& address,
                                                            const IommuBackend& backend);
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  ~Device();

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] const ConfigSpace& config() const noexcept { return *config_; }
  /// BAR `index`, mapped at the first call; valid while this object lives. Errc::kBadRegion if the device has
  /// no such BAR.
  [[nodiscard]] Result<Region*> bar(unsigned index);

  /// Resets the function, or, where it has no reset of its own, its bus, if that hits no one else in use.
  /// Afterwards memory space is on and bus mastering off.
  [[nodiscard]] Result<void> reset();
  [[nodiscard]] Result<void> set_bus_master(bool on) { return config_->set_bus_master(on); }

  /// Arms up to `count` vectors of the best kind that the device has: MSI-X, MSI, or INTx if one is enough.
  /// Those armed before go. Returns how many are armed; 0 if the device has nothing that fits.
  [[nodiscard]] Result<unsigned> enable_interrupts(unsigned count);
  /// Arms `count` vectors of one kind; Errc::kNoInterrupt if it has none.
  [[nodiscard]] Result<void> arm(IrqKind kind, unsigned count);
  /// What is armed; nullptr if nothing is.
  [[nodiscard]] const IrqVectors* interrupts() const noexcept { return vectors_ ? &*vectors_ : nullptr; }
  /// Readable when the device has reported an uncorrectable error (AER); -1 if it cannot.
  [[nodiscard]] int error_fd() const noexcept { return error_ ? error_->event_fd(0) : -1; }
  /// Readable when the kernel wants the device back (hot-unplug, unbind); -1 if it cannot tell.
  [[nodiscard]] int request_fd() const noexcept { return request_ ? request_->event_fd(0) : -1; }

 private:
  Device(Sys& sys, Fd fd, const PciAddress& address, const IommuBackend& backend);
  Result<void> read_info();
  Result<void> arm_event(IrqKind kind, std::optional<IrqVectors>& event);
  Result<void> awaken();

  // Order of teardown: interrupts are disarmed, BARs unmapped, then the device is closed.
  Sys& sys_;
  const IommuBackend& backend_;
  PciAddress address_;
  std::string name_;
  Fd fd_;
  bool has_function_reset_ = false;
  std::uint32_t irq_kinds_ = 0;
  std::optional<ConfigSpace> config_;
  std::array<std::unique_ptr<Region>, kBars> bars_;
  std::optional<IrqVectors> error_;
  std::optional<IrqVectors> request_;
  std::optional<IrqVectors> vectors_;
};

}  // namespace spinring::vfio_glue
