#include "bench/vhost/process_maps.hpp"

#include <cerrno>
#include <fstream>
#include <sstream>
#include <utility>

#include "bench/vhost/errors.hpp"

namespace spinring::bench::vhost {

Result<std::vector<ProcessMapping>> read_maps(pid_t process) {
  const std::string path = "/proc/" + std::to_string(process) + "/maps";
  std::ifstream maps(path);
  if (!maps) return fail(Errc::kSystem, "open", path, errno, "Name a thread that runs with --thread.");
  std::vector<ProcessMapping> found;
  for (std::string line; std::getline(maps, line);) {
    std::istringstream words(line);
    ProcessMapping mapping;
    char dash = 0;
    std::string device;
    std::string inode;
    words >> std::hex >> mapping.start >> dash >> mapping.end >> mapping.access >> mapping.offset >> device >>
        inode >> std::ws;
    std::getline(words, mapping.file);
    found.push_back(std::move(mapping));
  }
  return found;
}

}  // namespace spinring::bench::vhost
