#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "base/mmio.hpp"
#include "base/result.hpp"
#include "pmd/e1000/models.hpp"
#include "pmd/port.hpp"

namespace spinring::pmd::e1000 {

/// The EEPROM or NVM, word by word through EERD: [8254x] 13.4.4 and 5.6, [82574] 6.1, [82576] 6.2. Control
/// thread.
class Nvm {
 public:
  static constexpr std::uint16_t kWords = 64;  ///< that the checksum is over
  using Words = std::array<std::uint16_t, kWords>;

  /// `registers` outlives this; `name` is what messages call the device.
  Nvm(RegisterBlock& registers, const NvmLayout& layout, const std::string& name)
      : registers_(registers), layout_(layout), name_(name) {}
  /// Errc::kTimeout when there is no answer.
  [[nodiscard]] Result<std::uint16_t> read(std::uint16_t word);
  [[nodiscard]] Result<Words> read_all();
  /// [8254x] 5.6.35, [82574] 6.1.2.8: all words add up to 0xBABA.
  [[nodiscard]] static bool is_sound(const Words& words) noexcept;
  /// Words 0 to 2.
  [[nodiscard]] static MacAddress address(const Words& words) noexcept;

 private:
  RegisterBlock& registers_;
  NvmLayout layout_;
  const std::string& name_;
};

}  // namespace spinring::pmd::e1000
