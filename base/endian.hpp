#pragma once

#include <bit>
#include <concepts>

namespace spinring {

/// An integer that lies little-endian in memory shared with a device. Reads and writes convert; on x86 they
/// are plain moves. Not atomic: fields that both sides touch go through load_acquire()/store_release() of
/// base/shared.hpp.
template <std::unsigned_integral T>
class LittleEndian {
 public:
  constexpr LittleEndian() = default;
  constexpr LittleEndian(T value) noexcept : raw_(convert(value)) {}  // NOLINT(google-explicit-constructor)
  constexpr operator T() const noexcept { return convert(raw_); }     // NOLINT(google-explicit-constructor)

  /// Host value <-> wire value: the same function both ways.
  static constexpr T convert(T value) noexcept {
    if constexpr (std::endian::native == std::endian::little || sizeof(T) == 1) {
      return value;
    } else if constexpr (sizeof(T) == 2) {
      return __builtin_bswap16(value);
    } else if constexpr (sizeof(T) == 4) {
      return __builtin_bswap32(value);
    } else {
      return __builtin_bswap64(value);
    }
  }

  /// Where the wire value lies, for atomic access.
  [[nodiscard]] constexpr T& wire() noexcept { return raw_; }
  [[nodiscard]] constexpr const T& wire() const noexcept { return raw_; }

 private:
  T raw_ = 0;
};

using Le16 = LittleEndian<unsigned short>;
using Le32 = LittleEndian<unsigned int>;
using Le64 = LittleEndian<unsigned long>;
static_assert(sizeof(Le16) == 2 && sizeof(Le32) == 4 && sizeof(Le64) == 8);

}  // namespace spinring
