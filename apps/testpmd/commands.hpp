#pragma once

#include <string>
#include <string_view>

#include "apps/testpmd/session.hpp"

namespace spinring::testpmd {

/// What came of one line at the prompt.
struct CommandResult {
  std::string text;   ///< to print; ends with a newline unless empty
  bool quit = false;  ///< the program is to end
};

/// Carries out one line: start, stop, show, set, clear, help, quit. Unknown words are answered with what may
/// stand there. Main thread.
[[nodiscard]] CommandResult execute(Session& session, std::string_view line);

}  // namespace spinring::testpmd
