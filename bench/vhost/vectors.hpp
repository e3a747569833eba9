#pragma once

#include "base/word_run.hpp"

namespace spinring::bench::vhost {

/// Whether batches are worked on by AVX-512, where they are plain enough. SPINRING_VECTOR_BITS=128 in the
/// environment says no.
[[nodiscard]] inline bool wide_by_default() noexcept {
#if defined(SPINRING_WIDE_TARGET)
  return has_wide_vectors();
#else
  return false;
#endif
}

}  // namespace spinring::bench::vhost
