#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/mmio.hpp"

namespace spinring {
namespace {

/// Notes each access as "w32 8 5" or "r16 2"; reads return their offset.
class RecordingBlock final : public RegisterBlock {
 public:
  [[nodiscard]] std::uint64_t size() const noexcept override { return 0x100; }
  std::uint8_t read8(std::uint64_t offset) override { return read<std::uint8_t>(offset); }
  std::uint16_t read16(std::uint64_t offset) override { return read<std::uint16_t>(offset); }
  std::uint32_t read32(std::uint64_t offset) override { return read<std::uint32_t>(offset); }
  std::uint64_t read64(std::uint64_t offset) override { return read<std::uint64_t>(offset); }
  void write8(std::uint64_t offset, std::uint8_t value) override { write(offset, value); }
  void write16(std::uint64_t offset, std::uint16_t value) override { write(offset, value); }
  void write32(std::uint64_t offset, std::uint32_t value) override { write(offset, value); }
  void write64(std::uint64_t offset, std::uint64_t value) override { write(offset, value); }

  std::vector<std::string> accesses;

 private:
  template <class T>
  T read(std::uint64_t offset) {
    accesses.push_back(fmt::format("r{} {}", sizeof(T) * 8, offset));
    return static_cast<T>(offset);
  }
  template <class T>
  void write(std::uint64_t offset, T value) {
    accesses.push_back(fmt::format("w{} {} {}", sizeof(T) * 8, offset, value));
  }
};

struct Control {
  static constexpr std::uint64_t kOffset = 0x8;
  static constexpr Access kAccess = Access::kReadWrite;
  static constexpr Field<Control, 0> kEnable{};
  static constexpr Field<Control, 7, 4> kThreshold{};
  std::uint32_t raw = 0;
};

template <class Raw, Access kMode>
struct Plain {
  static constexpr std::uint64_t kOffset = 0x2;
  static constexpr Access kAccess = kMode;
  Raw raw = 0;
};

template <class Reg>
concept Readable = requires(RegisterBlock& block) {
  mmio::read<Reg>(block);
};
template <class Reg>
concept Writable = requires(RegisterBlock& block, Reg reg) {
  mmio::write(block, reg);
};

TEST(RegisterField, ExtractsAndReplacesItsBitsOnly) {
  const Control control{0xFFFF'FF0FU};
  EXPECT_EQ(Control::kThreshold.get(control), 0U);
  EXPECT_EQ(Control::kEnable.get(control), 1U);
  EXPECT_EQ(Control::kThreshold.with(control, 5).raw, 0xFFFF'FF5FU);
  EXPECT_EQ(Control::kThreshold(0x1F).raw, 0xF0U) << "a value too wide must not reach its neighbours";
}

TEST(RegisterAccess, HasTheRegistersWidthAndOffset) {
  RecordingBlock block;
  EXPECT_EQ(mmio::read<Control>(block, 0x40).raw, 0x48U);
  mmio::write(block, Control::kThreshold.with(Control{}, 5));
  EXPECT_EQ((mmio::read<Plain<std::uint8_t, Access::kReadOnly>>(block).raw), 2U);
  EXPECT_EQ((mmio::read<Plain<std::uint16_t, Access::kReadClears>>(block).raw), 2U);
  mmio::write(block, Plain<std::uint64_t, Access::kWriteOnly>{7});
  const std::vector<std::string> expected = {"r32 72", "w32 8 80", "r8 2", "r16 2", "w64 2 7"};
  EXPECT_EQ(block.accesses, expected);
}

TEST(RegisterAccess, AllowsWhatTheDataSheetAllows) {
  EXPECT_TRUE(Readable<Control> && Writable<Control>);
  EXPECT_TRUE((Readable<Plain<std::uint32_t, Access::kReadOnly>>));
  EXPECT_FALSE((Writable<Plain<std::uint32_t, Access::kReadOnly>>));
  EXPECT_FALSE((Readable<Plain<std::uint32_t, Access::kWriteOnly>>));
  EXPECT_FALSE((Writable<Plain<std::uint32_t, Access::kReadClears>>));
  EXPECT_TRUE((Writable<Plain<std::uint32_t, Access::kWriteOneClears>>));
}

}  // namespace
}  // namespace spinring
