#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "mempool/memory.hpp"
#include "pmd/bus/qtest/guest_memory.hpp"
#include "pmd/bus/qtest/qemu_process.hpp"
#include "pmd/bus/qtest/qmp_client.hpp"
#include "pmd/bus/qtest/qtest_client.hpp"

namespace spinring::pmd {

/// What a qtest machine and the functions taken from it share. Members go in reverse: first the memory is
/// detached, last QEMU is ended.
struct QtestMachineState {
  QtestMachineState(std::unique_ptr<QemuProcess> qemu, Fd qtest_socket, Fd qmp_socket,
                    Clock::duration timeout)
      : process(std::move(qemu)),
        qtest(std::move(qtest_socket), *process, timeout),
        qmp(std::move(qmp_socket), *process, timeout),
        guest_memory(qmp) {}

  struct Slot {
    explicit Slot(std::string device_name) : name(std::move(device_name)) {}
    std::string name;
    bool taken = false;
    std::atomic<bool> unplugged = false;
  };

  std::unique_ptr<QemuProcess> process;
  QtestClient qtest;
  QmpClient qmp;
  GuestMemory guest_memory;
  std::mutex config_lock;  // ports 0xcf8 and 0xcfc are one register pair for the whole machine
  std::deque<Slot> slots;  // they do not move: functions point to theirs
  mempool::Attachment attachment;

  /// Device `index` is device 0 on the bus behind root port `index`, which is device index + 1 on bus 0.
  [[nodiscard]] static constexpr std::uint8_t root_port_device(std::size_t index) noexcept {
    return static_cast<std::uint8_t>(index + 1);
  }
  [[nodiscard]] static constexpr std::uint8_t bus(std::size_t index) noexcept {
    return static_cast<std::uint8_t>(index + 1);
  }
  static constexpr std::size_t kMaxDevices =
      30;  // q35 keeps device 31 of bus 0 for itself, 0 is the host bridge

  /// Configuration space by mechanism #1. `width` is 1, 2 or 4; the offset is aligned to it and below 256.
  [[nodiscard]] Result<std::uint32_t> read_config(std::uint8_t bus_number, std::uint8_t device,
                                                  std::uint16_t offset, unsigned width);
  [[nodiscard]] Result<void> write_config(std::uint8_t bus_number, std::uint8_t device, std::uint16_t offset,
                                          unsigned width, std::uint32_t value);
  /// Where the capability lies in the device's configuration space, 0 if it has none of that id.
  [[nodiscard]] Result<std::uint16_t> find_capability(std::uint8_t bus_number, std::uint8_t device,
                                                      std::uint8_t id);
};

}  // namespace spinring::pmd
