#pragma once

#include <cstdint>
#include <string>

namespace spinring::sim {

/// A simulated PCI function as its bus sees it: what SimPciFunction forwards to.
class SimPciTarget {
 public:
  SimPciTarget() = default;
  SimPciTarget(const SimPciTarget&) = delete;
  SimPciTarget& operator=(const SimPciTarget&) = delete;
  virtual ~SimPciTarget() = default;

  virtual std::uint32_t config_read(std::uint16_t offset, unsigned width) = 0;
  virtual void config_write(std::uint16_t offset, unsigned width, std::uint32_t value) = 0;
  /// 0: there is no such BAR.
  virtual std::uint64_t bar_size(unsigned bar) = 0;
  /// `width` in bytes: 1, 2, 4 or 8.
  virtual std::uint64_t mmio_read(unsigned bar, std::uint64_t offset, unsigned width) = 0;
  virtual void mmio_write(unsigned bar, std::uint64_t offset, unsigned width, std::uint64_t value) = 0;
  /// The driver reached past the end of a BAR: read as all ones.
  virtual void outside_bar(unsigned bar, std::uint64_t offset, unsigned width) = 0;

  virtual void opened() = 0;
  virtual void function_reset() = 0;
  virtual void bus_master(bool on) = 0;
  /// The function object has gone: the device is nobody's.
  virtual void released() = 0;

  [[nodiscard]] virtual unsigned interrupt_vectors() const = 0;
  /// Where interrupts go: eventfds by vector, in the order given; empty: none.
  virtual void connect_interrupts(const int* fds, unsigned count) = 0;
};

/// Failures of the bus, not of the device.
struct BusKnobs {
  bool config_reads_fail = false;
  bool config_writes_fail = false;
  bool bars_fail = false;
  bool doorbells_fail = false;
  bool bus_master_fails = false;
  bool reset_fails = false;
  bool interrupts_fail = false;
};

}  // namespace spinring::sim
