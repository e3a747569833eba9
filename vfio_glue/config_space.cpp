#include "vfio_glue/config_space.hpp"

#include <fmt/format.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include <bitset>

#include "base/endian.hpp"
#include "vfio_glue/errors.hpp"

namespace spinring::vfio_glue {
namespace {

std::string where(std::uint16_t offset, unsigned width) { return fmt::format("{:#x}+{}", offset, width); }

}  // namespace

Result<ConfigSpace> ConfigSpace::open(Sys& sys, int device_fd, const std::string& name) {
  Result<RegionInfo> info = query_region(sys, device_fd, name, VFIO_PCI_CONFIG_REGION_INDEX);
  if (!info) return fail(std::move(info));
  if (info->size < PCI_STD_HEADER_SIZEOF || !info->readable || !info->writable) {
    return fail(Errc::kBadDevice, "opening configuration space", name);
  }
  return ConfigSpace(sys, device_fd, name, std::move(*info));
}

bool ConfigSpace::inside(std::uint16_t offset, unsigned width) const noexcept {
  return (width == 1 || width == 2 || width == 4) && offset + width <= info_.size;
}

Result<std::uint32_t> ConfigSpace::read(std::uint16_t offset, unsigned width) const {
  if (!inside(offset, width)) {
    return fail(Errc::kBadRegion, "reading configuration space at " + where(offset, width), name_);
  }
  Le32 value = 0;  // little-endian: fewer bytes leave the upper ones 0
  const SysResult<std::size_t> got = sys_->pread(fd_, &value.wire(), width, info_.fd_offset + offset);
  if (!got || *got != width) {
    return fail(Errc::kKernel, "reading configuration space at " + where(offset, width), name_,
                got ? 0 : got.error());
  }
  return value;
}

Result<void> ConfigSpace::write(std::uint16_t offset, unsigned width, std::uint32_t value) const {
  if (!inside(offset, width)) {
    return fail(Errc::kBadRegion, "writing configuration space at " + where(offset, width), name_);
  }
  const Le32 wire = value;
  const SysResult<std::size_t> put = sys_->pwrite(fd_, &wire.wire(), width, info_.fd_offset + offset);
  if (!put || *put != width) {
    return fail(Errc::kKernel, "writing configuration space at " + where(offset, width), name_,
                put ? 0 : put.error());
  }
  return {};
}

Result<void> ConfigSpace::set_command(std::uint16_t bit, bool on) const {
  Result<std::uint32_t> command = read(PCI_COMMAND, 2);
  if (!command) return fail(std::move(command));
  const std::uint32_t wanted = on ? (*command | bit) : (*command & ~std::uint32_t{bit});
  if (wanted == *command) return {};
  return write(PCI_COMMAND, 2, wanted);
}

Result<void> ConfigSpace::set_memory_space(bool on) const { return set_command(PCI_COMMAND_MEMORY, on); }
Result<void> ConfigSpace::set_bus_master(bool on) const { return set_command(PCI_COMMAND_MASTER, on); }

Result<std::vector<PciCapability>> ConfigSpace::capabilities() const {
  std::vector<PciCapability> list;
  Result<std::uint32_t> status = read(PCI_STATUS, 2);
  if (!status) return fail(std::move(status));
  if ((*status & PCI_STATUS_CAP_LIST) == 0) return list;
  Result<std::uint32_t> next = read(PCI_CAPABILITY_LIST, 1);
  if (!next) return fail(std::move(next));

  std::bitset<256> seen;
  // The lowest two bits are reserved and must be masked (PCI 3.0, 6.7).
  for (std::uint32_t at = *next & 0xfcU; at != 0;) {
    if (at < PCI_STD_HEADER_SIZEOF || seen.test(at)) {
      return fail(Errc::kBadDevice, fmt::format("walking the capabilities at {:#x}", at), name_, 0,
                  at < PCI_STD_HEADER_SIZEOF ? "The list points into the header" : "The list loops");
    }
    seen.set(at);
    Result<std::uint32_t> header = read(static_cast<std::uint16_t>(at), 2);
    if (!header) return fail(std::move(header));
    list.push_back({static_cast<std::uint8_t>(*header & 0xffU), static_cast<std::uint16_t>(at)});
    at = (*header >> 8) & 0xfcU;
  }
  return list;
}

}  // namespace spinring::vfio_glue
