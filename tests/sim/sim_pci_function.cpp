#include "tests/sim/sim_pci_function.hpp"

#include <sys/eventfd.h>

#include <cerrno>
#include <utility>

#include "pmd/errors.hpp"

namespace spinring::sim {

class SimPciFunction::Bar final : public RegisterBlock {
 public:
  Bar(SimPciTarget& target, unsigned index) : target_(target), index_(index) {}

  [[nodiscard]] std::uint64_t size() const noexcept override { return target_.bar_size(index_); }
  std::uint8_t read8(std::uint64_t offset) override { return static_cast<std::uint8_t>(read(offset, 1)); }
  std::uint16_t read16(std::uint64_t offset) override { return static_cast<std::uint16_t>(read(offset, 2)); }
  std::uint32_t read32(std::uint64_t offset) override { return static_cast<std::uint32_t>(read(offset, 4)); }
  std::uint64_t read64(std::uint64_t offset) override { return read(offset, 8); }
  void write8(std::uint64_t offset, std::uint8_t value) override { write(offset, 1, value); }
  void write16(std::uint64_t offset, std::uint16_t value) override { write(offset, 2, value); }
  void write32(std::uint64_t offset, std::uint32_t value) override { write(offset, 4, value); }
  void write64(std::uint64_t offset, std::uint64_t value) override { write(offset, 8, value); }

 private:
  [[nodiscard]] bool inside(std::uint64_t offset, unsigned width) {
    if (offset < size() && width <= size() - offset) return true;
    target_.outside_bar(index_, offset, width);
    return false;
  }
  std::uint64_t read(std::uint64_t offset, unsigned width) {
    return inside(offset, width) ? target_.mmio_read(index_, offset, width) : ~0ULL;
  }
  void write(std::uint64_t offset, unsigned width, std::uint64_t value) {
    if (inside(offset, width)) target_.mmio_write(index_, offset, width, value);
  }

  SimPciTarget& target_;
  unsigned index_;
};

SimPciFunction::SimPciFunction(std::string name, SimPciTarget& target, const DmaTable& table,
                               const BusKnobs& knobs)
    : name_(std::move(name)), target_(target), table_(table), knobs_(knobs) {
  target_.opened();
}

SimPciFunction::~SimPciFunction() {
  target_.connect_interrupts(nullptr, 0);
  target_.function_reset();
  target_.bus_master(false);
  target_.released();
}

tl::unexpected<Error> SimPciFunction::refused(const char* operation) const {
  return fail(pmd::Errc::kUnsupported, operation, name_, EIO, "The test asked for this failure.");
}

Result<std::uint32_t> SimPciFunction::read_config(std::uint16_t offset, unsigned width) {
  if (knobs_.config_reads_fail) return refused("reading configuration space");
  return target_.config_read(offset, width);
}

Result<void> SimPciFunction::write_config(std::uint16_t offset, unsigned width, std::uint32_t value) {
  if (knobs_.config_writes_fail) return refused("writing configuration space");
  target_.config_write(offset, width, value);
  return {};
}

Result<RegisterBlock*> SimPciFunction::bar(unsigned index) {
  if (knobs_.bars_fail) return refused("mapping a BAR");
  if (index >= bars_.size() || target_.bar_size(index) == 0) {
    return fail(pmd::Errc::kBadArgument, "mapping a BAR", name_, 0, "The device has no such BAR.");
  }
  if (!bars_[index]) bars_[index] = std::make_unique<Bar>(target_, index);
  return bars_[index].get();
}

Result<Doorbell> SimPciFunction::doorbell(unsigned bar, std::uint64_t offset, unsigned width_bits) {
  if (knobs_.doorbells_fail) return refused("mapping a doorbell");
  const std::uint64_t size = bar < bars_.size() ? target_.bar_size(bar) : 0;
  const unsigned width = width_bits / 8;
  if (offset >= size || width > size - offset) {
    return fail(pmd::Errc::kBadArgument, "mapping a doorbell", name_, 0, "It lies outside the BAR.");
  }
  const auto ring = [](void* context, std::uint32_t value) {
    const Bell& bell = *static_cast<const Bell*>(context);
    bell.target->mmio_write(bell.bar, bell.offset, bell.width, value);
  };
  return Doorbell::call(ring, &bells_.emplace_back(Bell{&target_, bar, offset, width}));
}

Result<void> SimPciFunction::reset() {
  if (knobs_.reset_fails) return refused("function-level reset");
  target_.function_reset();
  return {};
}

Result<void> SimPciFunction::set_bus_master(bool on) {
  if (knobs_.bus_master_fails && on) return refused("bus mastering");
  target_.bus_master(on);
  return {};
}

Result<unsigned> SimPciFunction::enable_interrupts(unsigned count) {
  if (knobs_.interrupts_fail) return refused("arming interrupts");
  const unsigned vectors = std::min(count, target_.interrupt_vectors());
  interrupts_.clear();
  std::vector<int> fds;
  for (unsigned vector = 0; vector < vectors; ++vector) {
    interrupts_.emplace_back(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    fds.push_back(interrupts_.back().get());
  }
  target_.connect_interrupts(fds.data(), vectors);
  return vectors;
}

int SimPciFunction::interrupt_fd(unsigned vector) const noexcept {
  return vector < interrupts_.size() ? interrupts_[vector].get() : -1;
}

Result<void> SimPciFunction::unmask_interrupt(unsigned) { return {}; }

}  // namespace spinring::sim
