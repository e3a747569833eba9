#pragma once

#include <cstddef>

#include "base/result.hpp"

namespace spinring::mempool {

/// Asks the kernel to take every page of the range, none of which is present yet, from one NUMA node (mbind,
/// MPOL_BIND). Refuses a node that the machine lacks, naming those that it has.
[[nodiscard]] Result<void> bind_to_node(void* address, std::size_t bytes, int node);

/// The node of the page at `address`, which is present; -1 where the kernel cannot say.
[[nodiscard]] int node_of(void* address) noexcept;

}  // namespace spinring::mempool
