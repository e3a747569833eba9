#include "mempool/arena.hpp"

#include <algorithm>
#include <cassert>
#include <iterator>

#include "base/align.hpp"

namespace spinring::mempool {

Arena::Arena(std::uintptr_t start, std::size_t bytes) {
  assert(start % kGranule == 0 && bytes % kGranule == 0 && bytes != 0);
  blocks_.emplace(start, Block{bytes, false});
}

std::optional<std::uintptr_t> Arena::allocate(std::size_t bytes, std::size_t alignment) {
  if (bytes == 0 || bytes > largest_free()) return std::nullopt;
  bytes = align_up(bytes, kGranule);
  alignment = std::max(alignment, kGranule);
  for (auto it = blocks_.begin(); it != blocks_.end(); ++it) {
    const std::uintptr_t gap_start = it->first;
    const std::size_t gap_bytes = it->second.bytes;
    const std::uintptr_t start = align_up(gap_start, std::uintptr_t{alignment});
    const std::size_t before = start - gap_start;
    if (it->second.used || start < gap_start || before > gap_bytes || gap_bytes - before < bytes) continue;
    const std::size_t after = gap_bytes - before - bytes;
    if (after != 0) blocks_.emplace(start + bytes, Block{after, false});
    if (before == 0) {
      it->second = {bytes, true};
    } else {
      it->second.bytes = before;
      blocks_.emplace(start, Block{bytes, true});
    }
    return start;
  }
  return std::nullopt;
}

bool Arena::release(std::uintptr_t address) noexcept {
  auto it = blocks_.find(address);
  if (it == blocks_.end() || !it->second.used) return false;
  it->second.used = false;
  if (const auto next = std::next(it); next != blocks_.end() && !next->second.used) {
    it->second.bytes += next->second.bytes;
    blocks_.erase(next);
  }
  if (it != blocks_.begin()) {
    if (const auto previous = std::prev(it); !previous->second.used) {
      previous->second.bytes += it->second.bytes;
      blocks_.erase(it);
    }
  }
  return true;
}

std::size_t Arena::free_bytes() const noexcept {
  std::size_t sum = 0;
  for (const auto& [address, block] : blocks_) sum += block.used ? 0 : block.bytes;
  return sum;
}

std::size_t Arena::largest_free() const noexcept {
  std::size_t largest = 0;
  for (const auto& [address, block] : blocks_)
    largest = block.used ? largest : std::max(largest, block.bytes);
  return largest;
}

std::size_t Arena::used_blocks() const noexcept {
  return static_cast<std::size_t>(
      std::count_if(blocks_.begin(), blocks_.end(), [](const auto& entry) { return entry.second.used; }));
}

}  // namespace spinring::mempool
