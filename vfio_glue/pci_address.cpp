#include "vfio_glue/pci_address.hpp"

#include <fmt/format.h>

#include <charconv>
#include <optional>

#include "vfio_glue/errors.hpp"

namespace spinring::vfio_glue {
namespace {

/// Takes one hexadecimal number of up to `max_digits` off the front of `text`.
std::optional<std::uint32_t> take_hex(std::string_view& text, std::size_t max_digits) {
  std::uint32_t value = 0;
  const char* end = text.data() + std::min(text.size(), max_digits);
  const auto [stop, error] = std::from_chars(text.data(), end, value, 16);
  if (error != std::errc{} || stop == text.data()) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(stop - text.data()));
  return value;
}

bool take(std::string_view& text, char wanted) {
  if (text.empty() || text.front() != wanted) return false;
  text.remove_prefix(1);
  return true;
}

std::optional<PciAddress> parse_address(std::string_view text) {
  const bool has_domain = text.find(':') != text.rfind(':');
  std::uint32_t domain = 0;
  if (has_domain) {
    const auto value = take_hex(text, 8);
    if (!value || !take(text, ':')) return std::nullopt;
    domain = *value;
  }
  const auto bus = take_hex(text, 2);
  if (!bus || !take(text, ':')) return std::nullopt;
  const auto device = take_hex(text, 2);
  if (!device || *device > 31 || !take(text, '.')) return std::nullopt;
  const auto function = take_hex(text, 1);
  if (!function || *function > 7 || !text.empty()) return std::nullopt;
  return PciAddress{domain, static_cast<std::uint8_t>(*bus), static_cast<std::uint8_t>(*device),
                    static_cast<std::uint8_t>(*function)};
}

}  // namespace

std::string PciAddress::to_string() const {
  return fmt::format("{:04x}:{:02x}:{:02x}.{:x}", domain, bus, device, function);
}

Result<PciAddress> PciAddress::parse(std::string_view text) {
  if (const auto address = parse_address(text)) return *address;
  return fail(Errc::kBadAddress, "reading a PCI address", std::string(text), 0,
              "Write it as 0000:01:00.0; lspci -D lists the addresses");
}

}  // namespace spinring::vfio_glue
