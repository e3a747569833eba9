#include "lcore/cpu_set.hpp"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <cerrno>

#include "lcore/errors.hpp"
#include "lcore/kernel_cpu_set.hpp"

namespace spinring::lcore {

CpuSet::CpuSet(std::vector<int> cpus) : cpus_(std::move(cpus)) {
  std::sort(cpus_.begin(), cpus_.end());
  cpus_.erase(std::unique(cpus_.begin(), cpus_.end()), cpus_.end());
}

bool CpuSet::contains(int cpu) const noexcept { return std::binary_search(cpus_.begin(), cpus_.end(), cpu); }

std::string CpuSet::to_string() const {
  std::string text;
  for (std::size_t first = 0; first < cpus_.size();) {
    std::size_t last = first;
    while (last + 1 < cpus_.size() && cpus_[last + 1] == cpus_[last] + 1) ++last;
    if (!text.empty()) text += ',';
    text += std::to_string(cpus_[first]);
    if (last > first) text += '-' + std::to_string(cpus_[last]);
    first = last + 1;
  }
  return text;
}

Result<CpuSet> allowed_cpus() {
  KernelCpuSet set;
  if (::sched_getaffinity(0, KernelCpuSet::bytes(), set.get()) != 0) {
    return fail(Errc::kThread, "sched_getaffinity", "this thread", errno);
  }
  std::vector<int> cpus;
  for (int cpu = 0; cpu < kMaxCpus; ++cpu) {
    if (set.contains(cpu)) cpus.push_back(cpu);
  }
  return CpuSet(std::move(cpus));
}

Result<void> check_cpu(int cpu, const CpuSet& allowed) {
  if (allowed.contains(cpu)) return {};
  return fail(Errc::kCpuNotAvailable, "choosing a CPU", "CPU " + std::to_string(cpu), 0,
              "This process may use CPUs " + allowed.to_string() +
                  ": name those with -l, or allow more with taskset(1) or the cgroup's cpuset.");
}

Result<void> pin_this_thread(int cpu, const CpuSet& allowed) {
  if (Result<void> ok = check_cpu(cpu, allowed); !ok) return ok;
  KernelCpuSet set;
  set.add(cpu);
  const int error = ::pthread_setaffinity_np(::pthread_self(), KernelCpuSet::bytes(), set.get());
  if (error != 0) {
    return fail(Errc::kThread, "pthread_setaffinity_np", "CPU " + std::to_string(cpu), error,
                "This process may use CPUs " + allowed.to_string() + ".");
  }
  return {};
}

}  // namespace spinring::lcore
