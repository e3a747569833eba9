#pragma once

#include <cstdint>
#include <string>

#include "base/mmio.hpp"
#include "base/result.hpp"
#include "pmd/e1000/models.hpp"

namespace spinring::pmd::e1000 {

/// The registers of the internal PHY, by MDI Control: [8254x] 13.4.7, [82574] 10.2.2.7, [82576] 8.2.4.
/// Control thread. Errors: Errc::kTimeout when the PHY does not answer, Errc::kBadDevice when it answers with
/// an error.
class Phy {
 public:
  /// `registers` outlives this; `name` is what messages call the device.
  Phy(RegisterBlock& registers, const std::string& name, PhyLock lock)
      : registers_(registers), name_(name), lock_(lock) {}
  [[nodiscard]] Result<std::uint16_t> read(std::uint8_t reg);
  [[nodiscard]] Result<void> write(std::uint8_t reg, std::uint16_t value);
  /// Negotiates speed and duplex with the other side, from the start. The link is down meanwhile.
  [[nodiscard]] Result<void> restart_autonegotiation();

 private:
  [[nodiscard]] Result<std::uint16_t> access(std::uint32_t operation, std::uint8_t reg, std::uint16_t value);
  /// Takes the PHY from the firmware, and gives it back.
  [[nodiscard]] Result<void> take();
  void give_back();
  [[nodiscard]] bool take_semaphore();
  [[nodiscard]] std::uint32_t sync_bit();

  RegisterBlock& registers_;
  const std::string& name_;
  PhyLock lock_;
};

}  // namespace spinring::pmd::e1000
