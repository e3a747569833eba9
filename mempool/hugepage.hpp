#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"

namespace spinring::mempool {

/// The kernel's pool of hugepages of one size, on the whole machine or on one node.
struct HugepageCounts {
  std::uint64_t total = 0;
  std::uint64_t available = 0;  ///< free and promised to nobody
};

/// Sizes of hugepages that this kernel and machine have, in bytes (libhugetlbfs). None without hugetlbfs in
/// the kernel or without /sys.
[[nodiscard]] std::vector<std::size_t> hugepage_sizes();

/// Counts from sysfs; `node` -1 for the whole machine. All zero where sysfs does not have them.
[[nodiscard]] HugepageCounts hugepage_counts(std::size_t page_size, int node);

/// Where to get a descriptor of hugepages from.
enum class HugepageSource {
  kMount,  ///< an unlinked file in a mounted hugetlbfs, found by libhugetlbfs
  kMemfd,  ///< memfd_create(MFD_HUGETLB): needs no mount (containers, initramfs)
};

/// An empty file of hugepages that nothing else can see: gone with its last descriptor, so that a killed
/// process leaves no hugepage behind. An empty Fd without an error: that source is not to be had here.
[[nodiscard]] Result<Fd> open_hugepages(HugepageSource source, std::size_t page_size);

/// The refusal for `needed` pages: what is there, and the command that makes enough of them.
[[nodiscard]] tl::unexpected<Error> too_few_hugepages(std::size_t page_size, std::uint64_t needed, int node,
                                                      int system_errno);
/// The refusal for a page size that is not in hugepage_sizes().
[[nodiscard]] tl::unexpected<Error> no_such_page_size(std::size_t page_size);

}  // namespace spinring::mempool
