#pragma once

#include <string>

#include "base/result.hpp"
#include "vfio_glue/pci_address.hpp"
#include "vfio_glue/sys.hpp"

namespace spinring::vfio_glue {

inline constexpr const char* kVfioDriver = "vfio-pci";

/// A device in vfio-pci's hands. If this object took it from another driver (or from none), the device goes
/// back there when the object goes; a device that was with vfio-pci already stays there: bound by the user,
/// or left so by a process that was killed. Control thread only.
///
/// The device must be closed, and so must its group when it is the last open device of it: kernels up to 6.1
/// let the unbind wait until the group has left its container.
class BoundDevice {
 public:
  /// Binds by driver_override, unbind, drivers_probe (Documentation/ABI/testing/sysfs-bus-pci). On an error
  /// the device is back where it was.
  [[nodiscard]] static Result<BoundDevice> bind(Sys& sys, const PciAddress& address);

  BoundDevice(BoundDevice&& other) noexcept;
  BoundDevice& operator=(BoundDevice&& other) = delete;
  BoundDevice(const BoundDevice&) = delete;
  BoundDevice& operator=(const BoundDevice&) = delete;
  /// Restores; a failure is logged as a warning with the command that mends it.
  ~BoundDevice();

  [[nodiscard]] const PciAddress& address() const noexcept { return address_; }
  /// The driver that it returns to; empty: none, or the device stays with vfio-pci.
  [[nodiscard]] const std::string& former_driver() const noexcept { return former_driver_; }
  /// Gives the device back now. Idempotent.
  [[nodiscard]] Result<void> restore();
  /// Keeps the device with vfio-pci after this object has gone (spinring-devbind).
  void keep() noexcept { must_restore_ = false; }

 private:
  BoundDevice(Sys& sys, const PciAddress& address) : sys_(&sys), address_(address) {}
  Result<void> take();

  Sys* sys_;
  PciAddress address_;
  std::string former_driver_;
  std::string former_override_;
  bool must_restore_ = false;
};

/// Takes the device away from whatever driver it has and gives it to `driver`; with an empty name, to the one
/// that the kernel chooses by itself. For devices whose former driver nobody remembers.
[[nodiscard]] Result<void> hand_over(Sys& sys, const PciAddress& address, const std::string& driver);

}  // namespace spinring::vfio_glue
