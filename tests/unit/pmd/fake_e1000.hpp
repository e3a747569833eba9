#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "pmd/bus/pci_function.hpp"

namespace spinring::test {

/// The registers of a NIC of the e1000 family as far as its data sheets say what they do by themselves; a
/// test plays the rest: it writes descriptors, causes and errors. Memory is where the program has it (IOVA =
/// address).
struct FakeE1000 final : RegisterBlock {
  explicit FakeE1000(std::uint16_t device_id) : id(device_id) {}

  std::uint16_t id;
  std::vector<std::uint32_t> registers = std::vector<std::uint32_t>(0x20000 / 4);
  std::map<std::uint16_t, std::uint32_t> config;
  std::vector<std::uint16_t> nvm = std::vector<std::uint16_t>(64);
  std::uint32_t status = 0x80080783;  ///< link up, 1000 Mb/s, full duplex
  bool answers_mdic = true;
  bool answers_eerd = true;
  bool leaves_reset = true;
  bool enables_queues = true;
  bool keeps_address = true;  ///< RAL and RAH after a reset
  bool bus_master = false;
  unsigned unmasked = 0;
  unsigned phy_accesses = 0;
  std::uint32_t holds_phy = 0;      ///< bits of SW_FW_SYNC that the firmware does not give back
  bool phy_owned = true;            ///< each of them came while software had the PHY
  std::uint32_t phy_bit = 1U << 1;  ///< SW_FW_SYNC.PHY0_SM
  unsigned vectors = 1;
  Fd event{::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};

  /// The 82576, and what has its queues: I350, I210, I211.
  [[nodiscard]] static bool like_82576(std::uint16_t id) {
    return id == 0x10C9 || id == 0x1521 || id == 0x1533 || id == 0x1539;
  }
  std::uint32_t& at(std::uint64_t offset) { return registers[offset / 4]; }
  [[nodiscard]] int fd(unsigned) const noexcept { return event.get(); }
  [[nodiscard]] std::uint64_t size() const noexcept override { return registers.size() * 4; }
  std::uint32_t read32(std::uint64_t offset) override {
    if (offset == 0x0008) return status;
    if (offset == 0x5B5C) return at(offset) | holds_phy;
    if (offset == 0x5B50) return std::exchange(at(offset), at(offset) | 1U);  // SWSM.SMBI: taken by the read
    return at(offset);
  }
  void write32(std::uint64_t offset, std::uint32_t value) override {
    const bool express = id != 0x100E;
    at(offset) = value;
    if (offset == 0x0000) {  // CTRL
      if ((value & 1U << 26) != 0) reset();
      status = (value & 4U) != 0 ? status & ~(1U << 19) : status;
    } else if (offset == 0x0014 && (value & 1U) != 0) {  // EERD
      const std::uint32_t word = value >> (express ? 2 : 8) & 63U;
      at(offset) = answers_eerd ? static_cast<std::uint32_t>(nvm[word]) << 16 | (express ? 2U : 16U) : 0;
    } else if (offset == 0x0020) {  // MDIC
      phy_accesses += 1;
      phy_owned = phy_owned && ((at(0x0F00) & 1U << 5) != 0 || (at(0x5B5C) & phy_bit) != 0);
      at(offset) = answers_mdic ? value | 1U << 28 : value & ~(1U << 28);
    } else if (offset == 0x00C0) {  // ICR
      at(offset) = 0;
    } else if ((offset & 0xFF3F) == 0xC028 || (offset & 0xFF3F) == 0xE028) {  // RXDCTL, TXDCTL of the 82576
      if (!enables_queues) at(offset) &= ~(1U << 25);
    }
  }
  void reset() {
    registers.assign(registers.size(), 0);
    if (!leaves_reset) at(0x0000) = 1U << 26;
    at(0x0010) = 1U << 9;  // EECD.AUTO_RD
    at(0x1000) = 0x14;     // PBA.RXA
    at(0x2404) = 0x22;     // RXPBS
    if (!keeps_address) return;
    at(0x5400) = 0x12005452;
    at(0x5404) = 0x80005634;
  }
  std::uint8_t read8(std::uint64_t) override { return 0; }
  std::uint16_t read16(std::uint64_t) override { return 0; }
  std::uint64_t read64(std::uint64_t) override { return 0; }
  void write8(std::uint64_t, std::uint8_t) override {}
  void write16(std::uint64_t, std::uint16_t) override {}
  void write64(std::uint64_t, std::uint64_t) override {}
};

/// The driver's face of it, or of a virtual function (FakeIgbvf); the device outlives it.
template <class Fake>
class FakeFunction final : public pmd::PciFunction {
 public:
  explicit FakeFunction(Fake& device) : device_(device) {}
  [[nodiscard]] const std::string& name() const noexcept override { return name_; }
  [[nodiscard]] Result<std::uint32_t> read_config(std::uint16_t offset, unsigned) override {
    return offset == 0 ? std::uint32_t{device_.id} << 16 | 0x8086U : device_.config[offset];
  }
  [[nodiscard]] Result<void> write_config(std::uint16_t, unsigned, std::uint32_t) override { return {}; }
  [[nodiscard]] Result<RegisterBlock*> bar(unsigned) override { return &device_; }
  [[nodiscard]] Result<Doorbell> doorbell(unsigned, std::uint64_t offset, unsigned) override {
    return Doorbell::mapped32(&device_.at(offset));
  }
  [[nodiscard]] Result<void> reset() override { return {}; }
  [[nodiscard]] Result<void> set_bus_master(bool on) override {
    device_.bus_master = on;
    return {};
  }
  [[nodiscard]] const DmaTable& dma() const noexcept override { return table_; }
  [[nodiscard]] Result<unsigned> enable_interrupts(unsigned) override { return device_.vectors; }
  [[nodiscard]] int interrupt_fd(unsigned vector) const noexcept override { return device_.fd(vector); }
  [[nodiscard]] Result<void> unmask_interrupt(unsigned) override {
    ++device_.unmasked;
    return {};
  }

 private:
  Fake& device_;
  DmaTable table_;
  std::string name_ = "fake0";
};
using FakeE1000Function = FakeFunction<FakeE1000>;

}  // namespace spinring::test
