#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/counter.hpp"
#include "base/result.hpp"
#include "mempool/memory.hpp"
#include "mempool/packet.hpp"

namespace spinring::mempool {

struct PoolConfig {
  std::string name = "pool";
  std::uint32_t packets = 8192;        ///< any number from 1
  std::uint16_t buffer_length = 2304;  ///< bytes of each buffer, headroom included; rounded up to cache lines
};

class PoolCache;

/// A fixed number of packets in DMA memory behind a lock-free ring shared by all lcores. Lcores reach it
/// through their PoolCache. Memory outlives the pool, the pool outlives its caches and every queue that holds
/// its packets.
class Pool {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Pool>> create(Memory& memory, const PoolConfig& config);
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool();

  /// Takes up to out.size() packets; returns how many. Any thread.
  [[nodiscard]] std::size_t get(std::span<Packet*> out) noexcept;
  /// Gives packets back (single segments; `next` is ignored). Any thread.
  void put(std::span<Packet* const> packets) noexcept;

  [[nodiscard]] std::uint32_t capacity() const noexcept;
  /// Packets in the shared ring now; those in caches and queues are not in it. Exact when nothing runs.
  [[nodiscard]] std::uint32_t available() const noexcept;
  /// Times that a get() returned fewer than asked for.
  [[nodiscard]] std::uint64_t exhausted() const noexcept;
  [[nodiscard]] const std::string& name() const noexcept;
};

/// One lcore's stock of packets in front of the pool's ring: get and put touch memory of this lcore alone
/// until it runs empty or over. Used by one thread at a time. Gives everything back to the pool when it goes.
class PoolCache {
 public:
  explicit PoolCache(Pool& pool);
  PoolCache(const PoolCache&) = delete;
  PoolCache& operator=(const PoolCache&) = delete;
  ~PoolCache();

  [[nodiscard]] Pool& pool() const noexcept;
  /// Takes up to out.size() packets; returns how many: fewer only when cache and ring are empty.
  [[nodiscard]] std::size_t get(std::span<Packet*> out) noexcept;
  /// One packet, reset to an empty frame, or nullptr.
  [[nodiscard]] Packet* get() noexcept;
  /// Gives single segments back, of whichever pool: one of another pool goes to its own.
  void put(std::span<Packet* const> packets) noexcept;
  /// Gives a frame back, all its segments.
  void put_chain(Packet* head) noexcept;
  /// Gives everything in the cache to the pool.
  void flush() noexcept;
};

}  // namespace spinring::mempool
