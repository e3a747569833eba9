#include "pmd/e1000/phy.hpp"

#include <fmt/format.h>

#include <array>
#include <chrono>

#include "base/time.hpp"
#include "pmd/e1000/registers.hpp"
#include "pmd/errors.hpp"

namespace spinring::pmd::e1000 {

using namespace std::chrono_literals;

/// [82576] 8.7.5: PHY0_SM, PHY1_SM, and those of the I350's further ports.
std::uint32_t Phy::sync_bit() {
  constexpr std::array<std::uint32_t, 4> kBits{1U << 1, 1U << 2, 1U << 5, 1U << 6};
  return kBits[Status::kLanId.get(mmio::read<Status>(registers_))];
}

/// [82576] 4.7: the semaphore among drivers, then the one between drivers and firmware. It guards SW_FW_SYNC.
bool Phy::take_semaphore() {
  const auto ours = [&] {
    if (Swsm::kSmbi.get(mmio::read<Swsm>(registers_)) != 0) return false;
    mmio::write(registers_, Swsm::kSmbi(1) | Swsm::kSwesmbi(1));
    if (Swsm::kSwesmbi.get(mmio::read<Swsm>(registers_)) != 0) return true;
    mmio::write(registers_, Swsm{});
    return false;
  };
  return wait_until(ours, Deadline(100ms), 50us);
}

Result<void> Phy::take() {
  const auto owned = [&] {
    if (lock_ == PhyLock::kExtcnf) {
      mmio::write(registers_, mmio::read<ExtcnfCtrl>(registers_) | ExtcnfCtrl::kMdioSwOwnership(1));
      return ExtcnfCtrl::kMdioSwOwnership.get(mmio::read<ExtcnfCtrl>(registers_)) != 0;
    }
    if (!take_semaphore()) return false;
    const std::uint32_t held = mmio::read<SwFwSync>(registers_).raw;
    const bool free = (held & (sync_bit() | sync_bit() << 16)) == 0;
    if (free) mmio::write(registers_, SwFwSync{held | sync_bit()});
    mmio::write(registers_, Swsm{});
    return free;
  };
  if (lock_ == PhyLock::kNone || wait_until(owned, Deadline(1s), 1ms)) return {};
  return fail(Errc::kTimeout, "taking the PHY from the firmware", name_, 0,
              "The firmware, or a driver that has ended, keeps it: reset the machine");
}

void Phy::give_back() {
  if (lock_ == PhyLock::kExtcnf) {
    ExtcnfCtrl control = mmio::read<ExtcnfCtrl>(registers_);
    mmio::write(registers_, ExtcnfCtrl::kMdioSwOwnership.with(control, 0));
  } else if (lock_ == PhyLock::kSwFwSync && take_semaphore()) {
    mmio::write(registers_, SwFwSync{mmio::read<SwFwSync>(registers_).raw & ~sync_bit()});
    mmio::write(registers_, Swsm{});
  }
}

Result<std::uint16_t> Phy::access(std::uint32_t operation, std::uint8_t reg, std::uint16_t value) {
  constexpr std::uint32_t kInternalPhy = 1;
  if (auto taken = take(); !taken) return fail(std::move(taken));
  mmio::write(registers_,
              Mdic::kData(value) | Mdic::kRegadd(reg) | Mdic::kPhyadd(kInternalPhy) | Mdic::kOp(operation));
  Mdic answer;
  const auto ready = [&] {
    answer = mmio::read<Mdic>(registers_);
    return Mdic::kReady.get(answer) != 0;
  };
  const bool answered = wait_until(ready, Deadline(50ms), 10us);
  give_back();
  const auto what = [&] { return fmt::format("PHY register {}", reg); };
  if (!answered) {
    return fail(Errc::kTimeout, what(), name_, 0, "MDIC did not become ready: the PHY does not answer");
  }
  if (Mdic::kError.get(answer) != 0) return fail(Errc::kBadDevice, what() + ": MDIC says error", name_);
  return static_cast<std::uint16_t>(Mdic::kData.get(answer));
}

Result<std::uint16_t> Phy::read(std::uint8_t reg) { return access(Mdic::kRead, reg, 0); }

Result<void> Phy::write(std::uint8_t reg, std::uint16_t value) {
  auto done = access(Mdic::kWrite, reg, value);
  if (!done) return fail(std::move(done));
  return {};
}

Result<void> Phy::restart_autonegotiation() {
  auto control = read(phy::kControl);
  if (!control) return fail(std::move(control));
  const auto powered = static_cast<std::uint16_t>(*control & ~phy::kPowerDown);
  return write(phy::kControl,
               static_cast<std::uint16_t>(powered | phy::kAutoNegotiation | phy::kRestartAutoNegotiation));
}

}  // namespace spinring::pmd::e1000
