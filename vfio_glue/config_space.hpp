#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "vfio_glue/region.hpp"
#include "vfio_glue/sys.hpp"

namespace spinring::vfio_glue {

/// One entry of a function's list of capabilities (PCI Local Bus 3.0, 6.7).
struct PciCapability {
  std::uint8_t id = 0;       ///< PCI_CAP_ID_*
  std::uint16_t offset = 0;  ///< of its header in configuration space

  bool operator==(const PciCapability&) const = default;
};

/// A function's configuration space. The kernel virtualises parts of it (command, BARs, MSI). The device's
/// descriptor outlives it. Control thread only.
class ConfigSpace {
 public:
  [[nodiscard]] static Result<ConfigSpace> open(Sys& sys, int device_fd, const std::string& name);

  /// `width` is 1, 2 or 4 bytes; Errc::kBadRegion outside the space.
  [[nodiscard]] Result<std::uint32_t> read(std::uint16_t offset, unsigned width) const;
  [[nodiscard]] Result<void> write(std::uint16_t offset, unsigned width, std::uint32_t value) const;

  /// PCI_COMMAND_MEMORY: registers answer.
  [[nodiscard]] Result<void> set_memory_space(bool on) const;
  /// PCI_COMMAND_MASTER: the device may DMA.
  [[nodiscard]] Result<void> set_bus_master(bool on) const;

  /// The list of capabilities. One that loops, leaves the space or points into the header is
  /// Errc::kBadDevice.
  [[nodiscard]] Result<std::vector<PciCapability>> capabilities() const;

 private:
  ConfigSpace(Sys& sys, int device_fd, std::string name, RegionInfo info)
      : sys_(&sys), fd_(device_fd), name_(std::move(name)), info_(std::move(info)) {}
  [[nodiscard]] bool inside(std::uint16_t offset, unsigned width) const noexcept;
  Result<void> set_command(std::uint16_t bit, bool on) const;

  Sys* sys_;
  int fd_;
  std::string name_;
  RegionInfo info_;
};

}  // namespace spinring::vfio_glue
