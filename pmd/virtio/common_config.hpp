#pragma once

#include <cstdint>

#include "base/mmio.hpp"

/// virtio 1.2, 4.1.4.3 Common configuration structure layout: each register with its offset, width and
/// access.
namespace spinring::pmd::virtio::common {

template <class T, std::uint64_t Offset, Access Mode>
struct CommonRegister {
  static constexpr std::uint64_t kOffset = Offset;
  static constexpr Access kAccess = Mode;
  T raw = 0;
};

using DeviceFeatureSelect = CommonRegister<std::uint32_t, 0x00, Access::kReadWrite>;
using DeviceFeature = CommonRegister<std::uint32_t, 0x04, Access::kReadOnly>;
using DriverFeatureSelect = CommonRegister<std::uint32_t, 0x08, Access::kReadWrite>;
using DriverFeature = CommonRegister<std::uint32_t, 0x0C, Access::kReadWrite>;
using ConfigMsixVector = CommonRegister<std::uint16_t, 0x10, Access::kReadWrite>;
using NumQueues = CommonRegister<std::uint16_t, 0x12, Access::kReadOnly>;
using ConfigGeneration = CommonRegister<std::uint8_t, 0x15, Access::kReadOnly>;
using QueueSelect = CommonRegister<std::uint16_t, 0x16, Access::kReadWrite>;
using QueueSize = CommonRegister<std::uint16_t, 0x18, Access::kReadWrite>;
using QueueMsixVector = CommonRegister<std::uint16_t, 0x1A, Access::kReadWrite>;
using QueueEnable = CommonRegister<std::uint16_t, 0x1C, Access::kReadWrite>;
using QueueNotifyOff = CommonRegister<std::uint16_t, 0x1E, Access::kReadOnly>;
inline constexpr std::uint64_t kQueueDesc = 0x20;  ///< 64 bits, written as two halves (4.1.3.1)
inline constexpr std::uint64_t kQueueDriver = 0x28;
inline constexpr std::uint64_t kQueueDevice = 0x30;
using QueueReset = CommonRegister<std::uint16_t, 0x3A, Access::kReadWrite>;  ///< with RING_RESET
inline constexpr std::uint64_t kSize = 0x38;  ///< bytes up to and with queue_device

/// 2.1 Device status field.
struct DeviceStatus {
  static constexpr std::uint64_t kOffset = 0x14;
  static constexpr Access kAccess = Access::kReadWrite;
  static constexpr Field<DeviceStatus, 0> kAcknowledge{};
  static constexpr Field<DeviceStatus, 1> kDriver{};
  static constexpr Field<DeviceStatus, 2> kDriverOk{};
  static constexpr Field<DeviceStatus, 3> kFeaturesOk{};
  static constexpr Field<DeviceStatus, 6> kNeedsReset{};
  static constexpr Field<DeviceStatus, 7> kFailed{};
  std::uint8_t raw = 0;
  friend constexpr DeviceStatus operator|(DeviceStatus a, DeviceStatus b) noexcept {
    return {static_cast<std::uint8_t>(a.raw | b.raw)};
  }
};

inline constexpr std::uint16_t kNoVector = 0xFFFF;  ///< VIRTIO_MSI_NO_VECTOR

}  // namespace spinring::pmd::virtio::common
