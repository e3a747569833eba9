#pragma once

#include <sched.h>

#include <array>
#include <cstddef>

#include "lcore/cpu_set.hpp"

namespace spinring::lcore {

/// The kernel's form of a CPU set, large enough for every kernel: a plain cpu_set_t ends at 1024 CPUs, and
/// the kernel refuses a set smaller than its own. Internal to lcore/.
class KernelCpuSet {
 public:
  void add(int cpu) noexcept { CPU_SET_S(static_cast<std::size_t>(cpu), bytes(), sets_.data()); }
  [[nodiscard]] bool contains(int cpu) const noexcept {
    return CPU_ISSET_S(static_cast<std::size_t>(cpu), bytes(), sets_.data()) != 0;
  }
  [[nodiscard]] cpu_set_t* get() noexcept { return sets_.data(); }
  [[nodiscard]] static constexpr std::size_t bytes() noexcept { return kSets * sizeof(cpu_set_t); }

 private:
  static constexpr std::size_t kSets = kMaxCpus / 8 / sizeof(cpu_set_t);
  std::array<cpu_set_t, kSets> sets_{};
};

}  // namespace spinring::lcore
