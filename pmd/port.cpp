#include "pmd/port.hpp"

#include <fmt/format.h>

namespace spinring::pmd {

std::string to_string(const MacAddress& mac) {
  return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", mac[0], mac[1], mac[2], mac[3], mac[4],
                     mac[5]);
}

std::optional<MacAddress> parse_mac(std::string_view text) {
  constexpr std::size_t kLength = 17;  // six pairs of digits and five colons
  if (text.size() != kLength) return {};
  const auto digit = [](char c) -> int {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  };
  MacAddress mac{};
  for (std::size_t byte = 0; byte < mac.size(); ++byte) {
    const int high = digit(text[3 * byte]);
    const int low = digit(text[3 * byte + 1]);
    if (high < 0 || low < 0 || (byte + 1 < mac.size() && text[3 * byte + 2] != ':')) return {};
    mac[byte] = static_cast<std::uint8_t>(high * 16 + low);
  }
  return mac;
}

}  // namespace spinring::pmd
