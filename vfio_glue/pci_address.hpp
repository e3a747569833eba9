#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace spinring::vfio_glue {

/// Where a PCI function sits: "0000:01:00.0". The domain may be wider than 16 bits (Intel VMD: "10000:…").
struct PciAddress {
  std::uint32_t domain = 0;
  std::uint8_t bus = 0;
  std::uint8_t device = 0;    ///< 0..31
  std::uint8_t function = 0;  ///< 0..7

  auto operator<=>(const PciAddress&) const = default;
  /// As sysfs writes it: "0000:01:00.0".
  [[nodiscard]] std::string to_string() const;
  /// Reads "0000:01:00.0" or "01:00.0" (domain 0), hexadecimal. Anything else is Errc::kBadAddress.
  [[nodiscard]] static Result<PciAddress> parse(std::string_view text);
};

}  // namespace spinring::vfio_glue
