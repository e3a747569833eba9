#include "pmd/bus/qtest/machine_state.hpp"

#include <fmt/format.h>

#include "pmd/errors.hpp"

namespace spinring::pmd {
namespace {

// PCI local bus specification 3.0, 3.2.2.3.2: address port, data port.
constexpr std::uint16_t kConfigAddress = 0xcf8;
constexpr std::uint16_t kConfigData = 0xcfc;
constexpr std::uint16_t kConfigSize = 256;
// Chapter 6: type 0 and type 1 headers alike.
constexpr std::uint16_t kStatus = 0x06;
constexpr std::uint16_t kCapabilities = 0x34;
constexpr std::uint32_t kStatusCapabilities = 1U << 4;
constexpr unsigned kMaxCapabilities = 48;  // what fits in 256 bytes: a longer list runs in a circle

std::string select_command(std::uint8_t bus, std::uint8_t device, std::uint16_t offset) {
  const std::uint32_t address = 0x8000'0000U | static_cast<std::uint32_t>(bus) << 16 |
                                static_cast<std::uint32_t>(device) << 11 | (offset & 0xfcU);
  return fmt::format("outl {:#x} {:#x}", kConfigAddress, address);
}

Result<char> width_letter(std::uint16_t offset, unsigned width) {
  const bool aligned = width != 0 && offset % width == 0 && offset + width <= kConfigSize;
  if (aligned && width == 1) return 'b';
  if (aligned && width == 2) return 'w';
  if (aligned && width == 4) return 'l';
  return fail(Errc::kBadArgument, "access PCI configuration space",
              fmt::format("{} bytes at {:#x}", width, offset), 0,
              "The qtest bus reaches aligned registers of 1, 2 or 4 bytes below 256");
}

}  // namespace

Result<std::uint32_t> QtestMachineState::read_config(std::uint8_t bus_number, std::uint8_t device,
                                                     std::uint16_t offset, unsigned width) {
  Result<char> letter = width_letter(offset, width);
  if (!letter) return fail(std::move(letter));
  const std::lock_guard lock(config_lock);
  Result<std::uint64_t> value =
      qtest.command_after(select_command(bus_number, device, offset),
                          fmt::format("in{} {:#x}", *letter, kConfigData + offset % 4));
  if (!value) return fail(std::move(value));
  return static_cast<std::uint32_t>(*value);
}

Result<void> QtestMachineState::write_config(std::uint8_t bus_number, std::uint8_t device,
                                             std::uint16_t offset, unsigned width, std::uint32_t value) {
  Result<char> letter = width_letter(offset, width);
  if (!letter) return fail(std::move(letter));
  const std::lock_guard lock(config_lock);
  Result<std::uint64_t> done =
      qtest.command_after(select_command(bus_number, device, offset),
                          fmt::format("out{} {:#x} {:#x}", *letter, kConfigData + offset % 4, value));
  if (!done) return fail(std::move(done));
  return {};
}

Result<std::uint16_t> QtestMachineState::find_capability(std::uint8_t bus_number, std::uint8_t device,
                                                         std::uint8_t id) {
  Result<std::uint32_t> status = read_config(bus_number, device, kStatus, 2);
  if (!status) return fail(std::move(status));
  if ((*status & kStatusCapabilities) == 0) return std::uint16_t{0};
  Result<std::uint32_t> next = read_config(bus_number, device, kCapabilities, 1);
  for (unsigned steps = 0; steps < kMaxCapabilities; ++steps) {
    if (!next) return fail(std::move(next));
    const auto at = static_cast<std::uint16_t>(*next & 0xfc);
    if (at == 0) return std::uint16_t{0};
    Result<std::uint32_t> header = read_config(bus_number, device, at, 2);
    if (!header) return fail(std::move(header));
    if ((*header & 0xff) == id) return at;
    next = *header >> 8;
  }
  return fail(Errc::kBadDevice, "walk the PCI capabilities",
              fmt::format("{:02x}:{:02x}.0", bus_number, device), 0, "The list runs in a circle");
}

}  // namespace spinring::pmd
