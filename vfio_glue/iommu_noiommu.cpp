#include "vfio_glue/iommu_noiommu.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>

#include "vfio_glue/errors.hpp"

namespace spinring::vfio_glue {
namespace {

constexpr const char* kPagemap = "/proc/self/pagemap";
constexpr std::uint64_t kSmallPage = 4096;  // pagemap counts in the kernel's base pages
constexpr std::uint64_t kPresent = 1ULL << 63;
constexpr std::uint64_t kFrameMask = (1ULL << 55) - 1;

}  // namespace

Result<std::unique_ptr<NoIommuMapper>> NoIommuMapper::create(Sys& sys) {
  SysResult<Fd> fd = sys.open(kPagemap, O_RDONLY);
  if (!fd) return fail(Errc::kKernel, "open", kPagemap, fd.error());
  return std::unique_ptr<NoIommuMapper>(new NoIommuMapper(sys, std::move(*fd)));
}

Result<std::uint64_t> NoIommuMapper::physical(const std::byte* address) const {
  const auto virtual_address = reinterpret_cast<std::uint64_t>(address);
  std::uint64_t entry = 0;
  const SysResult<std::size_t> got =
      sys_->pread(pagemap_.get(), &entry, sizeof(entry), virtual_address / kSmallPage * sizeof(entry));
  if (!got) return fail(Errc::kKernel, "pread", kPagemap, got.error());
  // Documentation/admin-guide/mm/pagemap.rst: without CAP_SYS_ADMIN the frame number reads as 0.
  const std::uint64_t frame = entry & kFrameMask;
  if (*got != sizeof(entry) || (entry & kPresent) == 0 || frame == 0) {
    return fail(Errc::kPermission, "reading a physical address", kPagemap, 0,
                "No-IOMMU mode needs physical addresses, which only root (CAP_SYS_ADMIN) may read");
  }
  return frame * kSmallPage + virtual_address % kSmallPage;
}

Result<Iova> NoIommuMapper::map(const MemoryRegion& region) {
  const std::string subject = fmt::format("memory region {}", region.id);
  if (region.page_size <= kSmallPage) {
    return fail(Errc::kAlignment, "mapping without an IOMMU", subject, 0,
                "No-IOMMU mode needs hugepages: the kernel may move normal pages");
  }
  Result<std::uint64_t> start = physical(region.va);
  if (!start) return fail(std::move(start));
  for (std::size_t at = region.page_size; at < region.length; at += region.page_size) {
    Result<std::uint64_t> page = physical(region.va + at);
    if (!page) return fail(std::move(page));
    if (*page != *start + at) {
      return fail(Errc::kNotContiguous, "mapping without an IOMMU", subject, 0,
                  fmt::format("Its pages of {} KiB are scattered in physical memory: take the memory in one "
                              "larger page (1 GiB), or in regions of one page each",
                              region.page_size / 1024));
    }
  }
  return Iova{*start};
}

}  // namespace spinring::vfio_glue
