#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "vfio_glue/sys.hpp"

namespace spinring::vfio_glue {

/// The interrupts of a PCI function; the values are <linux/vfio.h>'s VFIO_PCI_*_IRQ_INDEX.
enum class IrqKind : std::uint32_t { kIntx = 0, kMsi = 1, kMsix = 2, kError = 3, kRequest = 4 };

[[nodiscard]] const char* to_string(IrqKind kind) noexcept;

/// How many vectors of that kind the device has (VFIO_DEVICE_GET_IRQ_INFO); 0: none.
[[nodiscard]] Result<unsigned> count_irqs(Sys& sys, int device_fd, const std::string& name, IrqKind kind);

/// Armed interrupts of one kind, an eventfd each; disarms them when it goes. The kernel lets a function use
/// one of INTx, MSI and MSI-X at a time. The device's descriptor outlives it. Control thread only; the
/// eventfds may be waited on by any thread.
class IrqVectors {
 public:
  /// Arms `count` vectors, or as many as the kernel has to give: see count(). VFIO_DEVICE_SET_IRQS,
  /// DATA_EVENTFD | ACTION_TRIGGER.
  [[nodiscard]] static Result<IrqVectors> arm(Sys& sys, int device_fd, const std::string& name, IrqKind kind,
                                              unsigned count);
  IrqVectors(IrqVectors&& other) noexcept;
  IrqVectors& operator=(IrqVectors&& other) = delete;
  IrqVectors(const IrqVectors&) = delete;
  IrqVectors& operator=(const IrqVectors&) = delete;
  ~IrqVectors();

  [[nodiscard]] IrqKind kind() const noexcept { return kind_; }
  [[nodiscard]] unsigned count() const noexcept { return static_cast<unsigned>(events_.size()); }
  /// Readable (an 8-byte counter, non-blocking) when the vector has fired; -1 if there is no such vector.
  [[nodiscard]] int event_fd(unsigned vector) const noexcept;
  /// INTx: the kernel masks the line when it fires (AUTOMASKED), since it stays asserted until the device has
  /// been served; unmask() afterwards. MSI and MSI-X need neither, and the kernel refuses both.
  [[nodiscard]] Result<void> mask() const;
  [[nodiscard]] Result<void> unmask() const;

 private:
  IrqVectors(Sys& sys, int device_fd, std::string name, IrqKind kind)
      : sys_(&sys), fd_(device_fd), name_(std::move(name)), kind_(kind) {}
  Result<void> act(std::uint32_t action, const char* operation) const;

  Sys* sys_;
  int fd_;
  std::string name_;
  IrqKind kind_;
  std::vector<Fd> events_;
  bool armed_ = false;
};

}  // namespace spinring::vfio_glue
