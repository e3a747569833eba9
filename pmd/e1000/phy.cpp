#include "pmd/e1000/phy.hpp"

#include <fmt/format.h>

#include <chrono>

#include "base/time.hpp"
#include "pmd/e1000/registers.hpp"
#include "pmd/errors.hpp"

namespace spinring::pmd::e1000 {

using namespace std::chrono_literals;

Result<std::uint16_t> Phy::access(std::uint32_t operation, std::uint8_t reg, std::uint16_t value) {
  constexpr std::uint32_t kInternalPhy = 1;
  mmio::write(registers_,
              Mdic::kData(value) | Mdic::kRegadd(reg) | Mdic::kPhyadd(kInternalPhy) | Mdic::kOp(operation));
  Mdic answer;
  const auto ready = [&] {
    answer = mmio::read<Mdic>(registers_);
    return Mdic::kReady.get(answer) != 0;
  };
  const auto what = [&] { return fmt::format("PHY register {}", reg); };
  if (!wait_until(ready, Deadline(50ms), 10us)) {
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
