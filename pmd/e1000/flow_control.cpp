// Pause frames: who sends and who obeys them, and at which marks of the receive buffer.

#include <fmt/format.h>

#include <algorithm>

#include "pmd/e1000/device.hpp"
#include "pmd/e1000/registers.hpp"
#include "pmd/errors.hpp"

namespace spinring::pmd::e1000 {
namespace {

constexpr std::uint32_t kGrain = 16;  // of FCRTL and FCRTH
constexpr std::uint32_t kHighest = 0x1'0000 - kGrain;

}  // namespace

/// Bytes of the receive buffer.
std::uint32_t Device::rx_memory() const {
  const RxMemory& at = family().rx_memory;
  const std::uint32_t kib =
      at.offset == 0 ? at.kib : static_cast<std::uint32_t>(registers_->read32(at.offset) & at.mask);
  return kib * 1024;
}

/// [82574] 10.2.5.4: two frames may be on their way when the other side is told.
FlowControl Device::with_marks(FlowControl wanted) const {
  const std::uint32_t frame = longest_frame(mtu_) + 4;
  if (wanted.high_water == 0) {
    const std::uint32_t room = rx_memory();
    wanted.high_water = std::min(room - std::min(room, 2 * frame), kHighest) / kGrain * kGrain;
  }
  if (wanted.low_water == 0) {
    const std::uint32_t high = wanted.high_water;
    wanted.low_water = (high > 2 * frame ? high - frame : high / 2) / kGrain * kGrain;
  }
  return wanted;
}

Result<void> Device::set_flow_control(const FlowControl& wanted) {
  if (family().rx_memory.offset == 0 && family().rx_memory.kib == 0) {
    return fail(Errc::kUnsupported, "setting flow control", name(), 0,
                "It is the physical function's to set");
  }
  const FlowControl set = with_marks(wanted);
  const std::uint32_t most = std::min(rx_memory(), kHighest);
  if (wanted.tx && (set.low_water >= set.high_water || set.high_water > most ||
                    (set.low_water | set.high_water) % kGrain != 0)) {
    return fail(
        Errc::kBadArgument,
        fmt::format("flow control: marks of {} and {} bytes", set.high_water, set.low_water), name(), 0,
        fmt::format("The high one is at most {}, the low one less, both multiples of {}; 0 asks for what "
                    "fits the MTU",
                    most, kGrain));
  }
  flow_control_ = wanted;
  if (running_) apply_flow_control();
  return {};
}

Result<FlowControl> Device::flow_control() const {
  if (family().rx_memory.offset == 0 && family().rx_memory.kib == 0)
    return fail(Errc::kUnsupported, "reading flow control", name());
  return with_marks(flow_control_);
}

/// [8254x] 13.4.8 to 13.4.10: address and type of pause frames; 13.4.23, 13.4.24, 13.4.32. QUIRK(QEMU):
/// e1000e and igb set RFCE and TFCE themselves at the end of an autonegotiation, and neither sends nor obeys
/// any.
void Device::apply_flow_control() {
  const FlowControl set = with_marks(flow_control_);
  mmio::write(*registers_, Fcal{0x00C2'8001});
  mmio::write(*registers_, Fcah{0x0000'0100});
  mmio::write(*registers_, Fct{0x8808});
  mmio::write(*registers_, Fcttv{set.pause_time});
  mmio::write(*registers_,
              set.tx ? Fcrtl::kRtl(set.low_water / kGrain) | Fcrtl::kXone(set.send_xon ? 1 : 0) : Fcrtl{});
  mmio::write(*registers_, Fcrth{set.tx ? set.high_water : 0});
  Ctrl ctrl = Ctrl::kRfce.with(mmio::read<Ctrl>(*registers_), set.rx ? 1 : 0);
  mmio::write(*registers_, Ctrl::kTfce.with(ctrl, set.tx ? 1 : 0));
}

}  // namespace spinring::pmd::e1000
