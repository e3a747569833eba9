#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "pmd/bus/pci_function.hpp"
#include "pmd/bus/qtest/machine_state.hpp"

namespace spinring::pmd {

/// A memory BAR of a device model, one message an access. When the device was unplugged or QEMU has gone it
/// reads as all ones and swallows writes.
class QtestBar final : public RegisterBlock {
 public:
  QtestBar(QtestClient& qtest, const std::atomic<bool>& unplugged, std::uint64_t address,
           std::uint64_t size) noexcept
      : qtest_(qtest), unplugged_(unplugged), address_(address), size_(size) {}

  [[nodiscard]] std::uint64_t size() const noexcept override { return size_; }
  std::uint8_t read8(std::uint64_t offset) override { return read<std::uint8_t>('b', offset); }
  std::uint16_t read16(std::uint64_t offset) override { return read<std::uint16_t>('w', offset); }
  std::uint32_t read32(std::uint64_t offset) override { return read<std::uint32_t>('l', offset); }
  std::uint64_t read64(std::uint64_t offset) override { return read<std::uint64_t>('q', offset); }
  void write8(std::uint64_t offset, std::uint8_t value) override { write('b', offset, 1, value); }
  void write16(std::uint64_t offset, std::uint16_t value) override { write('w', offset, 2, value); }
  void write32(std::uint64_t offset, std::uint32_t value) override { write('l', offset, 4, value); }
  void write64(std::uint64_t offset, std::uint64_t value) override { write('q', offset, 8, value); }

  [[nodiscard]] std::uint64_t address() const noexcept { return address_; }
  [[nodiscard]] bool holds(std::uint64_t offset, std::uint64_t bytes) const noexcept {
    return bytes <= size_ && offset <= size_ - bytes;
  }

 private:
  template <class T>
  T read(char letter, std::uint64_t offset) {
    return static_cast<T>(read_value(letter, offset, sizeof(T)));
  }
  std::uint64_t read_value(char letter, std::uint64_t offset, unsigned bytes);
  void write(char letter, std::uint64_t offset, unsigned bytes, std::uint64_t value);

  QtestClient& qtest_;
  const std::atomic<bool>& unplugged_;
  std::uint64_t address_;
  std::uint64_t size_;
};

/// One device of a qtest machine; see QtestMachine::function().
class QtestFunction final : public PciFunction {
 public:
  /// Sets the root port up, finds the device behind it, sizes and places its BARs.
  [[nodiscard]] static Result<std::unique_ptr<PciFunction>> open(std::shared_ptr<QtestMachineState> machine,
                                                                 std::size_t index);
  ~QtestFunction() override;

  [[nodiscard]] const std::string& name() const noexcept override { return name_; }
  [[nodiscard]] Result<std::uint32_t> read_config(std::uint16_t offset, unsigned width) override;
  [[nodiscard]] Result<void> write_config(std::uint16_t offset, unsigned width, std::uint32_t value) override;
  [[nodiscard]] Result<RegisterBlock*> bar(unsigned index) override;
  /// The doorbell is posted: it does not wait for QEMU. Any thread.
  [[nodiscard]] Result<Doorbell> doorbell(unsigned bar, std::uint64_t offset, unsigned width_bits) override;
  /// Function-level reset where the model has it, otherwise a reset of the bus behind the root port (the
  /// device is alone there). BARs and the command register are put back, bus mastering is off.
  [[nodiscard]] Result<void> reset() override;
  [[nodiscard]] Result<void> set_bus_master(bool on) override;
  [[nodiscard]] const DmaTable& dma() const noexcept override { return machine_->guest_memory.table(); }
  /// Always 0: drivers poll on this bus.
  [[nodiscard]] Result<unsigned> enable_interrupts(unsigned /*count*/) override { return 0U; }
  [[nodiscard]] int interrupt_fd(unsigned /*vector*/) const noexcept override { return -1; }
  [[nodiscard]] Result<void> unmask_interrupt(unsigned vector) override;

 private:
  struct BarPlace {
    std::uint64_t address = 0;
    std::uint64_t size = 0;  // 0: not there
    bool is_64_bit = false;
  };
  struct DoorbellTarget {
    QtestClient* qtest;
    std::uint64_t address;
    char letter;
  };

  QtestFunction(std::shared_ptr<QtestMachineState> machine, std::size_t index);
  Result<void> set_up_root_port();
  Result<void> size_bars();
  Result<void> place_bars();
  Result<void> write_command(bool bus_master);
  Result<void> reset_bus();
  static void ring(void* target, std::uint32_t value) noexcept;

  std::shared_ptr<QtestMachineState> machine_;  // first: all below speak through it
  std::size_t index_;
  std::string name_;
  std::array<BarPlace, 6> places_{};
  std::array<std::unique_ptr<QtestBar>, 6> bars_;
  std::vector<std::unique_ptr<DoorbellTarget>> doorbells_;
};

}  // namespace spinring::pmd
