#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "base/word_pair.hpp"

namespace spinring::mempool {

/// Checks nothing: for pointers that come out of the pool.
struct Unchecked {
  void see(const WordPair&) noexcept {}
  [[nodiscard]] static bool all_inside() noexcept { return true; }
  [[nodiscard]] static bool inside(std::uintptr_t) noexcept { return true; }
};

/// Finds out whether all addresses seen lie in first..last (inclusive), without a branch and without touching
/// what they point to. Addresses of user space have their top bit clear, so one outside makes one of the two
/// differences negative; the signs are collected.
class RangeCheck {
 public:
  RangeCheck(std::uintptr_t first, std::uintptr_t last) noexcept : first_{first, first}, last_{last, last} {}
  void see(const WordPair& pair) noexcept { signs_ |= (pair - first_) | (last_ - pair); }
  [[nodiscard]] bool all_inside() const noexcept { return !any_sign(signs_); }
  /// A single address, without the vector registers.
  [[nodiscard]] bool inside(std::uintptr_t address) const noexcept {
    return address >= first_[0] && address <= last_[0];
  }

 private:
  WordPair first_;
  WordPair last_;
  WordPair signs_{};
};

// Inlined where the array's length is known and the count is not (a single packet's address), the paths for
// larger counts look to g++ 12 as if they ran past the array. They cannot be reached then.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Warray-bounds"
#pragma GCC diagnostic ignored "-Wrestrict"
#pragma GCC diagnostic ignored "-Wstringop-overflow"
#pragma GCC diagnostic ignored "-Wstringop-overread"
#endif

/// Copies `kCount` pointers (a compile-time, even count), showing them to `check`.
template <std::size_t kCount, class T, class Check>
inline void copy_fixed(T** to, T* const* from, Check& check) noexcept {
  static_assert(sizeof(T*) == sizeof(std::uint64_t) && kCount % 2 == 0);
#pragma GCC unroll 16
  for (std::size_t i = 0; i < kCount; i += 2) {
    const WordPair pair = load_pair(from + i);
    check.see(pair);
    store_pair(to + i, pair);
  }
}

/// From here on libc's memcpy(), which uses the widest registers that the CPU has, makes up for its call.
inline constexpr std::size_t kLibcIsFaster = 64;

/// Copies `count` pointers between arrays that do not overlap; returns whether `check` found them all inside.
/// Bursts of 32, by far the most frequent size, and single packets have paths of their own without a loop; a
/// libc memcpy() would cost more than the copy for small counts.
template <class T, class Check>
inline bool copy_pointers(T** to, T* const* from, std::size_t count, Check check) noexcept {
  if (count == 32) [[likely]] {
    copy_fixed<32>(to, from, check);
    return check.all_inside();
  }
  if (count == 1) {
    to[0] = from[0];
    return check.inside(reinterpret_cast<std::uintptr_t>(from[0]));
  }
  if constexpr (std::is_same_v<Check, Unchecked>) {
    if (count >= kLibcIsFaster) {
      std::memcpy(to, from, count * sizeof(T*));
      return true;
    }
  }
  std::size_t i = 0;
  for (; i + 8 <= count; i += 8) copy_fixed<8>(to + i, from + i, check);
  if ((count & 4) != 0) {
    copy_fixed<4>(to + i, from + i, check);
    i += 4;
  }
  if ((count & 2) != 0) {
    copy_fixed<2>(to + i, from + i, check);
    i += 2;
  }
  if ((count & 1) != 0) {
    const auto address = reinterpret_cast<std::uintptr_t>(from[i]);
    check.see(WordPair{address, address});
    to[i] = from[i];
  }
  return check.all_inside();
}

template <class T>
inline void copy_pointers(T** to, T* const* from, std::size_t count) noexcept {
  copy_pointers(to, from, count, Unchecked{});
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

}  // namespace spinring::mempool
