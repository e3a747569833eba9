#pragma once

#include <cstddef>

#include "base/fd.hpp"
#include "base/mapping.hpp"
#include "base/result.hpp"
#include "mempool/memory.hpp"

namespace spinring::mempool {

/// Pages taken from the kernel for one region: all present, zeroed, never swapped out, shared by descriptor.
/// Gives them back when it goes. Member order: the mapping goes before the descriptor.
struct PageRegion {
  Fd fd;
  Mapping mapping;
  std::size_t page_size = 0;
  int numa_node = -1;  ///< where the first page lies; -1: unknown
};

/// Takes what `config` asks for, or refuses with the cure and keeps nothing. What it returns never faults:
/// every page is there before it returns. Control thread only.
[[nodiscard]] Result<PageRegion> take_pages(const MemoryConfig& config);

}  // namespace spinring::mempool
