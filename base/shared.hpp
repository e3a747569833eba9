#pragma once

#include <atomic>
#include <concepts>

#include "base/endian.hpp"

namespace spinring {

/// Access to a field that a device reads or writes at the same time. These four are the only way that ring
/// code touches such a field, so the compiler can neither tear, fuse nor invent the access, and the ordering
/// is in the name.
template <std::unsigned_integral T>
[[nodiscard]] inline T load_acquire(const LittleEndian<T>& field) noexcept {
  return LittleEndian<T>::convert(__atomic_load_n(&field.wire(), __ATOMIC_ACQUIRE));
}
template <std::unsigned_integral T>
[[nodiscard]] inline T load_relaxed(const LittleEndian<T>& field) noexcept {
  return LittleEndian<T>::convert(__atomic_load_n(&field.wire(), __ATOMIC_RELAXED));
}
template <std::unsigned_integral T>
inline void store_release(LittleEndian<T>& field, T value) noexcept {
  __atomic_store_n(&field.wire(), LittleEndian<T>::convert(value), __ATOMIC_RELEASE);
}
template <std::unsigned_integral T>
inline void store_relaxed(LittleEndian<T>& field, T value) noexcept {
  __atomic_store_n(&field.wire(), LittleEndian<T>::convert(value), __ATOMIC_RELAXED);
}

/// A store before it is visible to the device before any load after it is made (store-load: the only order
/// that x86 does not give by itself). Needed between publishing an index and reading the device's "do not
/// notify" flag.
inline void full_fence() noexcept { std::atomic_thread_fence(std::memory_order_seq_cst); }

/// All stores to DMA memory before it are visible to the device before a register write after it is. On x86
/// the CPU keeps that order by itself.
inline void before_doorbell() noexcept {
#if defined(__aarch64__)
  asm volatile("dmb oshst" ::: "memory");
#else
  std::atomic_thread_fence(std::memory_order_release);
#endif
}

}  // namespace spinring
