#pragma once

#include <cstdlib>
#include <string_view>

namespace spinring::test {

/// True when SPINRING_QUICK=1 asks for the short form of long runs.
[[nodiscard]] inline bool quick_mode() {
  const char* const quick = std::getenv("SPINRING_QUICK");
  return quick != nullptr && std::string_view(quick) == "1";
}

}  // namespace spinring::test
