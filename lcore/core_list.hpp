#pragma once

#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace spinring::lcore {

/// One logical core and the CPU that it runs on.
struct LcoreSpec {
  unsigned lcore = 0;
  int cpu = 0;
  bool operator==(const LcoreSpec&) const = default;
};

/// `-l`: "0-3,5". Lcore N runs on CPU N, in the order written: the first is the main lcore. An lcore named
/// twice, a range that runs backwards and anything that is no number are errors which quote the part.
[[nodiscard]] Result<std::vector<LcoreSpec>> parse_core_list(std::string_view text);

/// `--lcores`: "0@0,1@0,2-3": like parse_core_list(), and `L@C` puts lcore L (or each of a range) on CPU C.
[[nodiscard]] Result<std::vector<LcoreSpec>> parse_lcores(std::string_view text);

}  // namespace spinring::lcore
