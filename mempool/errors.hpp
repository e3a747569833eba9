#pragma once

#include <system_error>

namespace spinring::mempool {

enum class Errc {
  kNoHugepages = 1,  ///< the kernel has too few free hugepages of the size wanted
  kPageSize,         ///< this kernel or machine has no pages of that size
  kBadArgument,      ///< a size or count that cannot be
  kOutOfMemory,      ///< the arena has no room left for the block
  kTooManyRegions,   ///< more than kMaxRegions
  kKernel,           ///< a system call failed: errno says why
  kLockLimit,        ///< RLIMIT_MEMLOCK is below what normal pages need
};

std::error_code make_error_code(Errc code) noexcept;

}  // namespace spinring::mempool

template <>
struct std::is_error_code_enum<spinring::mempool::Errc> : std::true_type {};
