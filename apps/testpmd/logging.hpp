#pragma once

#include "apps/testpmd/options.hpp"

namespace spinring::testpmd {

/// All log lines, the library's too, go to standard error from here on. Main thread, once.
void init_logging(LogVerbosity verbosity);

}  // namespace spinring::testpmd
