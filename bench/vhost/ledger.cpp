#include "bench/vhost/ledger.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/fd.hpp"
#include "bench/vhost/errors.hpp"

namespace spinring::bench::vhost {

Result<Ledger> Ledger::open(const std::string& path, unsigned streams) {
  const std::size_t bytes = sizeof(StreamRecord) * streams;
  const Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!fd) return fail(Errc::kSystem, "open", path, errno);
  struct stat found {};
  if (::fstat(fd.get(), &found) != 0) return fail(Errc::kSystem, "fstat", path, errno);
  // A new record is all zeros, as a new file is.
  if (found.st_size == 0 && ::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0)
    return fail(Errc::kSystem, "ftruncate", path, errno);
  if (found.st_size != 0 && found.st_size != static_cast<off_t>(bytes))
    return fail(Errc::kBadArgument, "ledger", path, 0,
                "It is of another number of --queues: name a new file.");
  void* address = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (address == MAP_FAILED) return fail(Errc::kSystem, "mmap", path, errno);
  return Ledger(Mapping(address, bytes), streams);
}

}  // namespace spinring::bench::vhost
