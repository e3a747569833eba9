#include "pmd/bus/qtest/qtest_machine.hpp"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <utility>
#include <vector>

#include "pmd/bus/qtest/machine_state.hpp"
#include "pmd/bus/qtest/qtest_function.hpp"
#include "pmd/errors.hpp"

namespace spinring::pmd {
namespace {

/// The firmware of a computer that does nothing: 64 KiB of HLT, and at the reset vector (0xfff0) CLI; HLT;
/// JMP back to the HLT. An idle halted CPU costs no host time.
Result<Fd> make_firmware() {
  constexpr std::size_t kSize = 64 * 1024;
  constexpr std::array<char, 4> kResetVector{'\xfa', '\xf4', '\xeb', '\xfd'};
  std::string image(kSize, '\xf4');
  image.replace(0xfff0, kResetVector.size(), kResetVector.data(), kResetVector.size());
  Fd fd(::memfd_create("spinring-firmware", MFD_CLOEXEC));
  if (!fd || ::write(fd.get(), image.data(), kSize) != static_cast<ssize_t>(kSize)) {
    return fail(Errc::kQemu, "write the firmware image", "memfd", errno);
  }
  return fd;
}

struct SocketPair {
  Fd ours;
  Fd qemus;
};

Result<SocketPair> make_socket_pair() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return fail(Errc::kQemu, "socketpair", "QEMU", errno);
  }
  return SocketPair{Fd(ends[0]), Fd(ends[1])};
}

Result<void> check(const QtestConfig& config) {
  if (config.devices.empty() || config.devices.size() > QtestMachineState::kMaxDevices) {
    return fail(Errc::kBadArgument, "lay out the qtest machine",
                fmt::format("{} devices", config.devices.size()), 0,
                fmt::format("A machine takes 1 to {} devices", QtestMachineState::kMaxDevices));
  }
  for (const QtestDevice& device : config.devices) {
    for (const char* const reserved : {",id=", ",bus=", ",addr=", ",multifunction="}) {
      if (device.options.find(reserved) == std::string::npos) continue;
      return fail(Errc::kBadArgument, "lay out the qtest machine", device.name + ": " + device.options, 0,
                  "Leave id, bus, addr and multifunction out: the bus gives each device its own root port");
    }
  }
  return {};
}

std::vector<std::string> command_line(const QtestConfig& config, int firmware, int qtest, int qmp) {
  std::vector<std::string> line{config.qemu,  "-nodefaults", "-no-user-config",
                                "-no-reboot", "-display",    "none"};
  const auto add = [&line](std::string option, std::string value) {
    line.push_back(std::move(option));
    line.push_back(std::move(value));
  };
  add("-machine", "q35,accel=tcg,usb=off,sata=off,smbus=off");
  // Without this, unplugging waits for ACPI code that no guest runs; with it the root port's own registers do
  // it.
  add("-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off");
  add("-m", GuestMemory::memory_option());
  add("-bios", fmt::format("/proc/self/fd/{}", firmware));
  add("-chardev", fmt::format("socket,id=qtest,fd={}", qtest));
  add("-qtest", "chardev:qtest");
  add("-qtest-log", "/dev/null");
  add("-chardev", fmt::format("socket,id=qmp,fd={}", qmp));
  add("-mon", "chardev=qmp,mode=control");
  for (const std::string& netdev : config.netdevs) add("-netdev", netdev);
  for (std::size_t i = 0; i < config.devices.size(); ++i) {
    add("-device", fmt::format("pcie-root-port,id=port{},bus=pcie.0,addr={:#x},chassis={},slot={}", i,
                               QtestMachineState::root_port_device(i), i + 1, i + 1));
    add("-device", fmt::format("{},id=dev{},bus=port{}", config.devices[i].options, i, i));
  }
  line.insert(line.end(), config.extra.begin(), config.extra.end());
  return line;
}

}  // namespace

Result<std::unique_ptr<QtestMachine>> QtestMachine::start(mempool::Memory& memory,
                                                          const QtestConfig& config) {
  if (Result<void> valid = check(config); !valid) return fail(std::move(valid));
  Result<Fd> firmware = make_firmware();
  if (!firmware) return fail(std::move(firmware));
  Result<SocketPair> qtest = make_socket_pair();
  if (!qtest) return fail(std::move(qtest));
  Result<SocketPair> qmp = make_socket_pair();
  if (!qmp) return fail(std::move(qmp));

  const std::array<int, 3> inherited{firmware->get(), qtest->qemus.get(), qmp->qemus.get()};
  Result<std::unique_ptr<QemuProcess>> process =
      QemuProcess::start(command_line(config, inherited[0], inherited[1], inherited[2]), inherited);
  if (!process) return fail(std::move(process));
  // Ours must be the only open end, or QEMU's death would go unnoticed.
  qtest->qemus.reset();
  qmp->qemus.reset();

  auto state = std::make_shared<QtestMachineState>(std::move(*process), std::move(qtest->ours),
                                                   std::move(qmp->ours), config.reply_timeout);
  for (const QtestDevice& device : config.devices) state->slots.emplace_back(device.name);
  if (Result<void> ready = state->qmp.open(); !ready) return fail(std::move(ready));
  Result<mempool::Attachment> attachment = memory.attach(state->guest_memory);
  if (!attachment) return fail(std::move(attachment));
  state->attachment = std::move(*attachment);
  return std::unique_ptr<QtestMachine>(new QtestMachine(std::move(state)));
}

QtestMachine::QtestMachine(std::shared_ptr<QtestMachineState> state) : state_(std::move(state)) {}
QtestMachine::~QtestMachine() = default;

std::size_t QtestMachine::device_count() const noexcept { return state_->slots.size(); }

Result<std::unique_ptr<PciFunction>> QtestMachine::function(std::size_t index) {
  if (Result<void> known = check_index(index); !known) return fail(std::move(known));
  if (state_->slots[index].taken) {
    return fail(Errc::kBadState, "open qtest device", state_->slots[index].name, 0, "It is open already");
  }
  return QtestFunction::open(state_, index);
}

Result<void> QtestMachine::check_index(std::size_t index) const {
  if (index < device_count()) return {};
  return fail(Errc::kBadArgument, "find qtest device", std::to_string(index), 0,
              fmt::format("The machine has {} devices", device_count()));
}

Result<void> QtestMachine::set_link(std::size_t index, bool up) {
  if (Result<void> known = check_index(index); !known) return known;
  Result<std::string> done =
      qmp("set_link", fmt::format(R"({{"name":"dev{}","up":{}}})", index, up ? "true" : "false"));
  if (!done) return fail(std::move(done));
  return {};
}

Result<void> QtestMachine::unplug(std::size_t index) {
  if (Result<void> known = check_index(index); !known) return known;
  // PCI Express base 3.0, 7.8.10: slot control of the root port. Power indicator off, power controller off:
  // what a guest's hot-plug driver writes when it lets a device go.
  constexpr std::uint8_t kExpress = 0x10;
  constexpr std::uint16_t kSlotControl = 0x18;
  constexpr std::uint32_t kPowerOff = 3U << 8 | 1U << 10;
  Result<std::string> asked = qmp("device_del", fmt::format(R"({{"id":"dev{}"}})", index));
  if (!asked) return fail(std::move(asked));

  const std::uint8_t port = QtestMachineState::root_port_device(index);
  Result<std::uint16_t> express = state_->find_capability(0, port, kExpress);
  if (!express) return fail(std::move(express));
  if (*express == 0) return fail(Errc::kBadDevice, "find the root port's slot", state_->slots[index].name);
  const auto control = static_cast<std::uint16_t>(*express + kSlotControl);
  if (Result<void> off = state_->write_config(0, port, control, 2, kPowerOff); !off) return off;
  Result<std::string> gone = state_->qmp.wait_event("DEVICE_DELETED", Deadline(std::chrono::seconds(2)));
  if (!gone) return fail(std::move(gone));
  state_->slots[index].unplugged = true;
  return {};
}

Result<std::string> QtestMachine::qmp(std::string_view command, std::string_view arguments) {
  return state_->qmp.execute(command, arguments);
}

pid_t QtestMachine::qemu_pid() const noexcept { return state_->process->pid(); }

}  // namespace spinring::pmd
