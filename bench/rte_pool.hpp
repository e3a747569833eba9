#pragma once

#include <rte_mempool.h>

#include <cstdint>
#include <memory>

#include "base/result.hpp"

namespace spinring::bench {

/// Starts DPDK's environment in this process, alone (no files, no PCI). Once a process; the calling thread
/// becomes its main lcore, on `cpu`.
[[nodiscard]] bool start_eal(bool hugepages, int cpu);

struct RtePoolDelete {
  void operator()(rte_mempool* pool) const noexcept { rte_mempool_free(pool); }
};
using RtePool = std::unique_ptr<rte_mempool, RtePoolDelete>;

/// A pool of the kind that rte_pktmbuf pools are: ring_mp_mc, a cache of `cache_size` an lcore.
[[nodiscard]] RtePool make_rte_pool(std::uint32_t objects, std::uint32_t object_size,
                                    std::uint32_t cache_size);

/// Makes this thread an lcore, so that it has a cache; nothing on a thread that is one.
class RteThread {
 public:
  RteThread();
  RteThread(const RteThread&) = delete;
  RteThread& operator=(const RteThread&) = delete;
  ~RteThread();
  [[nodiscard]] bool is_lcore() const noexcept;

 private:
  bool registered_ = false;
};

}  // namespace spinring::bench
