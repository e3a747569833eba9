#pragma once

#include <vector>

#include "base/dma.hpp"
#include "pmd/virtio/vhost_user/messages.hpp"

namespace spinring::pmd::virtio::vhost_user {

/// The memory that a back end may reach: every region of the process's Memory, shared by descriptor. The
/// device's addresses are the virtual ones. Control thread only.
class SharedMemoryTable final : public DmaMapper {
 public:
  [[nodiscard]] const std::vector<MemoryRegion>& regions() const noexcept { return regions_; }

 private:
  Result<Iova> map(const MemoryRegion& region) override;
  void unmap(const MemoryRegion& region) noexcept override;

  std::vector<MemoryRegion> regions_;
};

}  // namespace spinring::pmd::virtio::vhost_user
