#include "apps/testpmd/logging.hpp"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include "base/log.hpp"

namespace spinring::testpmd {
namespace {

spdlog::level::level_enum level_of(LogVerbosity verbosity) noexcept {
  switch (verbosity) {
    case LogVerbosity::kDebug:
      return spdlog::level::debug;
    case LogVerbosity::kInfo:
      break;
    case LogVerbosity::kWarning:
      return spdlog::level::warn;
    case LogVerbosity::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

void library_sink(LogLevel level, std::string_view text) {
  switch (level) {
    case LogLevel::kDebug:
      spdlog::debug("{}", text);
      break;
    case LogLevel::kInfo:
      spdlog::info("{}", text);
      break;
    case LogLevel::kWarning:
      spdlog::warn("{}", text);
      break;
  }
}

}  // namespace

void init_logging(LogVerbosity verbosity) {
  auto logger =
      std::make_shared<spdlog::logger>("testpmd", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
  logger->set_pattern("%H:%M:%S.%e %^%l%$ %v");
  logger->set_level(level_of(verbosity));
  spdlog::set_default_logger(std::move(logger));
  set_log_sink(library_sink);
}

}  // namespace spinring::testpmd
