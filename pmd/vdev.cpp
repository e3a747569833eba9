#include "pmd/vdev.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "pmd/errors.hpp"

namespace spinring::pmd {

tl::unexpected<Error> bad_vdev(std::string subject, std::string cure) {
  return fail(Errc::kBadArgument, "read --vdev", std::move(subject), 0, std::move(cure));
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

std::optional<unsigned> parse_number(std::string_view text, unsigned most) noexcept {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value > most) return {};
  return value;
}

bool is_numbered(std::string_view name, std::string_view prefix) noexcept {
  constexpr unsigned kMost = 999;
  return name.starts_with(prefix) && parse_number(name.substr(prefix.size()), kMost).has_value();
}

Result<VdevText> parse_vdev(std::string_view text) {
  const std::vector<std::string_view> parts = split(text, ',');
  VdevText vdev{std::string(parts.front()), {}};
  for (std::size_t i = 1; i < parts.size(); ++i) {
    const std::size_t equals = parts[i].find('=');
    if (equals == std::string_view::npos || equals == 0 || equals + 1 == parts[i].size()) {
      return bad_vdev(fmt::format("{}: '{}'", vdev.name, parts[i]), "Write key=value");
    }
    std::string key(parts[i].substr(0, equals));
    const bool known = std::any_of(vdev.options.begin(), vdev.options.end(),
                                   [&](const auto& option) { return option.first == key; });
    if (known) return bad_vdev(fmt::format("{}: {}", vdev.name, key), "It is given twice");
    vdev.options.emplace_back(std::move(key), parts[i].substr(equals + 1));
  }
  return vdev;
}

}  // namespace spinring::pmd
