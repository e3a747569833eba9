#include "tests/sim/sim_iommu.hpp"

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "base/align.hpp"

namespace spinring::sim {

namespace {
// A gap after each window, so that running over the end of one region faults instead of hitting the next.
constexpr std::uint64_t kGap = 1ULL << 30;
}  // namespace

Result<Iova> SimIommu::map(const MemoryRegion& region) {
  if (maps_until_failure_ >= 0 && maps_until_failure_-- == 0) {
    return fail(std::errc::no_space_on_device, "mapping a region", "simulated IOMMU", ENOSPC,
                "The test asked for this failure.");
  }
  const std::uint64_t start = next_iova_;
  const std::uint64_t end = start + region.length;
  if (end > (1ULL << kApertureBits)) {
    return fail(std::errc::no_space_on_device, "mapping a region", "simulated IOMMU", ENOSPC,
                "The 39-bit aperture is used up.");
  }
  windows_.push_back({start, region.length, region.va});
  next_iova_ = align_up(end + kGap, kGap);
  return Iova{start};
}

void SimIommu::unmap(const MemoryRegion& region) noexcept {
  std::erase_if(windows_, [&](const Window& window) { return window.va == region.va; });
}

std::byte* SimIommu::peek(std::uint64_t iova, std::uint64_t length) const noexcept {
  for (const Window& window : windows_) {
    if (iova < window.iova) continue;
    const std::uint64_t at = iova - window.iova;
    if (at < window.length && length <= window.length - at) return window.va + at;
  }
  return nullptr;
}

std::byte* SimIommu::translate(std::uint64_t iova, std::uint64_t length, bool write) noexcept {
  std::byte* const address = bus_master_ ? peek(iova, length) : nullptr;
  if (address == nullptr) faults_.push_back({iova, length, write});
  return address;
}

}  // namespace spinring::sim
