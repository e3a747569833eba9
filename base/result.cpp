#include "base/result.hpp"

#include <fmt/format.h>

namespace spinring {

std::string Error::message() const {
  std::string text = fmt::format("{}: {}: {}", subject, operation, code.message());
  if (system_errno != 0) {
    text += fmt::format(" ({})", std::generic_category().message(system_errno));
  }
  if (!cure.empty()) text += ". " + cure;
  return text;
}

}  // namespace spinring
