#include "bench/vhost/shared_stats.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "base/fd.hpp"
#include "bench/vhost/errors.hpp"

namespace spinring::bench::vhost {

Result<StatsFile> StatsFile::open(const std::string& path, bool create) {
  const Fd fd(
      ::open(path.c_str(), create ? O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC : O_RDONLY | O_CLOEXEC, 0644));
  if (!fd) {
    return fail(Errc::kSystem, "open", path, errno,
                "Start spinring-vhost-null with --stats-file on this path first.");
  }
  if (create && ::ftruncate(fd.get(), sizeof(SharedStats)) != 0)
    return fail(Errc::kSystem, "ftruncate", path, errno);
  void* address = ::mmap(nullptr, sizeof(SharedStats), create ? PROT_READ | PROT_WRITE : PROT_READ,
                         MAP_SHARED, fd.get(), 0);
  if (address == MAP_FAILED) return fail(Errc::kSystem, "mmap", path, errno);
  StatsFile file(Mapping(address, sizeof(SharedStats)));
  if (create) {
    file.stats().magic.store(SharedStats::kMagic, std::memory_order_release);
  } else if (file.stats().magic.load(std::memory_order_acquire) != SharedStats::kMagic) {
    return fail(Errc::kBadArgument, "statistics file", path, 0, "It was not made by spinring-vhost-null.");
  }
  return file;
}

}  // namespace spinring::bench::vhost
