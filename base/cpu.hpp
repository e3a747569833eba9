#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__x86_64__)
// g++ 12 takes what its own AVX-512 functions leave undefined on purpose for a mistake.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
#endif

namespace spinring {

/// Bytes of a cache line on the CPUs that spinring knows. Layouts are asserted against it.
inline constexpr std::size_t kCacheLine = 64;

/// Tells the CPU that this is a spin loop.
inline void cpu_pause() noexcept {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// The same word, in a register: the compiler does not put it together with its neighbours from narrower
/// parts (g++ 12 does so over the stack, by stores of two bytes and a load of four, which waits for all of
/// them).
[[nodiscard]] inline std::uint64_t whole_word(std::uint64_t word) noexcept {
  asm("" : "+r"(word));
  return word;
}
inline void prefetch_read(const void* address) noexcept { __builtin_prefetch(address, 0, 3); }
inline void prefetch_write(const void* address) noexcept {
#if defined(__x86_64__)
  // The builtin would be a PREFETCHT0, unless told of the CPU: a shared copy, which the first store would
  // have to ask for again. No-op on CPUs that lack it.
  asm volatile("prefetchw %0" : : "m"(*static_cast<const char*>(address)));
#else
  __builtin_prefetch(address, 1, 3);
#endif
}

/// Asks the CPU to move a line that it wrote to the cache that all share, where another that wants it finds
/// it sooner than in this one's own. That takes this one some nanoseconds. No-op on CPUs that lack it
/// (CLDEMOTE: Intel since Sapphire Rapids).
inline void demote(const void* address) noexcept {
#if defined(__x86_64__)
  asm volatile("cldemote %0" : : "m"(*static_cast<const char*>(address)) : "memory");
#else
  (void)address;
#endif
}

/// The CPU's time-stamp counter: constant rate, read in about 20 cycles. Use tsc_hz() (base/time.hpp) for its
/// rate.
inline std::uint64_t read_tsc() noexcept {
#if defined(__x86_64__)
  return __rdtsc();
#elif defined(__aarch64__)
  std::uint64_t value;
  asm volatile("mrs %0, cntvct_el0" : "=r"(value));
  return value;
#endif
}

}  // namespace spinring
