#include "mempool/scattered.hpp"

#include <algorithm>
#include <numeric>
#include <random>

namespace spinring::mempool {

std::vector<std::uint32_t> scattered(std::uint32_t count) {
  constexpr std::uint32_t kStretch = 64;  // packets still lie near those that are used with them
  std::vector<std::uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0U);
  std::minstd_rand random;  // NOLINT(cert-msc32-c,cert-msc51-cpp): to repeat itself is what is wanted
  for (auto from = order.begin(); from != order.end();) {
    const auto to = from + std::min<std::ptrdiff_t>(kStretch, order.end() - from);
    std::shuffle(from, to, random);
    from = to;
  }
  return order;
}

}  // namespace spinring::mempool
