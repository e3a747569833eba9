#include "vfio_glue/iommu_type1.hpp"

#include <fmt/format.h>
#include <linux/vfio.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <utility>

#include "base/log.hpp"
#include "vfio_glue/container.hpp"
#include "vfio_glue/cures.hpp"
#include "vfio_glue/errors.hpp"
#include "vfio_glue/info_chain.hpp"

namespace spinring::vfio_glue {
namespace {

/// VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE; the defaults if the kernel does not report ranges.
std::vector<IovaRange> read_ranges(std::span<const std::byte> answer, std::uint32_t first) {
  const std::span<const IovaRange> defaults = default_iova_ranges();
  const std::span<const std::byte> capability =
      find_capability(answer, first, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE);
  constexpr std::size_t kHeader = sizeof(vfio_iommu_type1_info_cap_iova_range);
  if (capability.size() < kHeader) return {defaults.begin(), defaults.end()};
  const auto header = fixed_part<vfio_iommu_type1_info_cap_iova_range>(capability);
  const std::size_t room = (capability.size() - kHeader) / sizeof(vfio_iova_range);
  std::vector<IovaRange> ranges;
  for (std::size_t i = 0; i < std::min<std::size_t>(header.nr_iovas, room); ++i) {
    const auto range = fixed_part<vfio_iova_range>(capability.subspan(kHeader + i * sizeof(vfio_iova_range)));
    if (range.start <= range.end) ranges.push_back({range.start, range.end});
  }
  return ranges;
}

std::optional<std::uint32_t> read_mappings_left(std::span<const std::byte> answer, std::uint32_t first) {
  const std::span<const std::byte> capability =
      find_capability(answer, first, VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL);
  if (capability.size() < sizeof(vfio_iommu_type1_info_dma_avail)) return std::nullopt;
  return fixed_part<vfio_iommu_type1_info_dma_avail>(capability).avail;
}

std::string describe(const MemoryRegion& region) {
  return fmt::format("memory region {} ({} KiB)", region.id, region.length / 1024);
}

}  // namespace

Result<std::unique_ptr<Type1Mapper>> Type1Mapper::create(Sys& sys, int container_fd) {
  std::unique_ptr<Type1Mapper> mapper(new Type1Mapper(sys, container_fd));
  if (Result<void> read = mapper->refresh(); !read) return fail(std::move(read));
  return mapper;
}

Type1Mapper::~Type1Mapper() {
  for (const Entry& entry : entries_) unmap(entry);
}

Result<void> Type1Mapper::refresh() {
  Result<std::vector<std::byte>> answer =
      query_info(*sys_, container_fd_, VFIO_IOMMU_GET_INFO, zeroed<vfio_iommu_type1_info>(),
                 "VFIO_IOMMU_GET_INFO", Container::kPath);
  if (!answer) return fail(std::move(answer));
  const auto info = fixed_part<vfio_iommu_type1_info>(*answer);
  const std::uint32_t first = (info.flags & VFIO_IOMMU_INFO_CAPS) != 0 ? info.cap_offset : 0;
  page_sizes_ = (info.flags & VFIO_IOMMU_INFO_PGSIZES) != 0 ? info.iova_pgsizes : 4096;
  mappings_left_ = read_mappings_left(*answer, first);
  allocator_.set_ranges(read_ranges(*answer, first));
  return {};
}

Result<Iova> Type1Mapper::map(const MemoryRegion& region) {
  // Address, size and IOVA must be multiples of the smallest page that the IOMMU maps.
  const std::uint64_t smallest = page_sizes_ & (~page_sizes_ + 1);
  if (smallest == 0 || region.page_size < smallest) {
    return fail(Errc::kAlignment, "VFIO_IOMMU_MAP_DMA", describe(region), 0,
                fmt::format("Its pages have {} bytes and the IOMMU's smallest page has {}: use hugepages",
                            region.page_size, smallest));
  }
  const auto iova = allocator_.allocate(region.length, region.page_size);
  if (!iova) return tl::unexpected<Error>(aperture_error(region));

  // The whole region in one mapping: the kernel then uses the largest IOMMU pages that the memory allows.
  auto request = zeroed<vfio_iommu_type1_dma_map>();
  request.argsz = sizeof(request);
  request.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
  request.vaddr = reinterpret_cast<std::uint64_t>(region.va);
  request.iova = *iova;
  request.size = region.length;
  const SysResult<int> done = ioctl_with(*sys_, container_fd_, VFIO_IOMMU_MAP_DMA, &request);
  if (!done) {
    allocator_.free(*iova);
    return tl::unexpected<Error>(map_error(region, done.error()));
  }
  entries_.push_back({region.id, *iova, region.length});
  return Iova{*iova};
}

void Type1Mapper::unmap(const MemoryRegion& region) noexcept {
  const auto entry = std::find_if(entries_.begin(), entries_.end(), [&region](const Entry& candidate) {
    return candidate.region == region.id;
  });
  if (entry == entries_.end()) return;
  unmap(*entry);
  allocator_.free(entry->iova);
  entries_.erase(entry);
}

void Type1Mapper::unmap(const Entry& entry) noexcept {
  auto request = zeroed<vfio_iommu_type1_dma_unmap>();
  request.argsz = sizeof(request);
  request.iova = entry.iova;
  request.size = entry.length;
  const SysResult<int> done = ioctl_with(*sys_, container_fd_, VFIO_IOMMU_UNMAP_DMA, &request);
  // `size` comes back as what was unmapped. What stays goes when the container is closed.
  if (!done || request.size != entry.length) {
    log(LogLevel::kWarning, fmt::format("VFIO_IOMMU_UNMAP_DMA of {:#x} ({} bytes) failed, errno {}",
                                        entry.iova, entry.length, done ? 0 : done.error()));
  }
}

Error Type1Mapper::aperture_error(const MemoryRegion& region) const {
  std::string list;
  for (const IovaRange& range : allocator_.ranges()) {
    list += fmt::format("{}{:#x}-{:#x}", list.empty() ? "" : ", ", range.first, range.last);
  }
  return {make_error_code(Errc::kAperture), "choosing an IO virtual address", describe(region), 0,
          fmt::format(
              "The IOMMU translates {}, and {} KiB aligned to {} KiB do not fit there any more: take "
              "less memory or smaller pages, or widen the aperture (QEMU: -device intel-iommu,aw-bits=48)",
              list.empty() ? "nothing" : list, region.length / 1024, region.page_size / 1024)};
}

Error Type1Mapper::map_error(const MemoryRegion& region, int system_errno) const {
  const std::string operation = "VFIO_IOMMU_MAP_DMA";
  if (system_errno == ENOMEM) {
    const SysResult<std::uint64_t> allowed = sys_->memlock_limit();
    std::uint64_t needed = region.length;
    for (const Entry& entry : entries_) needed += entry.length;
    if (allowed && *allowed != Sys::kUnlimited) {
      return memlock_error(operation, describe(region), needed, *allowed, system_errno);
    }
  }
  if (system_errno == ENOSPC) {
    return {make_error_code(Errc::kMappingsExhausted), operation, describe(region), system_errno,
            fmt::format("The container took {} mappings of this program{}: use fewer, larger regions "
                        "(hugepages), or modprobe vfio_iommu_type1 dma_entry_limit=131072",
                        entries_.size(),
                        mappings_left_ ? fmt::format(" and had {} left at the start", *mappings_left_) : "")};
  }
  return {make_error_code(Errc::kKernel), operation, describe(region), system_errno, ""};
}

}  // namespace spinring::vfio_glue
