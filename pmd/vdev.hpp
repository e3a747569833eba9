#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"

namespace spinring::pmd {

/// The text of a --vdev, "name,key=value,...", taken apart. What names and keys mean is for the bus or the
/// transport to say.
struct VdevText {
  std::string name;
  std::vector<std::pair<std::string, std::string>> options;  ///< in the order given, no key twice
};

/// Errors: Errc::kBadArgument, for a part that is not key=value and for a key that is given twice.
[[nodiscard]] Result<VdevText> parse_vdev(std::string_view text);

/// A decimal number up to `most`; nothing for other text.
[[nodiscard]] std::optional<unsigned> parse_number(std::string_view text, unsigned most) noexcept;

/// True for a name that is one of `prefix` and a number: "qtest0".
[[nodiscard]] bool is_numbered(std::string_view name, std::string_view prefix) noexcept;

/// The parts between separators; one part where there is none.
[[nodiscard]] std::vector<std::string_view> split(std::string_view text, char separator);

/// A refusal of a part of a --vdev: Errc::kBadArgument.
[[nodiscard]] tl::unexpected<Error> bad_vdev(std::string subject, std::string cure);

}  // namespace spinring::pmd
