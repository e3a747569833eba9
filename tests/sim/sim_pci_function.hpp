#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "pmd/bus/pci_function.hpp"
#include "tests/sim/sim_pci_target.hpp"

namespace spinring::sim {

/// The driver's face of a simulated device. The target, the table and the knobs outlive it.
class SimPciFunction final : public pmd::PciFunction {
 public:
  SimPciFunction(std::string name, SimPciTarget& target, const DmaTable& table, const BusKnobs& knobs);
  ~SimPciFunction() override;

  [[nodiscard]] const std::string& name() const noexcept override { return name_; }
  [[nodiscard]] Result<std::uint32_t> read_config(std::uint16_t offset, unsigned width) override;
  [[nodiscard]] Result<void> write_config(std::uint16_t offset, unsigned width, std::uint32_t value) override;
  [[nodiscard]] Result<RegisterBlock*> bar(unsigned index) override;
  [[nodiscard]] Result<Doorbell> doorbell(unsigned bar, std::uint64_t offset, unsigned width_bits) override;
  [[nodiscard]] Result<void> reset() override;
  [[nodiscard]] Result<void> set_bus_master(bool on) override;
  [[nodiscard]] const DmaTable& dma() const noexcept override { return table_; }
  [[nodiscard]] Result<unsigned> enable_interrupts(unsigned count) override;
  [[nodiscard]] int interrupt_fd(unsigned vector) const noexcept override;
  [[nodiscard]] Result<void> unmask_interrupt(unsigned vector) override;

 private:
  class Bar;
  struct Bell {
    SimPciTarget* target;
    unsigned bar;
    std::uint64_t offset;
    unsigned width;
  };

  [[nodiscard]] tl::unexpected<Error> refused(const char* operation) const;

  std::string name_;
  SimPciTarget& target_;
  const DmaTable& table_;
  const BusKnobs& knobs_;
  std::array<std::unique_ptr<RegisterBlock>, 6> bars_;
  std::deque<Bell> bells_;  // addresses stay: doorbells point at them
  std::vector<Fd> interrupts_;
};

}  // namespace spinring::sim
