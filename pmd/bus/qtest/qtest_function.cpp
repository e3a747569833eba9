#include "pmd/bus/qtest/qtest_function.hpp"

#include <fmt/format.h>

#include <utility>

#include "base/align.hpp"
#include "pmd/errors.hpp"

namespace spinring::pmd {
namespace {

// PCI local bus 3.0 chapter 6, PCI-to-PCI bridge 1.2 chapter 3, PCI Express base 3.0 section 7.8.
constexpr std::uint16_t kVendor = 0x00;
constexpr std::uint16_t kCommand = 0x04;
constexpr std::uint16_t kBar0 = 0x10;
constexpr std::uint16_t kBridgeBusNumbers = 0x18;
constexpr std::uint16_t kBridgeMemory = 0x20;
constexpr std::uint16_t kBridgePrefetchable = 0x24;
constexpr std::uint16_t kBridgeControl = 0x3e;
constexpr std::uint32_t kCommandMemory = 1U << 1;
constexpr std::uint32_t kCommandBusMaster = 1U << 2;
constexpr std::uint32_t kCommandNoIntx = 1U << 10;
constexpr std::uint32_t kBarIo = 1U << 0;
constexpr std::uint32_t kBarTypeMask = 3U << 1;
constexpr std::uint32_t kBarType64 = 2U << 1;
constexpr std::uint32_t kBridgeResetBus = 1U << 6;
constexpr std::uint8_t kCapabilityExpress = 0x10;
constexpr std::uint16_t kExpressDeviceCapabilities = 4;
constexpr std::uint16_t kExpressDeviceControl = 8;
constexpr std::uint32_t kExpressHasFlr = 1U << 28;
constexpr std::uint32_t kExpressStartFlr = 1U << 15;

// Each root port gets a window of its own in the hole that q35 leaves between low memory and 4 GiB.
constexpr std::uint64_t kWindowBase = 0xc000'0000;
constexpr std::uint64_t kWindowSize = 16ULL << 20;

constexpr std::uint64_t window_of(std::size_t index) noexcept { return kWindowBase + index * kWindowSize; }

}  // namespace

std::uint64_t QtestBar::read_value(char letter, std::uint64_t offset, unsigned bytes) {
  // QUIRK(QEMU): an address where no device is any more reads as 0 there, as all ones on a PCI bus.
  if (!holds(offset, bytes) || unplugged_.load()) return ~0ULL;
  const Result<std::uint64_t> value = qtest_.command(fmt::format("read{} {:#x}", letter, address_ + offset));
  return value ? *value : ~0ULL;
}

void QtestBar::write(char letter, std::uint64_t offset, unsigned bytes, std::uint64_t value) {
  if (!holds(offset, bytes)) return;
  // A set-up write waits for its reply: QEMU has acted on it when this returns. A failure is kept by the
  // client.
  static_cast<void>(qtest_.command(fmt::format("write{} {:#x} {:#x}", letter, address_ + offset, value)));
}

QtestFunction::QtestFunction(std::shared_ptr<QtestMachineState> machine, std::size_t index)
    : machine_(std::move(machine)), index_(index), name_(machine_->slots[index].name) {
  machine_->slots[index].taken = true;
}

QtestFunction::~QtestFunction() {
  // A QEMU that has gone cannot be reset, and need not be.
  static_cast<void>(set_bus_master(false));
  static_cast<void>(reset());
  machine_->slots[index_].taken = false;
}

Result<std::unique_ptr<PciFunction>> QtestFunction::open(std::shared_ptr<QtestMachineState> machine,
                                                         std::size_t index) {
  std::unique_ptr<QtestFunction> function(new QtestFunction(std::move(machine), index));
  if (Result<void> done = function->set_up_root_port(); !done) return fail(std::move(done));
  Result<std::uint32_t> vendor = function->read_config(kVendor, 2);
  if (!vendor) return fail(std::move(vendor));
  if (*vendor == 0xffff) {
    return fail(Errc::kRemoved, "find the PCI device", function->name_, 0,
                "It was unplugged from its machine");
  }
  // A BAR that is being sized must not answer: it would lie over others.
  if (Result<void> off = function->write_config(kCommand, 2, kCommandNoIntx); !off)
    return fail(std::move(off));
  if (Result<void> done = function->size_bars(); !done) return fail(std::move(done));
  if (Result<void> done = function->place_bars(); !done) return fail(std::move(done));
  if (Result<void> done = function->write_command(false); !done) return fail(std::move(done));
  return function;
}

Result<void> QtestFunction::set_up_root_port() {
  const std::uint8_t port = QtestMachineState::root_port_device(index_);
  const std::uint32_t bus = QtestMachineState::bus(index_);
  const std::uint64_t first = window_of(index_);
  const std::uint64_t last = first + kWindowSize - 1;
  const auto memory =
      static_cast<std::uint32_t>((last & 0xfff0'0000) | (first >> 16));  // limit above, base below, in MiB
  const std::array<std::tuple<std::uint16_t, unsigned, std::uint32_t>, 4> settings{{
      {kBridgeBusNumbers, 4, bus << 16 | bus << 8},
      {kBridgeMemory, 4, memory},
      {kBridgePrefetchable, 4, 0x0000'fff0},  // base above limit: closed
      {kCommand, 2, kCommandMemory | kCommandBusMaster | kCommandNoIntx},
  }};
  for (const auto& [offset, width, value] : settings) {
    Result<void> done = machine_->write_config(0, port, offset, width, value);
    if (!done) return done;
  }
  return {};
}

Result<void> QtestFunction::size_bars() {
  std::uint64_t next = window_of(index_);
  for (unsigned i = 0; i < places_.size(); ++i) {
    const auto offset = static_cast<std::uint16_t>(kBar0 + 4 * i);
    if (Result<void> done = write_config(offset, 4, 0xffff'ffff); !done) return done;
    Result<std::uint32_t> low = read_config(offset, 4);
    if (!low) return fail(std::move(low));
    if (*low == 0 || (*low & kBarIo) != 0) continue;  // absent, or an I/O BAR: no driver here uses those
    BarPlace& place = places_[i];
    place.is_64_bit = (*low & kBarTypeMask) == kBarType64;
    const unsigned number = i;
    std::uint64_t mask = 0xffff'ffff'0000'0000ULL | (*low & ~0xfU);
    if (place.is_64_bit) {
      const auto high_offset = static_cast<std::uint16_t>(offset + 4);
      if (Result<void> done = write_config(high_offset, 4, 0xffff'ffff); !done) return done;
      Result<std::uint32_t> high = read_config(high_offset, 4);
      if (!high) return fail(std::move(high));
      mask = static_cast<std::uint64_t>(*high) << 32 | (*low & ~0xfU);
      ++i;
    }
    place.size = ~mask + 1;
    if (place.size > kWindowSize) {
      return fail(Errc::kUnsupported, fmt::format("place BAR{} of {} bytes", number, place.size), name_, 0,
                  fmt::format("The qtest bus has {} MiB for each device", kWindowSize >> 20));
    }
    place.address = align_up(next, place.size);
    next = place.address + place.size;
  }
  if (next > window_of(index_) + kWindowSize) {
    return fail(Errc::kUnsupported, "place the BARs", name_, 0,
                fmt::format("The qtest bus has {} MiB for each device", kWindowSize >> 20));
  }
  return {};
}

Result<void> QtestFunction::place_bars() {
  for (unsigned i = 0; i < places_.size(); ++i) {
    const BarPlace& place = places_[i];
    if (place.size == 0) continue;
    const auto offset = static_cast<std::uint16_t>(kBar0 + 4 * i);
    Result<void> done = write_config(offset, 4, static_cast<std::uint32_t>(place.address));
    if (done && place.is_64_bit) {
      done = write_config(static_cast<std::uint16_t>(offset + 4), 4,
                          static_cast<std::uint32_t>(place.address >> 32));
    }
    if (!done) return done;
  }
  return {};
}

Result<void> QtestFunction::write_command(bool bus_master) {
  // INTx stays off: nobody would serve it.
  return write_config(kCommand, 2, kCommandMemory | kCommandNoIntx | (bus_master ? kCommandBusMaster : 0));
}

Result<std::uint32_t> QtestFunction::read_config(std::uint16_t offset, unsigned width) {
  return machine_->read_config(QtestMachineState::bus(index_), 0, offset, width);
}

Result<void> QtestFunction::write_config(std::uint16_t offset, unsigned width, std::uint32_t value) {
  return machine_->write_config(QtestMachineState::bus(index_), 0, offset, width, value);
}

Result<RegisterBlock*> QtestFunction::bar(unsigned index) {
  if (index >= places_.size() || places_[index].size == 0) {
    return fail(Errc::kBadDevice, "map a BAR", fmt::format("{} BAR{}", name_, index), 0,
                "The device has no memory BAR of that number");
  }
  if (!bars_[index]) {
    bars_[index] = std::make_unique<QtestBar>(machine_->qtest, machine_->slots[index_].unplugged,
                                              places_[index].address, places_[index].size);
  }
  return bars_[index].get();
}

Result<Doorbell> QtestFunction::doorbell(unsigned index, std::uint64_t offset, unsigned width_bits) {
  Result<RegisterBlock*> block = bar(index);
  if (!block) return fail(std::move(block));
  const bool known_width = width_bits == 16 || width_bits == 32;
  if (!known_width || !bars_[index]->holds(offset, width_bits / 8) || offset % (width_bits / 8) != 0) {
    return fail(Errc::kBadDevice, "map a doorbell",
                fmt::format("{} BAR{}+{:#x}, {} bits", name_, index, offset, width_bits), 0,
                "It must be an aligned register of 16 or 32 bits inside the BAR");
  }
  doorbells_.push_back(std::make_unique<DoorbellTarget>(
      DoorbellTarget{&machine_->qtest, bars_[index]->address() + offset, width_bits == 16 ? 'w' : 'l'}));
  return Doorbell::call(&QtestFunction::ring, doorbells_.back().get());
}

void QtestFunction::ring(void* target, std::uint32_t value) noexcept {
  const DoorbellTarget& to = *static_cast<DoorbellTarget*>(target);
  std::array<char, 48> line;
  const std::uint32_t sent = to.letter == 'w' ? value & 0xffffU : value;
  const auto end =
      fmt::format_to_n(line.data(), line.size(), "write{} {:#x} {:#x}", to.letter, to.address, sent).out;
  to.qtest->post({line.data(), static_cast<std::size_t>(end - line.data())});
}

Result<void> QtestFunction::reset() {
  Result<std::uint16_t> express =
      machine_->find_capability(QtestMachineState::bus(index_), 0, kCapabilityExpress);
  if (!express) return fail(std::move(express));
  bool has_flr = false;
  if (*express != 0) {
    Result<std::uint32_t> can =
        read_config(static_cast<std::uint16_t>(*express + kExpressDeviceCapabilities), 4);
    if (!can) return fail(std::move(can));
    has_flr = (*can & kExpressHasFlr) != 0;
  }
  Result<void> done;
  if (has_flr) {
    // QEMU has reset the model when the reply comes; no wait of 100 ms as on a real bus.
    done = write_config(static_cast<std::uint16_t>(*express + kExpressDeviceControl), 2, kExpressStartFlr);
  } else {
    done = reset_bus();
  }
  if (done) done = place_bars();
  if (done) done = write_command(false);
  return done;
}

Result<void> QtestFunction::reset_bus() {
  const std::uint8_t port = QtestMachineState::root_port_device(index_);
  if (Result<void> done = machine_->write_config(0, port, kBridgeControl, 2, kBridgeResetBus); !done) {
    return done;
  }
  return machine_->write_config(0, port, kBridgeControl, 2, 0);
}

Result<void> QtestFunction::set_bus_master(bool on) { return write_command(on); }

Result<void> QtestFunction::unmask_interrupt(unsigned vector) {
  return fail(Errc::kUnsupported, fmt::format("unmask interrupt {}", vector), name_, 0,
              "The qtest bus delivers no interrupts: poll");
}

}  // namespace spinring::pmd
