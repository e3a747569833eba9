#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/counter.hpp"
#include "base/result.hpp"
#include "mempool/copy_pointers.hpp"
#include "mempool/depot.hpp"
#include "mempool/memory.hpp"
#include "mempool/packet.hpp"
#include "mempool/packet_layout.hpp"
#include "mempool/pool_debug.hpp"

namespace spinring::mempool {

struct PoolConfig {
  std::string name = "pool";
  std::uint32_t packets = 8192;        ///< any number from 1
  std::uint16_t buffer_length = 2304;  ///< bytes of each buffer, headroom included; rounded up to cache lines
};

class PoolCache;

/// A fixed number of packets in DMA memory behind lock-free rings shared by all lcores, handed out at first
/// in a scattered order (scattered.hpp). Lcores reach it through their PoolCache. Memory outlives the pool,
/// the pool outlives its caches and every queue that holds its packets; a packet that is missing when the
/// pool goes is logged as a warning.
class Pool {
 public:
  /// One DmaBlock of `memory` for all packets. Refuses with kBadArgument or kOutOfMemory.
  [[nodiscard]] static Result<std::unique_ptr<Pool>> create(Memory& memory, const PoolConfig& config);
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool();

  /// Takes up to out.size() packets; returns how many. Their metadata is undefined but for pool, region and
  /// buffer_length. Any thread.
  [[nodiscard]] std::size_t get(std::span<Packet*> out) noexcept;
  /// Gives packets of this pool back (single segments; `next` is ignored). Any thread. For packets that may
  /// be of another pool, see PoolCache::put().
  void put(std::span<Packet* const> packets) noexcept;

  [[nodiscard]] std::uint32_t capacity() const noexcept { return capacity_; }
  /// Packets in the shared rings now; those in caches and queues are not in it. Exact when nothing runs.
  [[nodiscard]] std::uint32_t available() const noexcept { return depot_.count(); }
  /// Times that a get() returned fewer than asked for, its caches' included.
  [[nodiscard]] std::uint64_t exhausted() const noexcept {
    return exhausted_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  /// Bytes of each buffer, after rounding.
  [[nodiscard]] std::uint16_t buffer_length() const noexcept { return buffer_length_; }
  /// The packet with that index, whoever owns it now; index < capacity().
  [[nodiscard]] Packet* packet(std::uint32_t index) const noexcept {
    return reinterpret_cast<Packet*>(layout_.address(index));
  }
  /// The inverse of packet(); for a packet of this pool.
  [[nodiscard]] std::uint32_t index_of(const Packet* packet) const noexcept {
    return static_cast<std::uint32_t>(layout_.index(reinterpret_cast<std::uintptr_t>(packet)));
  }
  /// Whether the packet lies in this pool.
  [[nodiscard]] bool owns(const Packet* packet) const noexcept {
    const auto address = reinterpret_cast<std::uintptr_t>(packet);
    return address >= first_ && address <= last_ && layout_.address(layout_.index(address)) == address;
  }

 private:
  friend class PoolCache;
  Pool(DmaBlock block, const PoolConfig& config, std::uint16_t buffer_length, const PacketLayout& layout);
  void count_exhausted() noexcept { exhausted_.fetch_add(1, std::memory_order_relaxed); }
  void put_checked(std::span<Packet* const> packets) noexcept;

  // Never written after create().
  PacketLayout layout_;
  std::uintptr_t first_;  ///< address of packet 0
  std::uintptr_t last_;   ///< address of the last packet
  std::uint32_t capacity_;
  std::uint16_t buffer_length_;
  std::string name_;

  std::atomic<std::uint64_t> exhausted_ = 0;
  Depot<Packet> depot_;
  DmaBlock block_;
};

/// One lcore's stock of packets in front of the pool: get and put touch memory of this lcore alone
/// until it runs empty or over. Last in, first out, and in bursts: a burst that is put and taken again comes
/// back in the same order. Used by one thread at a time. Gives everything back to the pool when it goes.
class PoolCache {
 public:
  /// Most packets that one cache holds; less for pools of fewer than 4 times as many, so that one lcore
  /// cannot keep all packets from the others.
  static constexpr std::uint32_t kMostPackets = 768;

  explicit PoolCache(Pool& pool) noexcept;
  PoolCache(const PoolCache&) = delete;
  PoolCache& operator=(const PoolCache&) = delete;
  ~PoolCache() { flush(); }

  [[nodiscard]] Pool& pool() const noexcept { return *pool_; }
  /// Packets that it may hold before it gives some to the pool.
  [[nodiscard]] std::uint32_t limit() const noexcept { return limit_; }
  /// Packets in it now.
  [[nodiscard]] std::uint32_t count() const noexcept { return count_ + recycled(); }

  /// Takes up to out.size() packets; returns how many: fewer only when cache and pool are empty. Their
  /// metadata is undefined but for pool, region and buffer_length.
  [[nodiscard]] std::size_t get(std::span<Packet*> out) noexcept {
    std::size_t taken = out.size();
    if (taken <= count_) [[likely]] {
      count_ -= static_cast<std::uint32_t>(taken);
      copy_pointers(out.data(), &slots_[count_], taken);
    } else {
      taken = get_slow(out.data(), taken);
    }
    if constexpr (kPoolDebug) {
      for (Packet* packet : out.first(taken)) debug::mark_taken(*pool_, *packet);
    }
    return taken;
  }

  /// One packet, reset to an empty frame, or nullptr.
  [[nodiscard]] Packet* get() noexcept {
    Packet* packet = nullptr;
    if (count_ != 0) [[likely]] {
      packet = slots_[--count_];
    } else if (get_slow(&packet, 1) == 0) {
      return nullptr;
    }
    if constexpr (kPoolDebug) debug::mark_taken(*pool_, *packet);
    packet->reset(0);
    return packet;
  }

  /// Gives single segments back, of whichever pool: one of another pool goes to its own. Whose they are is
  /// seen from their addresses: the packets are not touched.
  void put(std::span<Packet* const> packets) noexcept {
    if constexpr (kPoolDebug) {
      put_checked(packets);
    } else {
      put_unchecked(packets.data(), packets.size());
    }
  }
  /// put() for packets that a TX queue is done with: they wait in a queue for reuse(), so that an RX queue of
  /// this lcore gets the same packets in the same order again and again. Beyond kMostRecycled they are put().
  void recycle(std::span<Packet* const> packets) noexcept;
  /// Takes up to out.size() recycled packets, the oldest first; returns how many. As get(), but it asks
  /// nobody else.
  [[nodiscard]] std::size_t reuse(std::span<Packet*> out) noexcept;
  /// Packets that reuse() could take now.
  [[nodiscard]] std::size_t reusable() const noexcept {
    return kPoolDebug ? std::size_t{count_} + pool_->available() : recycled();
  }
  /// Most packets that wait in recycle()'s queue.
  static constexpr std::uint32_t kMostRecycled = 512;

  /// Gives a frame back, all its segments.
  void put_chain(Packet* head) noexcept;
  /// Gives everything in the cache to the pool.
  void flush() noexcept;

 private:
  void put_unchecked(Packet* const* packets, std::size_t count) noexcept {
    if (count <= limit_ - count_) [[likely]] {
      if (copy_pointers(&slots_[count_], packets, count, RangeCheck(first_, last_))) [[likely]] {
        count_ += static_cast<std::uint32_t>(count);
        return;
      }
    }
    put_slow(packets, count);
  }
  std::size_t get_slow(Packet** out, std::size_t count) noexcept;
  void put_slow(Packet* const* packets, std::size_t count) noexcept;
  void put_own(Packet* const* packets, std::size_t count) noexcept;
  void put_checked(std::span<Packet* const> packets) noexcept;
  [[nodiscard]] bool is_own(const Packet* packet) const noexcept {
    const auto address = reinterpret_cast<std::uintptr_t>(packet);
    return address >= first_ && address <= last_;
  }
  [[nodiscard]] std::uint32_t recycled() const noexcept { return recycled_tail_ - recycled_head_; }
  std::size_t take_recycled(Packet** out, std::size_t count) noexcept;

  // All that the common case reads is on one line; its slots begin on the next.
  alignas(kCacheLine) std::uint32_t count_ = 0;
  std::uint32_t limit_;   ///< slots in use at most
  std::uint32_t middle_;  ///< left in the cache after the pool was asked or given some: half of limit_
  std::uintptr_t first_;  ///< the pool's
  std::uintptr_t last_;   ///< the pool's
  Pool* pool_;
  std::uint32_t recycled_head_ = 0;  ///< free-running: the oldest
  std::uint32_t recycled_tail_ = 0;
  alignas(kCacheLine) std::array<Packet*, kMostPackets> slots_;
  std::array<Packet*, kMostRecycled> recycled_;  ///< a ring of power-of-two size
};
static_assert((PoolCache::kMostRecycled & (PoolCache::kMostRecycled - 1)) == 0);

inline void PoolCache::recycle(std::span<Packet* const> packets) noexcept {
  if constexpr (kPoolDebug) return put(packets);  // each goes through the books
  const std::size_t room = std::min<std::size_t>(packets.size(), kMostRecycled - recycled());
  const std::uint32_t at = recycled_tail_ & (kMostRecycled - 1);
  const std::size_t before_wrap = std::min<std::size_t>(room, kMostRecycled - at);
  if (copy_pointers(&recycled_[at], packets.data(), before_wrap, RangeCheck(first_, last_)) &&
      copy_pointers(recycled_.data(), packets.data() + before_wrap, room - before_wrap,
                    RangeCheck(first_, last_))) [[likely]] {
    recycled_tail_ += static_cast<std::uint32_t>(room);
    if (room != packets.size()) [[unlikely]]
      put(packets.subspan(room));
  } else {
    put(packets);  // some are another pool's
  }
}

inline std::size_t PoolCache::take_recycled(Packet** out, std::size_t count) noexcept {
  const std::size_t taken = std::min<std::size_t>(count, recycled());
  const std::uint32_t at = recycled_head_ & (kMostRecycled - 1);
  const std::size_t before_wrap = std::min<std::size_t>(taken, kMostRecycled - at);
  copy_pointers(out, &recycled_[at], before_wrap);
  if (taken != before_wrap) copy_pointers(out + before_wrap, recycled_.data(), taken - before_wrap);
  recycled_head_ += static_cast<std::uint32_t>(taken);
  return taken;
}

inline std::size_t PoolCache::reuse(std::span<Packet*> out) noexcept {
  if constexpr (kPoolDebug) return get(out);
  return take_recycled(out.data(), out.size());
}

inline std::size_t Pool::get(std::span<Packet*> out) noexcept {
  const std::size_t taken = depot_.take(out.data(), out.size());
  if (taken != out.size()) [[unlikely]]
    count_exhausted();
  if constexpr (kPoolDebug) {
    for (Packet* packet : out.first(taken)) debug::mark_taken(*this, *packet);
  }
  return taken;
}

inline void Pool::put(std::span<Packet* const> packets) noexcept {
  if constexpr (kPoolDebug) {
    put_checked(packets);
  } else {
    depot_.put(packets.data(), packets.size());
  }
}

}  // namespace spinring::mempool
