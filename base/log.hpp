#pragma once

#include <string_view>

namespace spinring {

enum class LogLevel { kDebug, kInfo, kWarning };

/// Where the library's few remarks go (the path chosen, a feature the device lacks, a device given back). The
/// default sink drops them: nothing below apps/ prints. Errors are not logged: they are returned.
using LogSink = void (*)(LogLevel level, std::string_view text);

/// Set once, before the first port is opened; control thread only.
void set_log_sink(LogSink sink) noexcept;
void log(LogLevel level, std::string_view text);

}  // namespace spinring
