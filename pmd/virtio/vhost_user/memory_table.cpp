#include "pmd/virtio/vhost_user/memory_table.hpp"

#include <algorithm>

#include "pmd/errors.hpp"

namespace spinring::pmd::virtio::vhost_user {

Result<Iova> SharedMemoryTable::map(const MemoryRegion& region) {
  if (regions_.size() == kMaxRegionsInTable) {
    return fail(Errc::kUnsupported, "sharing one more memory region", "vhost-user", 0,
                "The protocol shares 8 at most: take fewer and larger ones");
  }
  regions_.push_back(region);
  return Iova{reinterpret_cast<std::uint64_t>(region.va)};
}

void SharedMemoryTable::unmap(const MemoryRegion& region) noexcept {
  std::erase_if(regions_, [&](const MemoryRegion& known) { return known.id == region.id; });
}

}  // namespace spinring::pmd::virtio::vhost_user
