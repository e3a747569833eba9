#pragma once

#include <cstdint>
#include <cstring>

namespace spinring {

/// Two 64-bit words at once: what every 64-bit CPU of ours has in its base instruction set (SSE2, NEON).
using WordPair = std::uint64_t __attribute__((vector_size(16)));

[[nodiscard]] inline WordPair load_pair(const void* from) noexcept {
  WordPair pair;
  std::memcpy(&pair, from, sizeof(pair));
  return pair;
}
inline void store_pair(void* to, const WordPair& pair) noexcept { std::memcpy(to, &pair, sizeof(pair)); }

/// Whether any bit is set; whether the top bit of either word is.
[[nodiscard]] inline bool any_bit(const WordPair& pair) noexcept { return (pair[0] | pair[1]) != 0; }
[[nodiscard]] inline bool any_sign(const WordPair& pair) noexcept { return ((pair[0] | pair[1]) >> 63) != 0; }

/// 16 bytes that a device may write at the same time, read once each, in parts of at least 4 aligned bytes:
/// as load_relaxed() of base/shared.hpp, for fields of a ring that lie side by side.
[[nodiscard]] inline WordPair load_pair_relaxed(const void* from) noexcept {
#if defined(__SSE2__)
  struct [[gnu::packed, gnu::aligned(4), gnu::may_alias]] Unaligned {
    WordPair pair;
  };
  return static_cast<const volatile Unaligned*>(from)->pair;
#else
  const auto* const part = static_cast<const std::uint32_t*>(from);
  const auto word = [part](int at) {
    return std::uint64_t{__atomic_load_n(part + at, __ATOMIC_RELAXED)} |
           std::uint64_t{__atomic_load_n(part + at + 1, __ATOMIC_RELAXED)} << 32U;
  };
  return WordPair{word(0), word(2)};
#endif
}

}  // namespace spinring
