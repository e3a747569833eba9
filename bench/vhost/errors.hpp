#pragma once

#include <system_error>

namespace spinring::bench::vhost {

enum class Errc {
  kSystem = 1,    ///< a system call failed
  kProtocol,      ///< the front end broke the vhost-user protocol
  kMemory,        ///< a memory region that cannot be mapped, or an address outside all of them
  kBadArgument,   ///< an option that cannot be
  kDisconnected,  ///< the front end has gone
  kTimeout,       ///< nobody came before the deadline
};

std::error_code make_error_code(Errc code) noexcept;

}  // namespace spinring::bench::vhost

template <>
struct std::is_error_code_enum<spinring::bench::vhost::Errc> : std::true_type {};
