// The common configuration structure (virtio 1.2, 4.1.4.3) and the driver's initialisation order (3.1.1).

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

#include "tests/sim/sim_virtio_device.hpp"
#include "tests/sim/uapi_virtio.hpp"

namespace spinring::sim {

namespace {

struct Field {
  std::uint64_t offset;
  unsigned width;
  bool writable;
};

constexpr std::array<Field, 21> kFields{{
    {VIRTIO_PCI_COMMON_DFSELECT, 4, true},  {VIRTIO_PCI_COMMON_DF, 4, false},
    {VIRTIO_PCI_COMMON_GFSELECT, 4, true},  {VIRTIO_PCI_COMMON_GF, 4, true},
    {VIRTIO_PCI_COMMON_MSIX, 2, true},      {VIRTIO_PCI_COMMON_NUMQ, 2, false},
    {VIRTIO_PCI_COMMON_STATUS, 1, true},    {VIRTIO_PCI_COMMON_CFGGENERATION, 1, false},
    {VIRTIO_PCI_COMMON_Q_SELECT, 2, true},  {VIRTIO_PCI_COMMON_Q_SIZE, 2, true},
    {VIRTIO_PCI_COMMON_Q_MSIX, 2, true},    {VIRTIO_PCI_COMMON_Q_ENABLE, 2, true},
    {VIRTIO_PCI_COMMON_Q_NOFF, 2, false},   {VIRTIO_PCI_COMMON_Q_DESCLO, 4, true},
    {VIRTIO_PCI_COMMON_Q_DESCHI, 4, true},  {VIRTIO_PCI_COMMON_Q_AVAILLO, 4, true},
    {VIRTIO_PCI_COMMON_Q_AVAILHI, 4, true}, {VIRTIO_PCI_COMMON_Q_USEDLO, 4, true},
    {VIRTIO_PCI_COMMON_Q_USEDHI, 4, true},  {VIRTIO_PCI_COMMON_Q_NDATA, 2, false},
    {VIRTIO_PCI_COMMON_Q_RESET, 2, true},
}};

}  // namespace

bool SimVirtioDevice::check_access(std::uint64_t offset, unsigned width, bool write) {
  const auto* const reg = std::ranges::find(kFields, offset, &Field::offset);
  if (reg == kFields.end()) {
    violation(fmt::format("common configuration: no register at {:#x}", offset));
    return false;
  }
  // virtio 1.2, 4.1.3.1: accesses are as wide as the field; 64-bit fields by their 32-bit halves.
  if (width != reg->width) {
    violation(
        fmt::format("common configuration: {} bytes at {:#x}, a field of {}", width, offset, reg->width));
  }
  if (write && !reg->writable) {
    violation(fmt::format("common configuration: write to read-only field {:#x}", offset));
    return false;
  }
  return true;
}

std::uint64_t SimVirtioDevice::read_common(std::uint64_t offset, unsigned width) {
  if (!check_access(offset, width, false)) return 0;
  switch (offset) {
    case VIRTIO_PCI_COMMON_DFSELECT:
      return feature_select_;
    case VIRTIO_PCI_COMMON_DF: {
      flip_ = !flip_;
      const std::uint64_t shown =
          (flip_ ? offered_ : offered_ ^ knobs.flipping_features) & ~knobs.withdrawn_features;
      return feature_select_ < 2 ? static_cast<std::uint32_t>(shown >> (32 * feature_select_)) : 0;
    }
    case VIRTIO_PCI_COMMON_GFSELECT:
      return driver_feature_select_;
    case VIRTIO_PCI_COMMON_GF:
      return driver_feature_select_ < 2
                 ? static_cast<std::uint32_t>(accepted_ >> (32 * driver_feature_select_))
                 : 0;
    case VIRTIO_PCI_COMMON_MSIX:
      return config_vector_;
    case VIRTIO_PCI_COMMON_NUMQ:
      return knobs.num_queues >= 0 ? static_cast<std::uint16_t>(knobs.num_queues) : queue_count();
    case VIRTIO_PCI_COMMON_STATUS:
      return read_status();
    case VIRTIO_PCI_COMMON_CFGGENERATION:
      if (knobs.generation_changes != 0) {
        ++generation_;
        if (knobs.generation_changes > 0) --knobs.generation_changes;
      }
      return generation_;
    case VIRTIO_PCI_COMMON_Q_SELECT:
      return queue_select_;
    default:
      return read_queue_register(offset);
  }
}

std::uint64_t SimVirtioDevice::read_queue_register(std::uint64_t offset) {
  if (queue_select_ >= queue_count()) return 0;  // virtio 1.2, 4.1.4.3.1: size 0 means that it is not there
  SimQueue& selected = queue(queue_select_);
  switch (offset) {
    case VIRTIO_PCI_COMMON_Q_SIZE:
      return selected.size != 0 ? selected.size : maximum_size(queue_select_);
    case VIRTIO_PCI_COMMON_Q_MSIX:
      return selected.vector;
    case VIRTIO_PCI_COMMON_Q_ENABLE:
      return selected.enabled ? 1 : 0;
    case VIRTIO_PCI_COMMON_Q_NOFF:
      return notify_offset(queue_select_);
    case VIRTIO_PCI_COMMON_Q_DESCLO:
      return static_cast<std::uint32_t>(selected.descriptors);
    case VIRTIO_PCI_COMMON_Q_DESCHI:
      return selected.descriptors >> 32;
    case VIRTIO_PCI_COMMON_Q_AVAILLO:
      return static_cast<std::uint32_t>(selected.driver);
    case VIRTIO_PCI_COMMON_Q_AVAILHI:
      return selected.driver >> 32;
    case VIRTIO_PCI_COMMON_Q_USEDLO:
      return static_cast<std::uint32_t>(selected.device);
    case VIRTIO_PCI_COMMON_Q_USEDHI:
      return selected.device >> 32;
    case VIRTIO_PCI_COMMON_Q_NDATA:
      return queue_select_;
    case VIRTIO_PCI_COMMON_Q_RESET:
      return read_queue_reset(selected);
    default:
      return 0;
  }
}

void SimVirtioDevice::write_common(std::uint64_t offset, unsigned width, std::uint64_t value) {
  if (!check_access(offset, width, true)) return;
  switch (offset) {
    case VIRTIO_PCI_COMMON_DFSELECT:
      feature_select_ = static_cast<std::uint32_t>(value);
      return;
    case VIRTIO_PCI_COMMON_GFSELECT:
      driver_feature_select_ = static_cast<std::uint32_t>(value);
      return;
    case VIRTIO_PCI_COMMON_GF:
      return accept_features(static_cast<std::uint32_t>(value));
    case VIRTIO_PCI_COMMON_MSIX:
      config_vector_ = value < interrupt_fds_.size() && !knobs.refuse_vectors
                           ? static_cast<std::uint16_t>(value)
                           : VIRTIO_MSI_NO_VECTOR;
      return;
    case VIRTIO_PCI_COMMON_STATUS:
      return write_status(static_cast<std::uint8_t>(value));
    case VIRTIO_PCI_COMMON_Q_SELECT:
      queue_select_ = static_cast<std::uint16_t>(value);
      return;
    default:
      return write_queue_register(offset, value);
  }
}

void SimVirtioDevice::write_queue_register(std::uint64_t offset, std::uint64_t value) {
  if (queue_select_ >= queue_count()) {
    return violation(fmt::format("set-up of queue {}, which the device does not have", queue_select_));
  }
  SimQueue& selected = queue(queue_select_);
  if (offset == VIRTIO_PCI_COMMON_Q_RESET) return reset_queue(queue_select_, value);
  if (selected.resetting) {  // virtio 1.2, 4.1.4.3.2
    violation(fmt::format("queue {} set up before its reset was read to be complete", queue_select_));
  }
  if (offset == VIRTIO_PCI_COMMON_Q_ENABLE) return enable_queue(queue_select_, value);
  if (selected.enabled) violation(fmt::format("queue {} changed after it was enabled", queue_select_));
  const auto low = [&](std::uint64_t old) { return (old & ~0xffffffffULL) | (value & 0xffffffffULL); };
  const auto high = [&](std::uint64_t old) { return (old & 0xffffffffULL) | (value << 32); };
  switch (offset) {
    case VIRTIO_PCI_COMMON_Q_SIZE:
      return set_queue_size(selected, value);
    case VIRTIO_PCI_COMMON_Q_MSIX:
      selected.vector = value < interrupt_fds_.size() && !knobs.refuse_vectors
                            ? static_cast<std::uint16_t>(value)
                            : VIRTIO_MSI_NO_VECTOR;
      return;
    case VIRTIO_PCI_COMMON_Q_DESCLO:
      selected.descriptors = low(selected.descriptors);
      return;
    case VIRTIO_PCI_COMMON_Q_DESCHI:
      selected.descriptors = high(selected.descriptors);
      return;
    case VIRTIO_PCI_COMMON_Q_AVAILLO:
      selected.driver = low(selected.driver);
      return;
    case VIRTIO_PCI_COMMON_Q_AVAILHI:
      selected.driver = high(selected.driver);
      return;
    case VIRTIO_PCI_COMMON_Q_USEDLO:
      selected.device = low(selected.device);
      return;
    case VIRTIO_PCI_COMMON_Q_USEDHI:
      selected.device = high(selected.device);
      return;
    default:
      violation(fmt::format("queue register {:#x} written without the feature for it", offset));
  }
}

void SimVirtioDevice::set_queue_size(SimQueue& queue, std::uint64_t value) {
  const std::uint16_t most = maximum_size(queue_select_);
  if (value == 0 || value > most) {
    return violation(fmt::format("queue_size {} of at most {}", value, most));
  }
  // virtio 1.2, 2.8.10.1: at most 2^15 entries; 4.1.4.3.2: a power of two, but for packed rings.
  constexpr std::uint64_t kMostEntries = 1U << 15;
  if (value > kMostEntries) return violation(fmt::format("queue_size {}", value));
  if (!negotiated(VIRTIO_F_RING_PACKED) && !std::has_single_bit(value)) {
    return violation(fmt::format("queue_size {} is not a power of two", value));
  }
  queue.size = static_cast<std::uint16_t>(value);
}

// --- status ---

std::uint8_t SimVirtioDevice::read_status() {
  if (reset_hangs_) return status_ != 0 ? status_ : std::uint8_t{VIRTIO_CONFIG_S_ACKNOWLEDGE};
  if (status_ == 0 && reset_reads_left_ > 0) {
    --reset_reads_left_;
    return VIRTIO_CONFIG_S_ACKNOWLEDGE;
  }
  if (status_ == 0) reset_seen_ = true;
  if ((status_ & VIRTIO_CONFIG_S_FEATURES_OK) != 0) features_ok_read_ = true;
  return status_;
}

void SimVirtioDevice::write_status(std::uint8_t value) {
  status_writes_.push_back(value);
  if (value == 0) {
    reset_device();
    reset_seen_ = false;
    reset_reads_left_ = knobs.reset_reads;
    if (knobs.resets_that_complete == 0) reset_hangs_ = true;
    if (knobs.resets_that_complete > 0) --knobs.resets_that_complete;
    return;
  }
  const std::uint8_t device_bits = VIRTIO_CONFIG_S_NEEDS_RESET;
  if ((status_ & ~device_bits & ~value) != 0) {  // virtio 1.2, 2.1.1
    violation(fmt::format("status bits cleared: {:#x} written over {:#x}", value, status_));
  }
  const unsigned added = value & ~unsigned{status_};
  // virtio 1.2, 4.1.4.3.2: after a reset the driver waits until it reads 0.
  if ((added & VIRTIO_CONFIG_S_ACKNOWLEDGE) != 0 && !reset_seen_) {
    violation("ACKNOWLEDGE before the reset was seen to complete");
  }
  if ((added & VIRTIO_CONFIG_S_DRIVER) != 0 && (value & VIRTIO_CONFIG_S_ACKNOWLEDGE) == 0) {
    violation("DRIVER without ACKNOWLEDGE");
  }
  const std::uint8_t steps = VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK;
  status_ = static_cast<std::uint8_t>((status_ & (device_bits | steps)) | (value & ~(device_bits | steps)));
  if ((added & VIRTIO_CONFIG_S_FEATURES_OK) != 0) set_features_ok();
  if ((added & VIRTIO_CONFIG_S_DRIVER_OK) != 0) set_driver_ok();
}

void SimVirtioDevice::accept_features(std::uint32_t value) {
  if ((status_ & VIRTIO_CONFIG_S_FEATURES_OK) != 0) violation("features written after FEATURES_OK");
  if ((status_ & VIRTIO_CONFIG_S_DRIVER) == 0) violation("features written before DRIVER");
  if (driver_feature_select_ >= 2) {
    if (value != 0) violation("features accepted above bit 63");
    return;
  }
  const unsigned shift = 32 * driver_feature_select_;
  accepted_ = (accepted_ & ~(0xffffffffULL << shift)) | (std::uint64_t{value} << shift);
}

void SimVirtioDevice::set_features_ok() {
  if ((status_ & VIRTIO_CONFIG_S_DRIVER) == 0) violation("FEATURES_OK before DRIVER");
  // A bit that flips has been seen offered at least once.
  const std::uint64_t excess = accepted_ & ~(offered_ | knobs.flipping_features);
  if (excess != 0) violation(fmt::format("features {:#x} accepted, which were not offered", excess));
  const bool fits = excess == 0 && features_fit();
  if (fits && knobs.features_ok_sticks) status_ |= VIRTIO_CONFIG_S_FEATURES_OK;
}

void SimVirtioDevice::set_driver_ok() {
  if ((status_ & VIRTIO_CONFIG_S_FEATURES_OK) == 0) {
    violation("DRIVER_OK without FEATURES_OK");
    return;
  }
  if (!features_ok_read_) violation("DRIVER_OK although FEATURES_OK was not read back");
  if (!iommu_.bus_master()) violation("DRIVER_OK while bus mastering is off");
  status_ |= VIRTIO_CONFIG_S_DRIVER_OK;
}

}  // namespace spinring::sim
