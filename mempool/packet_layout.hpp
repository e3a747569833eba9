#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

namespace spinring::mempool {

/// Where the packets of a pool lie: one behind the other, but none across the end of a hugepage. An IOMMU
/// translates page by page, and QUIRK(QEMU e1000e, igb): behind a virtual one they throw away, without a
/// word, a frame that they would have to fetch from two pages.
class PacketLayout {
 public:
  /// From the address `first` on, `stride` bytes each. `page`: a power of two, or 0 where ends of pages do
  /// not matter.
  PacketLayout(std::uintptr_t first, std::size_t stride, std::size_t page) noexcept
      : first_(first), stride_(stride) {
    if (page < stride) return;
    page_ = page;
    boundary_ = (first + page) & ~(page - 1);
    lead_ = (boundary_ - first) / stride;
    per_page_ = page / stride;
  }

  /// Bytes that are enough for so many packets, wherever the first one lies.
  [[nodiscard]] static constexpr std::size_t bytes(std::size_t packets, std::size_t stride,
                                                   std::size_t page) noexcept {
    if (page < stride) return packets * stride;
    // Of each page that is full, less than a packet is left over.
    return (packets + packets / (page / stride) + 1) * stride;
  }

  [[nodiscard]] std::uintptr_t address(std::size_t index) const noexcept {
    if (index < lead_) return first_ + index * stride_;
    const std::size_t behind = index - lead_;
    return boundary_ + behind / per_page_ * page_ + behind % per_page_ * stride_;
  }
  /// The inverse, for the address of a packet.
  [[nodiscard]] std::size_t index(std::uintptr_t address) const noexcept {
    if (address < boundary_) return (address - first_) / stride_;
    const std::size_t behind = address - boundary_;
    return lead_ + behind / page_ * per_page_ + behind % page_ / stride_;
  }

 private:
  std::uintptr_t first_;
  std::size_t stride_;
  std::size_t page_ = 0;
  std::uintptr_t boundary_ = std::numeric_limits<std::uintptr_t>::max();  ///< the first end of a page
  std::size_t lead_ = std::numeric_limits<std::size_t>::max();            ///< packets before it
  std::size_t per_page_ = 1;
};

}  // namespace spinring::mempool
