#include "pmd/virtio/pci_transport.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>

#include "base/log.hpp"
#include "base/time.hpp"
#include "pmd/errors.hpp"

namespace spinring::pmd::virtio {
namespace {

using namespace std::chrono_literals;

// PCI Local Bus Specification 3.0, 6.1 and 6.7.
constexpr std::uint16_t kPciStatus = 0x06;
constexpr std::uint32_t kPciStatusCapabilities = 1U << 4;
constexpr std::uint16_t kPciCapabilityPointer = 0x34;
constexpr std::uint8_t kPciCapabilityVendor = 0x09;
/// A capability takes at least 4 bytes of the 192 behind the header: a longer list is a loop.
constexpr int kMaxCapabilities = 48;

// virtio 1.2, 4.1.4 Virtio Structure PCI Capabilities: cfg_type.
constexpr std::uint8_t kCommonConfig = 1;
constexpr std::uint8_t kNotifyConfig = 2;
constexpr std::uint8_t kIsrConfig = 3;
constexpr std::uint8_t kDeviceConfig = 4;
constexpr std::uint16_t kNotifyMultiplierOffset = 16;

constexpr auto kResetTimeout = 2s;
/// What every register of a device that has been pulled out reads as.
constexpr std::uint8_t kStatusGone = 0xFF;
constexpr std::uint16_t kRegisterGone = 0xFFFF;

}  // namespace

Result<std::unique_ptr<Transport>> PciTransport::create(std::unique_ptr<PciFunction> function) {
  std::unique_ptr<PciTransport> transport(new PciTransport(std::move(function)));
  if (auto walked = transport->walk_capabilities(); !walked) return fail(std::move(walked));
  if (auto checked = transport->check_structures(); !checked) return fail(std::move(checked));
  return transport;
}

Result<void> PciTransport::walk_capabilities() {
  auto pci_status = function_->read_config(kPciStatus, 2);
  if (!pci_status) return fail(std::move(pci_status));
  if ((*pci_status & kPciStatusCapabilities) == 0) {
    return fail(Errc::kBadDevice, "PCI capability list", name(), 0,
                "The device has none: it is a legacy virtio device; in QEMU start it with disable-legacy=on");
  }
  auto position = function_->read_config(kPciCapabilityPointer, 1);
  for (int seen = 0; position && *position != 0; ++seen) {
    if (seen == kMaxCapabilities) return fail(Errc::kBadDevice, "PCI capability list: it loops", name());
    const auto at = static_cast<std::uint16_t>(*position & 0xFCU);
    auto id = function_->read_config(at, 1);
    if (!id) return fail(std::move(id));
    if (*id == kPciCapabilityVendor) {
      auto capability = read_capability(at);
      if (!capability) return fail(std::move(capability));
      if (auto taken = take_capability(*capability); !taken) return taken;
    }
    position = function_->read_config(static_cast<std::uint16_t>(at + 1), 1);
  }
  if (!position) return fail(std::move(position));
  return {};
}

Result<PciTransport::Capability> PciTransport::read_capability(std::uint16_t position) {
  const auto byte = [&](unsigned offset) {
    return function_->read_config(static_cast<std::uint16_t>(position + offset), 1);
  };
  const auto dword = [&](unsigned offset) {
    return function_->read_config(static_cast<std::uint16_t>(position + offset), 4);
  };
  auto type = byte(3);
  auto bar = byte(4);
  auto offset = dword(8);
  auto length = dword(12);
  for (auto* part : {&type, &bar, &offset, &length}) {
    if (!*part) return fail(std::move(*part));
  }
  return Capability{static_cast<std::uint8_t>(*type), static_cast<std::uint8_t>(*bar), *offset, *length,
                    position};
}

Result<void> PciTransport::take_capability(const Capability& capability) {
  Structure* structure = nullptr;
  switch (capability.type) {
    case kCommonConfig:
      structure = &common_;
      break;
    case kNotifyConfig:
      structure = &notify_;
      break;
    case kIsrConfig:
      structure = &isr_;
      break;
    case kDeviceConfig:
      structure = &device_;
      break;
    default:
      return {};  // 4.1.4.1: types that the driver does not know are skipped
  }
  // 4.1.4.1: the first instance that the driver can use; BAR values above 5 are reserved.
  if (structure->block != nullptr || capability.bar > 5) return {};
  auto block = function_->bar(capability.bar);
  if (!block) return fail(std::move(block));
  if (capability.offset + capability.length > (*block)->size()) {
    return fail(
        Errc::kBadDevice,
        fmt::format("virtio capability type {}: {} bytes at {:#x} of BAR {}, which has {} bytes",
                    capability.type, capability.length, capability.offset, capability.bar, (*block)->size()),
        name());
  }
  *structure = {*block, capability.bar, capability.offset, capability.length};
  if (capability.type == kNotifyConfig) {
    auto multiplier =
        function_->read_config(static_cast<std::uint16_t>(capability.position + kNotifyMultiplierOffset), 4);
    if (!multiplier) return fail(std::move(multiplier));
    notify_multiplier_ = *multiplier;
  }
  return {};
}

Result<void> PciTransport::check_structures() const {
  const auto check = [&](const Structure& structure, const char* what, std::uint64_t needed) -> Result<void> {
    if (structure.block == nullptr) {
      return fail(Errc::kBadDevice, fmt::format("virtio capability: no {} structure", what), name(), 0,
                  "The device does not speak virtio 1.0; in QEMU start it with disable-legacy=on");
    }
    if (structure.length < needed) {
      return fail(Errc::kBadDevice,
                  fmt::format("virtio capability: the {} structure has {} bytes, {} are needed", what,
                              structure.length, needed),
                  name());
    }
    return {};
  };
  if (auto ok = check(common_, "common configuration", common::kSize); !ok) return ok;
  if (auto ok = check(notify_, "notification", 2); !ok) return ok;
  return check(isr_, "ISR status", 1);
}

Result<void> PciTransport::reset() {
  set(common::DeviceStatus{0});
  common::DeviceStatus now{0};
  const auto settled = [&] {
    now = status();
    return now.raw == 0 || now.raw == kStatusGone;
  };
  const bool in_time = wait_until(settled, Deadline(kResetTimeout));
  if (now.raw == kStatusGone) return fail(Errc::kRemoved, "virtio reset", name());
  if (!in_time) return fail(Errc::kTimeout, "virtio reset: the device status does not become 0", name());
  return {};
}

common::DeviceStatus PciTransport::status() const { return get<common::DeviceStatus>(); }

void PciTransport::add_status(common::DeviceStatus bits) { set(status() | bits); }

FeatureSet PciTransport::device_features() {
  set(common::DeviceFeatureSelect{0});
  const std::uint64_t low = get<common::DeviceFeature>().raw;
  set(common::DeviceFeatureSelect{1});
  const std::uint64_t high = get<common::DeviceFeature>().raw;
  const FeatureSet offered(high << 32 | low);
  // A device whose registers end before that of the reset cannot mean it.
  const bool resets_queues = common_.length >= common::QueueReset::kOffset + sizeof(common::QueueReset::raw);
  return resets_queues ? offered : offered.without(Feature::kRingReset);
}

Result<void> PciTransport::accept_features(FeatureSet features) {
  set(common::DriverFeatureSelect{0});
  set(common::DriverFeature{static_cast<std::uint32_t>(features.bits())});
  set(common::DriverFeatureSelect{1});
  set(common::DriverFeature{static_cast<std::uint32_t>(features.bits() >> 32)});
  add_status(common::DeviceStatus::kFeaturesOk(1));
  if (common::DeviceStatus::kFeaturesOk.get(status()) == 0) {
    return fail(Errc::kFeature,
                fmt::format("virtio feature negotiation: the device rejects {}", to_string(features)),
                name());
  }
  with_data_ = features.has(Feature::kNotificationData);
  return {};
}

std::uint16_t PciTransport::queue_count() const { return get<common::NumQueues>().raw; }

std::uint16_t PciTransport::max_queue_size(std::uint16_t index) {
  if (index >= queue_count()) return 0;
  set(common::QueueSelect{index});
  return get<common::QueueSize>().raw;
}

Result<Doorbell> PciTransport::enable_queue(std::uint16_t index, std::uint16_t size,
                                            const QueueAddresses& addresses) {
  set(common::QueueSelect{index});
  set(common::QueueSize{size});
  set(common::QueueMsixVector{common::kNoVector});  // queues are polled
  write_common64(common::kQueueDesc, to_u64(addresses.descriptor));
  write_common64(common::kQueueDriver, to_u64(addresses.driver));
  write_common64(common::kQueueDevice, to_u64(addresses.device));

  // 4.1.4.4: the doorbell lies at notify_off * multiplier in the notification structure. 4.1.5.2: it is as
  // wide as what it says.
  const unsigned width = with_data_ ? 4 : 2;
  const std::uint64_t offset = std::uint64_t{get<common::QueueNotifyOff>().raw} * notify_multiplier_;
  if (offset + width > notify_.length) {
    return fail(
        Errc::kBadDevice,
        fmt::format("queue {}: its doorbell at {:#x} lies outside the notification structure of {:#x} bytes",
                    index, offset, notify_.length),
        name());
  }
  auto doorbell = function_->doorbell(notify_.bar, notify_.offset + offset, 8 * width);
  if (!doorbell) return doorbell;
  set(common::QueueEnable{1});
  return doorbell;
}

Result<void> PciTransport::reset_queue(std::uint16_t index) {
  set(common::QueueSelect{index});
  set(common::QueueReset{1});
  common::QueueReset now{1};
  const auto settled = [&] {
    now = get<common::QueueReset>();
    return now.raw == 0 || now.raw == kRegisterGone;
  };
  const bool in_time = wait_until(settled, Deadline(kResetTimeout));
  if (now.raw == kRegisterGone) return fail(Errc::kRemoved, fmt::format("resetting queue {}", index), name());
  if (!in_time) {
    return fail(Errc::kTimeout, fmt::format("resetting queue {}: queue_reset does not become 0", index),
                name(), 0, "Restart the port");
  }
  return {};
}

Result<bool> PciTransport::arm_config_event() {
  if (vectors_ == 0) {
    auto vectors = function_->enable_interrupts(1);
    if (!vectors) return fail(std::move(vectors));
    vectors_ = *vectors;
  }
  if (vectors_ == 0) return false;
  // A device without MSI-X does not keep the vector: its changes come by INTx.
  set(common::ConfigMsixVector{kConfigVector});
  return true;
}

int PciTransport::config_event_fd() const noexcept {
  return vectors_ == 0 ? -1 : function_->interrupt_fd(kConfigVector);
}

void PciTransport::acknowledge_config_event() noexcept {
  const int fd = config_event_fd();
  std::uint64_t count = 0;
  if (fd < 0 || ::read(fd, &count, sizeof(count)) < 0) return;  // nothing had happened
  isr_.block->read8(isr_.offset);  // 4.1.4.5: reading clears it; needed for INTx only
  auto unmasked = function_->unmask_interrupt(kConfigVector);
  if (!unmasked) log(LogLevel::kWarning, unmasked.error().message());
}

std::uint8_t PciTransport::read_device8(std::uint64_t offset) const {
  if (offset + 1 > device_.length) return 0xFF;
  return device_.block->read8(device_.offset + offset);
}

std::uint16_t PciTransport::read_device16(std::uint64_t offset) const {
  if (offset + 2 > device_.length) return 0xFFFF;
  return device_.block->read16(device_.offset + offset);
}

std::uint32_t PciTransport::read_device32(std::uint64_t offset) const {
  if (offset + 4 > device_.length) return 0xFFFF'FFFF;
  return device_.block->read32(device_.offset + offset);
}

std::uint8_t PciTransport::config_generation() const { return get<common::ConfigGeneration>().raw; }

void PciTransport::write_common64(std::uint64_t offset, std::uint64_t value) {
  common_.block->write32(common_.offset + offset, static_cast<std::uint32_t>(value));
  common_.block->write32(common_.offset + offset + 4, static_cast<std::uint32_t>(value >> 32));
}

}  // namespace spinring::pmd::virtio
