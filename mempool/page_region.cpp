#include "mempool/page_region.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <fstream>
#include <limits>
#include <string>

#include "mempool/errors.hpp"
#include "mempool/hugepage.hpp"
#include "mempool/numa.hpp"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23  // Linux 5.14; include/uapi/asm-generic/mman-common.h
#endif

namespace spinring::mempool {
namespace {

/// Makes every page present. An errno, or 0. A page that is missing must be an error here: later, the first
/// touch would be a SIGBUS in the data path.
int prefault(const Fd& fd, const Mapping& mapping, std::size_t page_size) {
  int result = 0;
  do {
    result = ::madvise(mapping.data(), mapping.size(), MADV_POPULATE_WRITE);
  } while (result != 0 && errno == EINTR);
  if (result == 0) return 0;
  if (errno != EINVAL) return errno;
  // Before Linux 5.14: fallocate() takes the pages with an error to show, then touching them cannot fail.
  if (::fallocate(fd.get(), 0, 0, static_cast<off_t>(mapping.size())) != 0) return errno;
  for (std::size_t at = 0; at < mapping.size(); at += page_size) {
    *reinterpret_cast<volatile std::byte*>(mapping.data() + at) = std::byte{0};
  }
  return 0;
}

/// Maps `fd` at the size wanted and binds it to its node; no page is present yet.
Result<PageRegion> map_file(Fd fd, std::size_t bytes, std::size_t page_size, int node) {
  if (::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) {
    return fail(Errc::kKernel, "ftruncate", fmt::format("{} bytes of packet memory", bytes), errno);
  }
  void* address = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (address == MAP_FAILED) {
    return fail(Errc::kKernel, "mmap", fmt::format("{} bytes of packet memory", bytes), errno);
  }
  PageRegion region{std::move(fd), Mapping(address, bytes), page_size, -1};
  if (node >= 0) {
    if (Result<void> bound = bind_to_node(address, bytes, node); !bound) return fail(std::move(bound));
  }
  return region;
}

Result<PageRegion> take_hugepages_from(HugepageSource source, const MemoryConfig& config, std::size_t bytes) {
  Result<Fd> fd = open_hugepages(source, config.page_size);
  if (!fd) return fail(std::move(fd));
  if (!*fd) return PageRegion{};
  Result<PageRegion> region = map_file(std::move(*fd), bytes, config.page_size, config.numa_node);
  const std::uint64_t needed = bytes / config.page_size;
  if (!region) {
    // mmap() of hugetlbfs promises the pages: this is how it says that there are too few.
    if (region.error().system_errno == ENOMEM || region.error().system_errno == ENOSPC) {
      return too_few_hugepages(config.page_size, needed, config.numa_node, region.error().system_errno);
    }
    return region;
  }
  if (const int error = prefault(region->fd, region->mapping, config.page_size); error != 0) {
    return too_few_hugepages(config.page_size, needed, config.numa_node, error);
  }
  return region;
}

Result<PageRegion> take_hugepages(const MemoryConfig& config, std::size_t bytes) {
  const auto sizes = hugepage_sizes();
  if (std::find(sizes.begin(), sizes.end(), config.page_size) == sizes.end()) {
    return no_such_page_size(config.page_size);
  }
  Result<PageRegion> mounted = take_hugepages_from(HugepageSource::kMount, config, bytes);
  if (mounted && mounted->mapping) return mounted;
  // A mount may have a limit of its own, or none may be there: the kernel's pool is asked directly.
  Result<PageRegion> direct = take_hugepages_from(HugepageSource::kMemfd, config, bytes);
  return direct || mounted ? std::move(direct) : std::move(mounted);
}

/// Bytes that this process has locked already (proc(5), VmLck).
std::size_t locked_bytes() {
  std::ifstream status("/proc/self/status");
  std::string word;
  std::size_t kib = 0;
  while (status >> word) {
    if (word == "VmLck:") {
      status >> kib;
      break;
    }
    status.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return kib << 10;
}

tl::unexpected<Error> lock_refused(std::size_t bytes, int system_errno) {
  rlimit limit{};
  const bool known = ::getrlimit(RLIMIT_MEMLOCK, &limit) == 0;
  const std::size_t needed = locked_bytes() + bytes;
  const std::string subject = fmt::format("{} KiB of normal pages", bytes >> 10);
  if (known && limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < needed) {
    return fail(Errc::kLockLimit, "mlock", subject, system_errno,
                fmt::format("RLIMIT_MEMLOCK must be {} KiB, it is {} KiB. As root: prlimit --pid $$ "
                            "--memlock={}, then start again from the same shell",
                            (needed + 1023) >> 10, limit.rlim_cur >> 10, needed));
  }
  return fail(Errc::kKernel, "mlock", subject, system_errno,
              "Ask for less memory; `free -m` shows what the machine has");
}

Result<PageRegion> take_normal_pages(const MemoryConfig& config, std::size_t bytes, std::size_t page_size) {
  Fd fd(::memfd_create("spinring-pages", MFD_CLOEXEC));
  if (!fd) return fail(Errc::kKernel, "memfd_create", "normal pages", errno);
  Result<PageRegion> region = map_file(std::move(fd), bytes, page_size, config.numa_node);
  if (!region) return region;
  // mlock2(), and not mlock(), which the sanitizers replace by one that does nothing.
  if (::mlock2(region->mapping.data(), bytes, 0) != 0) return lock_refused(bytes, errno);
  // mlock() faults shared pages for reading only: the first write would still go through the kernel.
  if (const int error = prefault(region->fd, region->mapping, page_size); error != 0) {
    return fail(Errc::kKernel, "taking normal pages", fmt::format("{} KiB", bytes >> 10), error,
                "Ask for less memory; `free -m` shows what the machine has");
  }
  return region;
}

}  // namespace

Result<PageRegion> take_pages(const MemoryConfig& config) {
  const auto normal = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t page_size = config.hugepages ? config.page_size : normal;
  constexpr std::size_t kMostBytes = 1UL << 46;  // more than any machine has, and far from overflow
  if (config.bytes == 0 || config.bytes > kMostBytes || !std::has_single_bit(page_size)) {
    return fail(Errc::kBadArgument, "taking packet memory",
                fmt::format("{} bytes in pages of {}", config.bytes, page_size), 0,
                "Ask for at least one byte, in pages of 2 MiB or 1 GiB");
  }
  const std::size_t bytes = (config.bytes + page_size - 1) & ~(page_size - 1);
  Result<PageRegion> region =
      config.hugepages ? take_hugepages(config, bytes) : take_normal_pages(config, bytes, page_size);
  if (region) region->numa_node = node_of(region->mapping.data());
  return region;
}

}  // namespace spinring::mempool
