#include "vfio_glue/iova_allocator.hpp"

#include <algorithm>
#include <array>
#include <limits>

namespace spinring::vfio_glue {
namespace {

/// The first multiple of `alignment` from `value` on; nothing if there is none in 64 bits.
std::optional<std::uint64_t> first_aligned(std::uint64_t value, std::uint64_t alignment) {
  if (value > std::numeric_limits<std::uint64_t>::max() - (alignment - 1)) return std::nullopt;
  return (value + alignment - 1) & ~(alignment - 1);
}

}  // namespace

std::span<const IovaRange> default_iova_ranges() noexcept {
  static constexpr std::array<IovaRange, 2> kRanges{{{0, 0xfedf'ffff}, {0xfef0'0000, (1ULL << 39) - 1}}};
  return kRanges;
}

std::optional<std::uint64_t> IovaAllocator::allocate(std::uint64_t length, std::uint64_t alignment) {
  if (length == 0) return std::nullopt;
  for (const IovaRange& range : ranges_) {
    std::uint64_t from = std::max<std::uint64_t>(range.first, 1);
    while (const auto start = first_aligned(from, alignment)) {
      // Compared by differences: start + length may pass 2^64.
      if (*start > range.last || range.last - *start < length - 1) break;
      const std::uint64_t last = *start + (length - 1);
      const auto clash = std::find_if(used_.begin(), used_.end(), [&](const IovaRange& used) {
        return used.first <= last && *start <= used.last;
      });
      if (clash == used_.end()) {
        const auto place =
            std::lower_bound(used_.begin(), used_.end(), *start,
                             [](const IovaRange& used, std::uint64_t at) { return used.first < at; });
        used_.insert(place, {*start, last});
        return start;
      }
      if (clash->last == std::numeric_limits<std::uint64_t>::max()) break;
      from = clash->last + 1;
    }
  }
  return std::nullopt;
}

void IovaAllocator::free(std::uint64_t start) noexcept {
  std::erase_if(used_, [start](const IovaRange& used) { return used.first == start; });
}

}  // namespace spinring::vfio_glue
