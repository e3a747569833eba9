#pragma once

#include <array>
#include <cstdint>

namespace spinring::sim {

/// Where the device's structures lie; by default as QEMU's virtio-net-pci has them.
struct SimLayout {
  std::uint8_t bar = 4;
  std::uint64_t bar_bytes = 0x4000;
  std::uint32_t common = 0x0000;
  std::uint32_t isr = 0x1000;
  std::uint32_t device = 0x2000;
  std::uint32_t notify = 0x3000;
  std::uint32_t structure_bytes = 0x1000;  ///< length of each
  std::uint32_t notify_multiplier = 4;
};

/// What a PCI function says it is.
struct SimIdentity {
  std::uint16_t vendor = 0x1af4;
  std::uint16_t device = 0x1041;  ///< 0x1000: transitional, with modern capabilities
};

/// The 256 bytes of conventional configuration space of a virtio-net-pci on a conventional bus, as QEMU lays
/// them out: common 0x40, ISR 0x50, device 0x60, notify 0x70, PCI-cfg 0x84, MSI-X 0x98, linked from the last
/// to the first. Tests change any byte.
struct SimConfigSpace {
  static constexpr std::uint8_t kCommonCap = 0x40;
  static constexpr std::uint8_t kIsrCap = 0x50;
  static constexpr std::uint8_t kDeviceCap = 0x60;
  static constexpr std::uint8_t kNotifyCap = 0x70;
  static constexpr std::uint8_t kPciCfgCap = 0x84;
  static constexpr std::uint8_t kMsixCap = 0x98;

  SimConfigSpace() = default;
  SimConfigSpace(const SimIdentity& identity, const SimLayout& layout, unsigned vectors);

  [[nodiscard]] std::uint32_t read(std::uint16_t offset, unsigned width) const noexcept;
  void write(std::uint16_t offset, unsigned width, std::uint32_t value) noexcept;

  std::array<std::uint8_t, 256> bytes{};

 private:
  void put_header(const SimIdentity& identity, const SimLayout& layout);
  void put_virtio_cap(std::uint8_t at, std::uint8_t next, std::uint8_t length, std::uint8_t type,
                      std::uint8_t bar, std::uint32_t offset, std::uint32_t bytes_long);
};

}  // namespace spinring::sim
