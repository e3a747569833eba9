#include "mempool/hugepage.hpp"

#include <fmt/format.h>
#include <linux/memfd.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <string_view>

#include "mempool/errors.hpp"
#include "mempool/hugetlbfs_library.hpp"

namespace spinring::mempool {
namespace {

constexpr std::size_t kOneGiB = 1UL << 30;

std::string directory(std::size_t page_size, int node) {
  const std::string root = node < 0 ? "/sys/kernel/mm" : fmt::format("/sys/devices/system/node/node{}", node);
  return fmt::format("{}/hugepages/hugepages-{}kB", root, page_size >> 10);
}

std::uint64_t read_count(const std::string& path) {
  std::ifstream file(path);
  std::uint64_t value = 0;
  file >> value;
  return file ? value : 0;
}

std::string size_text(std::size_t bytes) {
  return bytes >= kOneGiB ? fmt::format("{} GiB", bytes >> 30) : fmt::format("{} MiB", bytes >> 20);
}

}  // namespace

std::vector<std::size_t> hugepage_sizes() {
  std::vector<std::size_t> sizes = hugetlbfs::page_sizes();
  if (sizes.empty()) {
    // Without libhugetlbfs: the kernel's own list, directories named "hugepages-2048kB".
    constexpr std::string_view kPrefix = "hugepages-";
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator("/sys/kernel/mm/hugepages", ignored)) {
      const std::string name = entry.path().filename();
      if (name.starts_with(kPrefix)) sizes.push_back(std::stoul(name.substr(kPrefix.size())) << 10);
    }
  }
  std::sort(sizes.begin(), sizes.end());
  return sizes;
}

HugepageCounts hugepage_counts(std::size_t page_size, int node) {
  const std::string base = directory(page_size, node);
  const std::uint64_t free = read_count(base + "/free_hugepages");
  // Nodes do not have this file: promises are made for the whole machine.
  const std::uint64_t reserved = read_count(base + "/resv_hugepages");
  return {.total = read_count(base + "/nr_hugepages"), .available = free - std::min(free, reserved)};
}

Result<Fd> open_hugepages(HugepageSource source, std::size_t page_size) {
  if (source == HugepageSource::kMount) return hugetlbfs::unlinked_file(page_size);
  const auto size_bits = static_cast<unsigned>(std::countr_zero(page_size)) << MFD_HUGE_SHIFT;
  Fd fd(::memfd_create("spinring-hugepages", MFD_CLOEXEC | MFD_HUGETLB | size_bits));
  if (!fd) {
    return fail(Errc::kKernel, "memfd_create(MFD_HUGETLB)", size_text(page_size) + " hugepages", errno,
                fmt::format("Mount them instead: mount -t hugetlbfs -o pagesize={}M none /dev/hugepages",
                            page_size >> 20));
  }
  return fd;
}

tl::unexpected<Error> too_few_hugepages(std::size_t page_size, std::uint64_t needed, int node,
                                        int system_errno) {
  const HugepageCounts counts = hugepage_counts(page_size, node);
  const std::uint64_t missing = needed - std::min(needed, counts.available);
  const std::string where = node < 0 ? "" : fmt::format(" on NUMA node {}", node);
  // Enough are free and yet refused: a limit on this process, which more pages would not lift.
  std::string cure =
      missing == 0 ? fmt::format(
                         "{} needed, {} free: look for a limit on them: cat /sys/fs/cgroup/$(cut -d: -f3 "
                         "/proc/self/cgroup)/hugetlb.*.max",
                         needed, counts.available)
                   : fmt::format("{} needed, {} free. As root: echo {} > {}/nr_hugepages", needed,
                                 counts.available, counts.total + missing, directory(page_size, node));
  if (missing != 0 && page_size >= kOneGiB) {
    cure +=
        fmt::format(" (if that finds none, boot with hugepagesz=1G hugepages={})", counts.total + missing);
  }
  return fail(Errc::kNoHugepages, "taking hugepages", fmt::format("{} pages{}", size_text(page_size), where),
              system_errno, std::move(cure));
}

tl::unexpected<Error> no_such_page_size(std::size_t page_size) {
  std::string sizes;
  for (const std::size_t size : hugepage_sizes()) sizes += (sizes.empty() ? "" : ", ") + size_text(size);
  std::string cure;
  if (sizes.empty()) {
    cure =
        "This kernel shows no hugepages: is /sys mounted (mount -t sysfs sysfs /sys)? Or ask for --no-huge";
  } else if (page_size == kOneGiB) {
    cure = fmt::format("Sizes here: {}. 1 GiB pages need a CPU with pdpe1gb (grep pdpe1gb /proc/cpuinfo)",
                       sizes);
  } else {
    cure = fmt::format("Sizes here: {}", sizes);
  }
  return fail(Errc::kPageSize, "taking hugepages", fmt::format("pages of {} KiB", page_size >> 10), 0,
              std::move(cure));
}

}  // namespace spinring::mempool
