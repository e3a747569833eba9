#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace spinring::bench::vhost {

/// A line of /proc/PID/maps.
struct ProcessMapping {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  std::string access;        ///< as "rw-s"
  std::uint64_t offset = 0;  ///< in the file
  std::string file;          ///< its path, or what the kernel calls it, or nothing
};

Result<std::vector<ProcessMapping>> read_maps(pid_t process);

}  // namespace spinring::bench::vhost
