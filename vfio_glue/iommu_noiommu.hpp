#pragma once

#include <memory>

#include "base/dma.hpp"
#include "base/fd.hpp"
#include "base/result.hpp"
#include "vfio_glue/sys.hpp"

namespace spinring::vfio_glue {

/// "Maps" memory for devices behind no IOMMU: they see physical addresses, which /proc/self/pagemap tells to
/// those who may know. A region must be one physical range, since its translation is one addition; and in
/// hugepages, since the kernel moves normal pages even when they are locked. Control thread only.
class NoIommuMapper final : public DmaMapper {
 public:
  [[nodiscard]] static Result<std::unique_ptr<NoIommuMapper>> create(Sys& sys);

 private:
  NoIommuMapper(Sys& sys, Fd pagemap) : sys_(&sys), pagemap_(std::move(pagemap)) {}
  Result<Iova> map(const MemoryRegion& region) override;
  void unmap(const MemoryRegion&) noexcept override {}  // nothing stands in between
  Result<std::uint64_t> physical(const std::byte* address) const;

  Sys* sys_;
  Fd pagemap_;
};

}  // namespace spinring::vfio_glue
