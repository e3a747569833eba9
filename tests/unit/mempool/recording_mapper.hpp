#pragma once

#include <cerrno>
#include <cstdint>
#include <optional>
#include <set>

#include "base/dma.hpp"
#include "mempool/errors.hpp"

namespace spinring::mempool {

/// Keeps track of what it was told to map, like a device that can refuse.
class RecordingMapper final : public DmaMapper {
 public:
  /// Where a region starts for the "device".
  static constexpr std::uint64_t iova_of(RegionId id) { return 0x100000000ULL * (id + 1U); }

  std::optional<RegionId> refuse;  ///< this region is refused
  std::set<RegionId> mapped;
  unsigned maps = 0;
  unsigned unmaps = 0;
  bool unmapped_a_stranger = false;

 private:
  Result<Iova> map(const MemoryRegion& region) override {
    if (refuse == region.id) return fail(Errc::kKernel, "map", "recording mapper", ENOSPC, "Ask it nicely");
    ++maps;
    mapped.insert(region.id);
    return Iova{iova_of(region.id)};
  }
  void unmap(const MemoryRegion& region) noexcept override {
    ++unmaps;
    if (mapped.erase(region.id) == 0) unmapped_a_stranger = true;
  }
};

}  // namespace spinring::mempool
