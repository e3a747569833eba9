#include "bench/rte_pool.hpp"

#include <fmt/format.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>

#include <string>
#include <vector>

namespace spinring::bench {

bool start_eal(bool hugepages, int cpu) {
  std::vector<std::string> words = {
      "mempool_bench",  "--no-pci",         "-m", "64", "-l", fmt::format("{}", cpu),
      "--no-telemetry", "--log-level=error"};
  // --in-memory and --no-huge exclude each other; both leave no files behind.
  words.emplace_back(hugepages ? "--in-memory" : "--no-huge");
  if (!hugepages) words.emplace_back("--no-shconf");
  // rte_eal_init() keeps these pointers.
  static std::vector<std::string> kept;
  kept = std::move(words);
  static std::vector<char*> arguments;
  for (std::string& word : kept) arguments.push_back(word.data());
  return rte_eal_init(static_cast<int>(arguments.size()), arguments.data()) >= 0;
}

RtePool make_rte_pool(std::uint32_t objects, std::uint32_t object_size, std::uint32_t cache_size) {
  RtePool pool(rte_mempool_create_empty("bench", objects, object_size, cache_size, 0, SOCKET_ID_ANY, 0));
  if (pool == nullptr || rte_mempool_set_ops_byname(pool.get(), "ring_mp_mc", nullptr) != 0 ||
      rte_mempool_populate_default(pool.get()) < 0) {
    return nullptr;
  }
  return pool;
}

RteThread::RteThread() {
  if (!is_lcore()) registered_ = rte_thread_register() == 0;
}

RteThread::~RteThread() {
  if (registered_) rte_thread_unregister();
}

bool RteThread::is_lcore() const noexcept { return rte_lcore_id() != LCORE_ID_ANY; }

}  // namespace spinring::bench
