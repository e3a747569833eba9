#pragma once

#include <cstddef>
#include <vector>

#include "base/fd.hpp"

namespace spinring::mempool::hugetlbfs {

/// libhugetlbfs, loaded when hugepages are first asked for. It is not linked in, because loading it does
/// things that a library of ours must not do to every program: it replaces shmget(), obeys HUGETLB_*
/// variables, and prints where the kernel has no hugepages. Where it is missing, or would print, the answers
/// are empty and callers go on without it. Control thread only.

/// Sizes of hugepages in bytes.
[[nodiscard]] std::vector<std::size_t> page_sizes();

/// An unlinked file in a mounted hugetlbfs of that page size; empty without a mount that may be written.
[[nodiscard]] Fd unlinked_file(std::size_t page_size);

}  // namespace spinring::mempool::hugetlbfs
