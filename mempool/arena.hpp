#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>

namespace spinring::mempool {

/// Hands out parts of one address range: first fit, free neighbours merge at once. Knows addresses only and
/// touches no memory. For the few blocks of the control plane (rings, pools): allocate() walks all blocks.
class Arena {
 public:
  /// Every block starts at, and is a multiple of, this: no two share a cache line.
  static constexpr std::size_t kGranule = 64;

  Arena(std::uintptr_t start, std::size_t bytes);

  /// A block's address, a multiple of `alignment` (a power of two); nothing if no gap is wide enough.
  [[nodiscard]] std::optional<std::uintptr_t> allocate(std::size_t bytes, std::size_t alignment);
  /// Gives back what allocate() returned. Allocates nothing, so it cannot fail.
  /// False, and nothing happens, for an address that is not the start of a block in use.
  bool release(std::uintptr_t address) noexcept;

  [[nodiscard]] std::size_t free_bytes() const noexcept;
  /// The widest gap.
  [[nodiscard]] std::size_t largest_free() const noexcept;
  [[nodiscard]] std::size_t used_blocks() const noexcept;

 private:
  struct Block {
    std::size_t bytes;
    bool used;
  };
  /// Gaps and blocks in use, by address; together they cover the range, and no two gaps are neighbours.
  std::map<std::uintptr_t, Block> blocks_;
};

}  // namespace spinring::mempool
