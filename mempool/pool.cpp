#include "mempool/pool.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <new>
#include <vector>

#include "base/align.hpp"
#include "base/log.hpp"
#include "mempool/errors.hpp"
#include "mempool/scattered.hpp"

namespace spinring::mempool {
namespace {

/// Bytes from one packet to the next. An odd number of cache lines, so that the packets' metadata lines
/// spread over all sets of the caches: a stride of 2 KiB would put them all into two of the 64 sets of an L1.
std::size_t stride_of(std::size_t buffer_length) {
  const std::size_t lines = (sizeof(Packet) + buffer_length) / kCacheLine;
  return (lines | 1) * kCacheLine;
}

/// The hugepages whose ends packets must not cross; 0: normal pages, which are too small to mind.
std::size_t page_of(const Memory& memory) {
  constexpr std::size_t kHuge = 2UL << 20;
  std::size_t page = 0;
  for (const MemoryRegion& region : memory.regions()) {
    if (region.page_size >= kHuge) page = page == 0 ? region.page_size : std::min(page, region.page_size);
  }
  return page;
}

}  // namespace

// ---- Pool

Result<std::unique_ptr<Pool>> Pool::create(Memory& memory, const PoolConfig& config) {
  constexpr std::size_t kLongest = std::numeric_limits<std::uint16_t>::max() / kCacheLine * kCacheLine;
  constexpr std::uint32_t kMostPackets = 1U << 30;  // the ring's indexes are 32 bits wide
  const std::size_t buffer_length = align_up<std::size_t>(config.buffer_length, kCacheLine);
  if (config.packets == 0 || config.packets > kMostPackets ||
      config.buffer_length <= Packet::kDefaultDataOffset || buffer_length > kLongest) {
    return fail(Errc::kBadArgument, "making a packet pool",
                fmt::format("pool '{}' of {} packets with buffers of {} bytes", config.name, config.packets,
                            config.buffer_length),
                0,
                fmt::format("Ask for 1 to {} packets with buffers of {} to {} bytes", kMostPackets,
                            Packet::kDefaultDataOffset + 1, kLongest));
  }
  const std::size_t stride = stride_of(buffer_length);
  const std::size_t page = page_of(memory);
  Result<DmaBlock> block = memory.allocate(PacketLayout::bytes(config.packets, stride, page), kCacheLine);
  if (!block) {
    Error error = std::move(block.error());
    error.subject = fmt::format("pool '{}' ({} packets): {}", config.name, config.packets, error.subject);
    return tl::unexpected<Error>(std::move(error));
  }
  const PacketLayout layout(reinterpret_cast<std::uintptr_t>(block->data()), stride, page);
  return std::unique_ptr<Pool>(
      new Pool(std::move(*block), config, static_cast<std::uint16_t>(buffer_length), layout));
}

Pool::Pool(DmaBlock block, const PoolConfig& config, std::uint16_t buffer_length, const PacketLayout& layout)
    : layout_(layout),
      first_(layout.address(0)),
      last_(layout.address(config.packets - 1)),
      capacity_(config.packets),
      buffer_length_(buffer_length),
      name_(config.name),
      depot_(config.packets),
      block_(std::move(block)) {
  for (const std::uint32_t i : scattered(capacity_)) {
    auto* fresh = new (packet(i)) Packet;
    fresh->pool = this;
    fresh->buffer_length = buffer_length;
    fresh->region = block_.region();
    fresh->data_offset = Packet::kDefaultDataOffset;
    if constexpr (kPoolDebug) debug::mark_new(*fresh);
    depot_.put(&fresh, 1);
  }
}

Pool::~Pool() {
  if (depot_.count() == capacity_) return;
  log(LogLevel::kWarning, fmt::format("pool '{}' goes while {} of its {} packets are not in it", name_,
                                      capacity_ - depot_.count(), capacity_));
  if constexpr (kPoolDebug) debug::report_leaks(*this);
}

void Pool::put_checked(std::span<Packet* const> packets) noexcept {
  for (Packet* packet : packets) {
    if (!owns(packet)) {
      debug::report_foreign(*this, packet);
    } else if (debug::mark_free(*this, *packet)) {
      depot_.put(&packet, 1);
    }
  }
}

// ---- PoolCache

PoolCache::PoolCache(Pool& pool) noexcept
    : limit_(std::min(kMostPackets, pool.capacity() / 4)),
      middle_(limit_ / 2),
      first_(pool.first_),
      last_(pool.last_),
      pool_(&pool) {}

std::size_t PoolCache::get_slow(Packet** out, std::size_t count) noexcept {
  const std::size_t from_cache = count_;
  copy_pointers(out, slots_.data(), from_cache);
  count_ = 0;
  out += from_cache;
  const std::size_t recycled = take_recycled(out, count - from_cache);
  out += recycled;
  const std::size_t missing = count - from_cache - recycled;
  std::size_t taken = 0;
  if (missing > middle_) {
    taken = pool_->depot_.take(out, missing);  // too many to pass through the cache
  } else {
    const std::size_t refilled = pool_->depot_.take(slots_.data(), missing + middle_);
    taken = std::min(refilled, missing);
    count_ = static_cast<std::uint32_t>(refilled - taken);
    copy_pointers(out, &slots_[count_], taken);
  }
  if (taken != missing) pool_->count_exhausted();
  return from_cache + recycled + taken;
}

/// The common case has found a packet of another pool, or no room.
void PoolCache::put_slow(Packet* const* packets, std::size_t count) noexcept {
  std::size_t at = 0;
  while (at != count) {
    // One run of packets of one pool at a time.
    std::size_t end = at + 1;
    if (is_own(packets[at])) {
      while (end != count && is_own(packets[end])) ++end;
      put_own(packets + at, end - at);
    } else {
      Pool* const owner = packets[at]->pool;
      while (end != count && !is_own(packets[end]) && packets[end]->pool == owner) ++end;
      owner->depot_.put(packets + at, end - at);
    }
    at = end;
  }
}

void PoolCache::put_own(Packet* const* packets, std::size_t count) noexcept {
  if (count > limit_ - count_) {
    if (count > middle_) {
      pool_->depot_.put(packets, count);
      return;
    }
    // The oldest go: the newest are still in the CPU's cache.
    const auto flushed = static_cast<std::uint32_t>(count_ + count - middle_);
    pool_->depot_.put(slots_.data(), flushed);
    std::copy(slots_.begin() + flushed, slots_.begin() + count_, slots_.begin());
    count_ -= flushed;
  }
  copy_pointers(&slots_[count_], packets, count);
  count_ += static_cast<std::uint32_t>(count);
}

void PoolCache::put_checked(std::span<Packet* const> packets) noexcept {
  for (Packet* packet : packets) {
    if (is_own(packet) && pool_->owns(packet)) {
      if (debug::mark_free(*pool_, *packet)) put_unchecked(&packet, 1);
    } else if (packet == nullptr || is_own(packet) || packet->pool == nullptr || packet->pool == pool_) {
      debug::report_foreign(*pool_, packet);
    } else {
      packet->pool->put(std::span<Packet* const>(&packet, 1));
    }
  }
}

void PoolCache::put_chain(Packet* head) noexcept {
  std::array<Packet*, 32> burst;
  while (head != nullptr) {
    std::size_t count = 0;
    // The link is read before the packet is given away: from then on it may be another's.
    for (; head != nullptr && count != burst.size(); head = head->next) burst[count++] = head;
    put(std::span<Packet* const>(burst.data(), count));
  }
}

void PoolCache::flush() noexcept {
  pool_->depot_.put(slots_.data(), count_);
  count_ = 0;
  std::array<Packet*, 64> batch;
  while (const std::size_t taken = take_recycled(batch.data(), batch.size())) {
    pool_->depot_.put(batch.data(), taken);
  }
}

}  // namespace spinring::mempool
