#include "mempool/pool_debug.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/log.hpp"
#include "mempool/pool.hpp"

namespace spinring::mempool {
namespace {

constexpr unsigned char kPoison = 0xdb;

void abort_with(PoolViolation, const Pool&, std::uint32_t, std::string_view text) {
  // The log may have no sink; an abort without a reason would be worth nothing.
  const std::string line = std::string(text) + "\n";
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
  std::abort();
}

std::atomic<PoolViolationHandler> current_handler = abort_with;

void report(PoolViolation violation, const Pool& pool, std::uint32_t packet, std::string_view what) {
  const std::string text = fmt::format("pool '{}' packet {}: {}", pool.name(), packet, what);
  log(LogLevel::kWarning, text);
  current_handler.load()(violation, pool, packet, text);
}

std::atomic_ref<std::uint32_t> state_of(Packet& packet) { return std::atomic_ref(packet.debug_state); }

/// Bytes of metadata that are poisoned: all before the mark, which other threads may be exchanging.
constexpr std::size_t kPoisonedBytes = offsetof(Packet, debug_state);

/// The metadata as it must be while the packet is free.
Packet poisoned_metadata(const Packet& packet) {
  Packet poisoned;
  std::memset(static_cast<void*>(&poisoned), kPoison, kPoisonedBytes);
  poisoned.pool = packet.pool;
  poisoned.buffer_length = packet.buffer_length;
  poisoned.region = packet.region;
  return poisoned;
}

void poison(Packet& packet) {
  const Packet metadata = poisoned_metadata(packet);
  std::memcpy(static_cast<void*>(&packet), &metadata, kPoisonedBytes);
  std::memset(packet.buffer(), kPoison, packet.buffer_length);
}

}  // namespace

void set_pool_violation_handler(PoolViolationHandler handler) noexcept {
  current_handler.store(handler != nullptr ? handler : abort_with);
}

namespace debug {

void mark_new(Packet& packet) noexcept {
  state_of(packet).store(kFree);
  poison(packet);
}

void mark_taken(const Pool& pool, Packet& packet) noexcept {
  const std::uint32_t before = state_of(packet).exchange(kTaken);
  if (before == 0) return;
  const std::uint32_t index = pool.index_of(&packet);
  if (packet.pool != &pool || packet.buffer_length != pool.buffer_length()) {
    // Mended, or the damage would spread to the program that has done nothing.
    report(PoolViolation::kUseAfterFree, pool, index, "its pool or buffer_length was overwritten");
    packet.pool = const_cast<Pool*>(&pool);
    packet.buffer_length = pool.buffer_length();
  }
  if (before == kTaken) {
    report(PoolViolation::kUseAfterFree, pool, index, "in the pool, yet marked as taken: put without checks");
    return;
  }
  const Packet expected = poisoned_metadata(packet);
  if (std::memcmp(static_cast<const void*>(&packet), &expected, kPoisonedBytes) != 0) {
    report(PoolViolation::kUseAfterFree, pool, index, "its metadata was written to after it was put");
  }
  const std::byte* end = packet.buffer() + packet.buffer_length;
  const std::byte* written = std::find_if(packet.buffer(), const_cast<std::byte*>(end),
                                          [](std::byte b) { return b != std::byte{kPoison}; });
  if (written != end) {
    report(PoolViolation::kUseAfterFree, pool, index,
           fmt::format("byte {} of its buffer was written to after it was put", written - packet.buffer()));
  }
}

bool mark_free(const Pool& pool, Packet& packet) noexcept {
  // An exchange: of two threads that put the same packet, one sees the other's mark.
  if (state_of(packet).exchange(kFree) == kFree) {
    report(PoolViolation::kDoubleFree, pool, pool.index_of(&packet), "put twice");
    return false;
  }
  poison(packet);
  return true;
}

void report_leaks(const Pool& pool) noexcept {
  for (std::uint32_t i = 0; i < pool.capacity(); ++i) {
    if (state_of(*pool.packet(i)).load() == kTaken) {
      report(PoolViolation::kLeak, pool, i, "not put back before its pool goes");
    }
  }
}

void report_foreign(const Pool& pool, const Packet* packet) noexcept {
  report(PoolViolation::kForeign, pool, UINT32_MAX,
         fmt::format("{} put into a pool that does not own it", fmt::ptr(packet)));
}

}  // namespace debug
}  // namespace spinring::mempool
