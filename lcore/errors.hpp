#pragma once

#include <system_error>

namespace spinring::lcore {

enum class Errc {
  kBadCoreList = 1,  ///< a core list that does not parse, or names an lcore twice
  kCpuNotAvailable,  ///< this machine or this process does not have that CPU
  kThread,           ///< the kernel refused the thread or its affinity: errno says why
  kTimeout,          ///< an lcore did not stop before the deadline
};

std::error_code make_error_code(Errc code) noexcept;

}  // namespace spinring::lcore

template <>
struct std::is_error_code_enum<spinring::lcore::Errc> : std::true_type {};
