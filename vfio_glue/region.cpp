#include "vfio_glue/region.hpp"

#include <fmt/format.h>
#include <linux/vfio.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "base/endian.hpp"
#include "vfio_glue/errors.hpp"
#include "vfio_glue/info_chain.hpp"

namespace spinring::vfio_glue {
namespace {

/// The areas of VFIO_REGION_INFO_CAP_SPARSE_MMAP that lie inside the region and begin on a page.
std::vector<MmapArea> sparse_areas(std::span<const std::byte> capability, std::uint64_t region_size) {
  constexpr std::size_t kHeader = sizeof(vfio_region_info_cap_sparse_mmap);
  const auto header = fixed_part<vfio_region_info_cap_sparse_mmap>(capability);
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t room =
      capability.size() < kHeader ? 0 : (capability.size() - kHeader) / sizeof(vfio_region_sparse_mmap_area);
  std::vector<MmapArea> areas;
  for (std::size_t i = 0; i < std::min<std::size_t>(header.nr_areas, room); ++i) {
    const auto area = fixed_part<vfio_region_sparse_mmap_area>(
        capability.subspan(kHeader + i * sizeof(vfio_region_sparse_mmap_area)));
    const bool inside = area.offset <= region_size && area.size <= region_size - area.offset;
    if (inside && area.size != 0 && area.offset % page == 0) areas.push_back({area.offset, area.size});
  }
  return areas;
}

}  // namespace

Result<RegionInfo> query_region(Sys& sys, int device_fd, const std::string& name, std::uint32_t index) {
  auto question = zeroed<vfio_region_info>();
  question.index = index;
  Result<std::vector<std::byte>> answer =
      query_info(sys, device_fd, VFIO_DEVICE_GET_REGION_INFO, question, "VFIO_DEVICE_GET_REGION_INFO",
                 fmt::format("{} region {}", name, index));
  if (!answer) return fail(std::move(answer));
  const auto info = fixed_part<vfio_region_info>(*answer);
  const std::uint32_t first = (info.flags & VFIO_REGION_INFO_FLAG_CAPS) != 0 ? info.cap_offset : 0;

  RegionInfo region;
  region.index = index;
  region.size = info.size;
  region.fd_offset = info.offset;
  region.readable = (info.flags & VFIO_REGION_INFO_FLAG_READ) != 0;
  region.writable = (info.flags & VFIO_REGION_INFO_FLAG_WRITE) != 0;
  region.msix_mappable = !find_capability(*answer, first, VFIO_REGION_INFO_CAP_MSIX_MAPPABLE).empty();
  if ((info.flags & VFIO_REGION_INFO_FLAG_MMAP) != 0 && info.size != 0) {
    const auto sparse = find_capability(*answer, first, VFIO_REGION_INFO_CAP_SPARSE_MMAP);
    region.areas = sparse.empty() ? std::vector<MmapArea>{{0, info.size}} : sparse_areas(sparse, info.size);
  }
  return region;
}

Result<std::unique_ptr<Region>> Region::map(Sys& sys, int device_fd, const std::string& name,
                                            RegionInfo info) {
  std::unique_ptr<Region> region(new Region(sys, device_fd, std::move(info)));
  int protection = 0;
  if (region->info_.readable) protection |= PROT_READ;
  if (region->info_.writable) protection |= PROT_WRITE;
  for (const MmapArea& area : region->info_.areas) {
    SysResult<Mapping> mapping =
        sys.mmap(area.size, protection, device_fd, region->info_.fd_offset + area.offset);
    if (!mapping) {
      return fail(Errc::kKernel, fmt::format("mmap of {:#x}+{:#x}", area.offset, area.size),
                  fmt::format("{} region {}", name, region->info_.index), mapping.error());
    }
    region->windows_.push_back({area.offset, std::move(*mapping)});
  }
  return region;
}

bool Region::contains(std::uint64_t offset, std::size_t width) const noexcept {
  return width <= info_.size && offset <= info_.size - width;
}

volatile void* Region::mapped(std::uint64_t offset, std::size_t width) const noexcept {
  if (offset % width != 0) return nullptr;
  for (const Window& window : windows_) {
    if (offset < window.offset) continue;
    const std::uint64_t inside = offset - window.offset;
    if (width <= window.mapping.size() && inside <= window.mapping.size() - width) {
      return window.mapping.data() + inside;
    }
  }
  return nullptr;
}

template <class T>
T Region::read(std::uint64_t offset) noexcept {
  constexpr T kNothing = static_cast<T>(~T{0});
  if (!info_.readable || !contains(offset, sizeof(T))) return kNothing;
  T value = 0;
  if (const volatile void* address = mapped(offset, sizeof(T))) {
    value = *static_cast<const volatile T*>(address);
  } else {
    const SysResult<std::size_t> got = sys_->pread(fd_, &value, sizeof(value), info_.fd_offset + offset);
    if (!got || *got != sizeof(value)) return kNothing;
  }
  return LittleEndian<T>::convert(value);
}

template <class T>
void Region::write(std::uint64_t offset, T value) noexcept {
  if (!info_.writable || !contains(offset, sizeof(T))) return;
  const T wire = LittleEndian<T>::convert(value);
  if (volatile void* address = mapped(offset, sizeof(T))) {
    *static_cast<volatile T*>(address) = wire;
  } else {
    // A register write has no one to report to; the device's answer shows that it was lost.
    static_cast<void>(sys_->pwrite(fd_, &wire, sizeof(wire), info_.fd_offset + offset));
  }
}

std::uint8_t Region::read8(std::uint64_t offset) { return read<std::uint8_t>(offset); }
std::uint16_t Region::read16(std::uint64_t offset) { return read<std::uint16_t>(offset); }
std::uint32_t Region::read32(std::uint64_t offset) { return read<std::uint32_t>(offset); }
std::uint64_t Region::read64(std::uint64_t offset) { return read<std::uint64_t>(offset); }
void Region::write8(std::uint64_t offset, std::uint8_t value) { write(offset, value); }
void Region::write16(std::uint64_t offset, std::uint16_t value) { write(offset, value); }
void Region::write32(std::uint64_t offset, std::uint32_t value) { write(offset, value); }
void Region::write64(std::uint64_t offset, std::uint64_t value) { write(offset, value); }

}  // namespace spinring::vfio_glue
