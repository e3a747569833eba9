#include "base/log.hpp"

namespace spinring {
namespace {
LogSink current_sink = [](LogLevel, std::string_view) {};
}

void set_log_sink(LogSink sink) noexcept {
  if (sink != nullptr) current_sink = sink;
}
void log(LogLevel level, std::string_view text) { current_sink(level, text); }

}  // namespace spinring
