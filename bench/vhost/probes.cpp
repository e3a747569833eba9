#include "bench/vhost/probes.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

namespace spinring::bench::vhost {

std::size_t Histogram::bucket_of(std::uint64_t value) noexcept {
  value = std::min(value, (std::uint64_t{1} << kMostBits) - 1);
  const auto width = static_cast<unsigned>(std::bit_width(value));
  if (width <= kFine) return value;
  const unsigned shift = width - kFine;
  return (std::size_t{shift} << (kFine - 1)) + (value >> shift);
}

std::uint64_t Histogram::top_of(std::size_t bucket) noexcept {
  if (bucket < (std::size_t{1} << kFine)) return bucket;
  const std::size_t shift = (bucket >> (kFine - 1)) - 1;
  const std::uint64_t lead = bucket - (shift << (kFine - 1));
  return ((lead + 1) << shift) - 1;
}

std::uint64_t Histogram::total() const noexcept {
  return std::accumulate(counts_.begin(), counts_.end(), std::uint64_t{0});
}

std::uint64_t Histogram::quantile(double share) const noexcept {
  const auto wanted = static_cast<std::uint64_t>(std::ceil(share * static_cast<double>(total())));
  std::uint64_t sum = 0;
  for (std::size_t bucket = 0; bucket < counts_.size(); ++bucket) {
    sum += counts_[bucket];
    if (sum > 0 && sum >= wanted) return top_of(bucket);
  }
  return 0;
}

void Probes::end_slice(bool counts) noexcept {
  if (counts) {
    for (const std::uint64_t ticks : seen_) histogram_.add(ticks);
  } else {
    counts_.discarded += seen_.size();
  }
  seen_.clear();
}

}  // namespace spinring::bench::vhost
