#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace spinring::vfio_glue {

/// Addresses that the IOMMU translates, both ends included (as VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE has
/// them).
struct IovaRange {
  std::uint64_t first = 0;
  std::uint64_t last = 0;

  bool operator==(const IovaRange&) const = default;
};

/// What is assumed when the kernel reports no ranges (before 5.4): 39 bits, the narrowest aperture in use
/// (Intel, three-level tables), without x86's interrupt window.
[[nodiscard]] std::span<const IovaRange> default_iova_ranges() noexcept;

/// Hands out IO virtual addresses, lowest first. Never 0, which drivers and devices take for "none".
class IovaAllocator {
 public:
  explicit IovaAllocator(std::vector<IovaRange> ranges) : ranges_(std::move(ranges)) {}

  /// New ranges, when a group has joined or left: what is allocated stays so.
  void set_ranges(std::vector<IovaRange> ranges) { ranges_ = std::move(ranges); }
  [[nodiscard]] std::span<const IovaRange> ranges() const noexcept { return ranges_; }

  /// `length` bytes at a multiple of `alignment` (a power of two); nothing if no range has room.
  [[nodiscard]] std::optional<std::uint64_t> allocate(std::uint64_t length, std::uint64_t alignment);
  /// Gives back what allocate() returned.
  void free(std::uint64_t start) noexcept;

 private:
  std::vector<IovaRange> ranges_;
  std::vector<IovaRange> used_;  // sorted, disjoint
};

}  // namespace spinring::vfio_glue
