#pragma once

#include <concepts>
#include <cstdint>
#include <type_traits>

namespace spinring {

/// A block of device registers: a mapped BAR in production, messages to a device model (qtest) or a simulated
/// device in tests. Control plane only; the data path has Doorbell. Offsets are bytes from the start of the
/// block. The block checks that an access lies inside it (a device-written offset must not reach past the
/// BAR): one outside reads as all ones and writes nothing, as PCI does.
class RegisterBlock {
 public:
  virtual ~RegisterBlock() = default;
  [[nodiscard]] virtual std::uint64_t size() const noexcept = 0;
  virtual std::uint8_t read8(std::uint64_t offset) = 0;
  virtual std::uint16_t read16(std::uint64_t offset) = 0;
  virtual std::uint32_t read32(std::uint64_t offset) = 0;
  virtual std::uint64_t read64(std::uint64_t offset) = 0;
  virtual void write8(std::uint64_t offset, std::uint8_t value) = 0;
  virtual void write16(std::uint64_t offset, std::uint16_t value) = 0;
  virtual void write32(std::uint64_t offset, std::uint32_t value) = 0;
  virtual void write64(std::uint64_t offset, std::uint64_t value) = 0;
};

/// How a register may be used; read() and write() below accept only what its data sheet allows.
enum class Access { kReadOnly, kReadWrite, kWriteOnly, kReadClears, kWriteOneClears };

/// Bits Hi..Lo (inclusive, as data sheets print them) of register Reg. A field belongs to its register:
/// fields of two registers do not combine. Reg has `Raw raw`, `kOffset`, `kAccess`.
template <class Reg, unsigned Hi, unsigned Lo = Hi>
struct Field {
  static_assert(Hi >= Lo && Hi < 64);
  [[nodiscard]] static constexpr std::uint64_t mask() noexcept {
    return ((Hi - Lo == 63) ? ~0ULL : ((1ULL << (Hi - Lo + 1)) - 1ULL)) << Lo;
  }
  [[nodiscard]] constexpr Reg operator()(std::uint64_t value) const noexcept {
    return Reg{static_cast<decltype(Reg::raw)>((value << Lo) & mask())};
  }
  [[nodiscard]] constexpr auto get(Reg reg) const noexcept {
    return static_cast<decltype(Reg::raw)>((reg.raw & mask()) >> Lo);
  }
  [[nodiscard]] constexpr Reg with(Reg reg, std::uint64_t value) const noexcept {
    return Reg{static_cast<decltype(Reg::raw)>((reg.raw & ~mask()) | ((value << Lo) & mask()))};
  }
};

namespace mmio {

template <class Reg>
concept Register = requires(Reg reg) {
  { reg.raw } -> std::convertible_to<std::uint64_t>;
  { Reg::kOffset } -> std::convertible_to<std::uint64_t>;
  { Reg::kAccess } -> std::convertible_to<Access>;
};

template <Register Reg>
requires(Reg::kAccess != Access::kWriteOnly) [[nodiscard]] Reg
    read(RegisterBlock& block, std::uint64_t base = 0) {
  using Raw = decltype(Reg::raw);
  const std::uint64_t at = base + Reg::kOffset;
  if constexpr (sizeof(Raw) == 1) return Reg{block.read8(at)};
  if constexpr (sizeof(Raw) == 2) return Reg{block.read16(at)};
  if constexpr (sizeof(Raw) == 4) return Reg{block.read32(at)};
  if constexpr (sizeof(Raw) == 8) return Reg{block.read64(at)};
}

template <Register Reg>
requires(Reg::kAccess != Access::kReadOnly &&
         Reg::kAccess != Access::kReadClears) void write(RegisterBlock& block, Reg reg,
                                                         std::uint64_t base = 0) {
  using Raw = decltype(Reg::raw);
  const std::uint64_t at = base + Reg::kOffset;
  if constexpr (sizeof(Raw) == 1) block.write8(at, reg.raw);
  if constexpr (sizeof(Raw) == 2) block.write16(at, reg.raw);
  if constexpr (sizeof(Raw) == 4) block.write32(at, reg.raw);
  if constexpr (sizeof(Raw) == 8) block.write64(at, reg.raw);
}

}  // namespace mmio

/// The one register that the data path writes. A small value: a mapped register in production, a call
/// elsewhere (a message to a device model, a vhost-user kick). ring() orders nothing: the ring's publish step
/// has already done that.
class Doorbell {
 public:
  using Call = void (*)(void* context, std::uint32_t value);

  Doorbell() = default;
  [[nodiscard]] static Doorbell mapped16(volatile void* reg) noexcept {
    return {reg, nullptr, nullptr, true};
  }
  [[nodiscard]] static Doorbell mapped32(volatile void* reg) noexcept {
    return {reg, nullptr, nullptr, false};
  }
  [[nodiscard]] static Doorbell call(Call function, void* context) noexcept {
    return {nullptr, function, context, false};
  }

  /// One lcore at a time.
  void ring(std::uint32_t value) const noexcept {
    if (register_ != nullptr) [[likely]] {
      if (is_16_bit_) {
        *static_cast<volatile std::uint16_t*>(register_) = static_cast<std::uint16_t>(value);
      } else {
        *static_cast<volatile std::uint32_t*>(register_) = value;
      }
    } else if (call_ != nullptr) {
      call_(context_, value);
    }
  }

 private:
  Doorbell(volatile void* reg, Call function, void* context, bool is_16_bit) noexcept
      : register_(reg), call_(function), context_(context), is_16_bit_(is_16_bit) {}

  volatile void* register_ = nullptr;
  Call call_ = nullptr;
  void* context_ = nullptr;
  bool is_16_bit_ = false;
};

}  // namespace spinring
