#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/dma.hpp"
#include "base/result.hpp"
#include "vfio_glue/iova_allocator.hpp"
#include "vfio_glue/sys.hpp"

namespace spinring::vfio_glue {

/// Maps memory through a container's type 1 IOMMU: one VFIO_IOMMU_MAP_DMA a region, at an address taken from
/// the ranges that the IOMMU reports. Control thread only; the container outlives it.
class Type1Mapper final : public DmaMapper {
 public:
  /// Reads VFIO_IOMMU_GET_INFO. The container's IOMMU has been set.
  [[nodiscard]] static Result<std::unique_ptr<Type1Mapper>> create(Sys& sys, int container_fd);
  /// Unmaps what is left.
  ~Type1Mapper() override;

  /// Reads the ranges again, after a group has joined.
  [[nodiscard]] Result<void> refresh();

  [[nodiscard]] std::span<const IovaRange> ranges() const noexcept { return allocator_.ranges(); }
  /// Bitmap of the page sizes that the IOMMU maps.
  [[nodiscard]] std::uint64_t page_sizes() const noexcept { return page_sizes_; }
  /// Mappings that the container still took when its information was last read; nothing on kernels
  /// before 5.10.
  [[nodiscard]] std::optional<std::uint32_t> mappings_left() const noexcept { return mappings_left_; }

 private:
  struct Entry {
    RegionId region;
    std::uint64_t iova;
    std::uint64_t length;
  };

  Type1Mapper(Sys& sys, int container_fd) : sys_(&sys), container_fd_(container_fd), allocator_({}) {}
  Result<Iova> map(const MemoryRegion& region) override;
  void unmap(const MemoryRegion& region) noexcept override;
  void unmap(const Entry& entry) noexcept;
  [[nodiscard]] Error map_error(const MemoryRegion& region, int system_errno) const;
  [[nodiscard]] Error aperture_error(const MemoryRegion& region) const;

  Sys* sys_;
  int container_fd_;
  IovaAllocator allocator_;
  std::uint64_t page_sizes_ = 0;
  std::optional<std::uint32_t> mappings_left_;
  std::vector<Entry> entries_;
};

}  // namespace spinring::vfio_glue
