#pragma once

#include <cstdint>
#include <string_view>

#include "mempool/packet.hpp"

namespace spinring::mempool {

/// True in builds with meson's -Dpool_debug=true: every get and put checks who owns the packet. Library and
/// program must agree on it.
#ifdef SPINRING_POOL_DEBUG
inline constexpr bool kPoolDebug = true;
#else
inline constexpr bool kPoolDebug = false;
#endif

enum class PoolViolation {
  kDoubleFree,    ///< put() of a packet that is in the pool already; that put is ignored
  kUseAfterFree,  ///< somebody wrote to a packet while it was in the pool; found by the get() that takes it
  kLeak,          ///< not put back when its pool is destroyed
  kForeign,       ///< put() into a pool that does not own it, or of something that is no packet; ignored
};

/// Told of each violation: which pool, the packet's index in it, and the whole as a sentence ("pool 'x'
/// packet 17: put twice"). Called on the thread that found it.
using PoolViolationHandler = void (*)(PoolViolation violation, const Pool& pool, std::uint32_t packet,
                                      std::string_view text);

/// Replaces the handler; nullptr brings the default back, which aborts the program (debug builds only: others
/// check nothing). The violation has been logged as a warning before the handler is called. Set it before the
/// first pool is in use.
void set_pool_violation_handler(PoolViolationHandler handler) noexcept;

namespace debug {

/// Marks of Packet::debug_state. 0: not tracked (the pool was made by code without the checks).
inline constexpr std::uint32_t kFree = 0x45455246;   // "FREE"
inline constexpr std::uint32_t kTaken = 0x4e4b4154;  // "TAKN"

/// Marks a fresh packet as the pool's, poisoned.
void mark_new(Packet& packet) noexcept;
/// The packet leaves its pool: its poison must be whole. The metadata stays poisoned, since get() in bulk
/// promises nothing about it.
void mark_taken(const Pool& pool, Packet& packet) noexcept;
/// The packet comes back: true if it may. Poisons it.
[[nodiscard]] bool mark_free(const Pool& pool, Packet& packet) noexcept;
/// Reports every packet of the pool that is not in it.
void report_leaks(const Pool& pool) noexcept;
/// Reports a packet that `pool` does not own.
void report_foreign(const Pool& pool, const Packet* packet) noexcept;

}  // namespace debug
}  // namespace spinring::mempool
