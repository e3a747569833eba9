#pragma once

#include <sys/types.h>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.hpp"
#include "mempool/memory.hpp"
#include "pmd/bus/pci_function.hpp"
#include "pmd/bus/qtest/qtest_config.hpp"

namespace spinring::pmd {

struct QtestMachineState;

/// A QEMU without a guest, whose device models drivers use natively: registers by messages over the qtest
/// protocol (about 35 us each), memory shared. Needs neither root nor VFIO. Each device sits alone behind a
/// PCI Express root port, so that it can be reset and unplugged. The bus delivers no interrupts.
///
/// QEMU runs until this object and every function taken from it are gone; it dies with this process too.
/// `memory` outlives them all. Control thread only; the registers and doorbells of the functions may be used
/// by any thread.
class QtestMachine {
 public:
  /// Starts QEMU and shares every region of `memory`, and every later one, with it. Errors: Errc::kQemu with
  /// QEMU's own words, Errc::kBadArgument.
  [[nodiscard]] static Result<std::unique_ptr<QtestMachine>> start(mempool::Memory& memory,
                                                                   const QtestConfig& config);
  QtestMachine(const QtestMachine&) = delete;
  QtestMachine& operator=(const QtestMachine&) = delete;
  ~QtestMachine();

  [[nodiscard]] std::size_t device_count() const noexcept;
  /// The PCI function of config.devices[index], its BARs placed. One holder at a time; it can be taken again
  /// when the former has gone.
  [[nodiscard]] Result<std::unique_ptr<PciFunction>> function(std::size_t index);

  /// Takes the device's cable out, or puts it back.
  [[nodiscard]] Result<void> set_link(std::size_t index, bool up);
  /// Hot-unplugs the device: its registers then read as all ones. There is no way back.
  [[nodiscard]] Result<void> unplug(std::size_t index);
  /// Any QMP command; `arguments` is a JSON object. Returns the JSON text of its answer.
  [[nodiscard]] Result<std::string> qmp(std::string_view command, std::string_view arguments = "{}");
  [[nodiscard]] pid_t qemu_pid() const noexcept;

 private:
  explicit QtestMachine(std::shared_ptr<QtestMachineState> state);
  Result<void> check_index(std::size_t index) const;
  std::shared_ptr<QtestMachineState> state_;
};

}  // namespace spinring::pmd
