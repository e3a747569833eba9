#pragma once

#include <cstdint>
#include <memory>

namespace spinring::pmd::virtio {

/// By a buffer's address: the id that the buffer there had last. Buffers whose addresses fall together change
/// the hint for each other; nothing is believed of one but that it is an id.
class IdHints {
 public:
  /// For a ring of `size` entries, a power of two; 0: none are kept.
  explicit IdHints(std::uint16_t size)
      : hints_(std::make_unique<std::uint16_t[]>(kPerEntry * size)), mask_(kPerEntry * size - 1) {}

  [[nodiscard]] std::uint16_t& of(std::uint64_t address) noexcept {
    return hints_[(address >> kShift) & mask_];
  }
  /// For a ring that is not used any more: room for each of its ids.
  [[nodiscard]] std::uint16_t* list() noexcept { return hints_.get(); }

 private:
  static constexpr std::uint32_t kPerEntry = 4;
  /// Buffers are at least this far apart, as a rule; it decides only how well they are told apart.
  static constexpr unsigned kShift = 11;

  std::unique_ptr<std::uint16_t[]> hints_;
  std::uint32_t mask_;
};

}  // namespace spinring::pmd::virtio
