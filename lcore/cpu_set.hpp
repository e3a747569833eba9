#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"

namespace spinring::lcore {

/// CPU numbers beyond this are refused: no kernel is built for more.
inline constexpr int kMaxCpus = 8192;

/// A set of CPU numbers. A value; any thread.
class CpuSet {
 public:
  CpuSet() = default;
  explicit CpuSet(std::vector<int> cpus);

  [[nodiscard]] bool contains(int cpu) const noexcept;
  [[nodiscard]] const std::vector<int>& cpus() const noexcept { return cpus_; }
  /// "0-3,8", as the kernel prints such lists.
  [[nodiscard]] std::string to_string() const;

 private:
  std::vector<int> cpus_;  ///< ascending, each once
};

/// The CPUs that the calling thread may run on (sched_getaffinity(2)): those of its cgroup and of taskset(1).
/// Ask before any thread is pinned: a pinned thread sees its own CPU alone.
[[nodiscard]] Result<CpuSet> allowed_cpus();

/// Ties the calling thread to one CPU. An error names the CPU and the allowed set.
[[nodiscard]] Result<void> pin_this_thread(int cpu, const CpuSet& allowed);

/// The error that launch() and pin_this_thread() give for a CPU outside `allowed`; success otherwise.
[[nodiscard]] Result<void> check_cpu(int cpu, const CpuSet& allowed);

}  // namespace spinring::lcore
