#include "tests/sim/sim_virtio_device.hpp"

#include <fmt/format.h>
#include <linux/pci_regs.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "tests/sim/uapi_virtio.hpp"

namespace spinring::sim {
SimVirtioDevice::SimVirtioDevice(const SimIdentity& identity, const SimLayout& layout, std::uint64_t features,
                                 unsigned vectors)
    : config_space(identity, layout, vectors), layout_(layout), offered_(features), vectors_(vectors) {}

std::unique_ptr<pmd::PciFunction> SimVirtioDevice::function(std::string name) {
  return std::make_unique<SimPciFunction>(std::move(name), *this, iommu_.table(), bus);
}

std::vector<std::string> SimVirtioDevice::violations() const {
  const Lock lock(mutex_);
  return violations_;
}

void SimVirtioDevice::violation(const std::string& what) {
  // A driver that breaks the same rule for every packet must not fill the memory.
  constexpr std::size_t kEnough = 100;
  if (violations_.size() < kEnough) violations_.push_back(what);
}

bool SimVirtioDevice::running() const noexcept {
  return (status_ & VIRTIO_CONFIG_S_DRIVER_OK) != 0 && !needs_reset() && !knobs.removed;
}

bool SimVirtioDevice::needs_reset() const noexcept { return (status_ & VIRTIO_CONFIG_S_NEEDS_RESET) != 0; }

SimQueue& SimVirtioDevice::queue(unsigned index) {
  const Lock lock(mutex_);
  if (queues_.size() < queue_count()) queues_.resize(queue_count());
  return queues_.at(index);
}

SimRing& SimVirtioDevice::ring(unsigned index) {
  SimQueue& found = queue(index);
  if (found.ring == nullptr) throw std::logic_error("the queue is not enabled");
  return *found.ring;
}

std::uint64_t SimVirtioDevice::all_notifications() const {
  const Lock lock(mutex_);
  std::uint64_t sum = 0;
  for (const SimQueue& queue : queues_) sum += queue.notifications;
  return sum;
}

// --- the bus ---

std::uint32_t SimVirtioDevice::config_read(std::uint16_t offset, unsigned width) {
  const Lock lock(mutex_);
  if (knobs.removed) return width == 4 ? ~0U : (1U << (8 * width)) - 1;
  return config_space.read(offset, width);
}

void SimVirtioDevice::config_write(std::uint16_t offset, unsigned width, std::uint32_t value) {
  const Lock lock(mutex_);
  // Only the command register can be written here: BARs are placed by the bus.
  if (!knobs.removed && offset == PCI_COMMAND) config_space.write(offset, std::min(width, 2U), value);
}

std::uint64_t SimVirtioDevice::bar_size(unsigned bar) {
  if (bar == layout_.bar) return layout_.bar_bytes;
  return bar == 1 ? 0x1000 : 0;  // MSI-X table
}

void SimVirtioDevice::outside_bar(unsigned, std::uint64_t, unsigned) {
  const Lock lock(mutex_);
  ++outside_bar_;
}

void SimVirtioDevice::opened() {
  const Lock lock(mutex_);
  if (open_) violation("the function was opened twice");
  open_ = true;
  reset_seen_ = false;  // virtio 1.2, 3.1.1 step 1: whoever opens it resets it first
}

void SimVirtioDevice::function_reset() {
  const Lock lock(mutex_);
  reset_device();
  reset_hangs_ = false;
  reset_reads_left_ = 0;
  reset_seen_ = true;
}

void SimVirtioDevice::bus_master(bool on) {
  const Lock lock(mutex_);
  iommu_.set_bus_master(on);
}

void SimVirtioDevice::released() {
  const Lock lock(mutex_);
  open_ = false;
}

void SimVirtioDevice::connect_interrupts(const int* fds, unsigned count) {
  const Lock lock(mutex_);
  interrupt_fds_.assign(fds, fds + count);
}

// --- interrupts ---

void SimVirtioDevice::fire(std::uint16_t vector) {
  if (vector >= interrupt_fds_.size()) return;
  const std::uint64_t one = 1;
  // The eventfd is non-blocking and saturates: an interrupt more or less is not an error.
  [[maybe_unused]] const auto written = ::write(interrupt_fds_[vector], &one, sizeof one);
}

void SimVirtioDevice::interrupt(SimQueue& queue) {
  ++queue.interrupts;
  isr_ |= 1;
  fire(queue.vector);
}

void SimVirtioDevice::publish(SimQueue& queue) {
  if (queue.ring->publish()) interrupt(queue);
}

void SimVirtioDevice::configuration_changed() {
  const Lock lock(mutex_);
  ++generation_;
  if (!running() && !needs_reset()) return;
  isr_ |= VIRTIO_PCI_ISR_CONFIG;
  fire(config_vector_);
}

void SimVirtioDevice::ask_for_reset() {
  const Lock lock(mutex_);
  if (needs_reset()) return;
  status_ |= VIRTIO_CONFIG_S_NEEDS_RESET;
  configuration_changed();
}

void SimVirtioDevice::note_breakage(const SimQueue& queue) {
  if (queue.ring != nullptr && queue.ring->broken()) ask_for_reset();
}

// --- registers ---

std::uint64_t SimVirtioDevice::mmio_read(unsigned bar, std::uint64_t offset, unsigned width) {
  const Lock lock(mutex_);
  if (knobs.removed) return ~0ULL;
  if (bar != layout_.bar) return 0;
  const auto within = [&](std::uint32_t start) {
    return offset >= start && offset < start + std::uint64_t{layout_.structure_bytes};
  };
  if (within(layout_.common)) return read_common(offset - layout_.common, width);
  if (within(layout_.isr)) return std::exchange(isr_, std::uint8_t{0});
  if (within(layout_.device)) return read_device_config(offset - layout_.device, width);
  return 0;
}

void SimVirtioDevice::mmio_write(unsigned bar, std::uint64_t offset, unsigned width, std::uint64_t value) {
  const Lock lock(mutex_);
  if (knobs.removed || bar != layout_.bar) return;
  const auto within = [&](std::uint32_t start) {
    return offset >= start && offset < start + std::uint64_t{layout_.structure_bytes};
  };
  if (within(layout_.common)) {
    write_common(offset - layout_.common, width, value);
  } else if (within(layout_.device)) {
    write_device_config(offset - layout_.device, width, value);
  } else if (within(layout_.notify)) {
    notify(offset - layout_.notify, width, value);
  } else {
    violation(fmt::format("write to read-only or absent register {:#x} of BAR {}", offset, bar));
  }
}

void SimVirtioDevice::notify(std::uint64_t offset, unsigned width, std::uint64_t value) {
  // virtio 1.2, 4.1.5.2: 16 bits with the queue's index; 32 with NOTIFICATION_DATA: the index, and above it
  // where the next chain will become available (2.9).
  const bool with_data = negotiated(VIRTIO_F_NOTIFICATION_DATA);
  if (width != (with_data ? 4U : 2U)) violation(fmt::format("doorbell of {} bytes", width));
  const auto index = static_cast<unsigned>(value & 0xffff);
  if (index >= queue_count()) return violation(fmt::format("doorbell names queue {}", index));
  SimQueue& rung = queue(index);
  const std::uint64_t expected = std::uint64_t{notify_offset(index)} * layout_.notify_multiplier;
  if (offset != expected) {
    violation(fmt::format("doorbell of queue {} at {:#x} instead of {:#x}", index, offset, expected));
  }
  // virtio 1.2, 3.1.1: no notification before DRIVER_OK.
  if ((status_ & VIRTIO_CONFIG_S_DRIVER_OK) == 0) return violation("doorbell before DRIVER_OK");
  if (!rung.enabled) return violation(fmt::format("doorbell of queue {}, which is not enabled", index));
  ++rung.notifications;
  if (rung.ring->notifications_suppressed()) ++rung.unwanted_notifications;
  if (rung.ring->broken()) return;
  const std::uint16_t next = rung.ring->notification_data();
  if (with_data && value >> 16 != next) {
    violation(fmt::format("doorbell of queue {} says {:#x}, the next is {:#x}", index, value >> 16, next));
  }
  rung.ring->doorbell();
  if (!needs_reset()) notified(index);
}

// --- queues ---

std::uint16_t SimVirtioDevice::maximum_size(unsigned index) const {
  const auto shown = knobs.queue_size.find(index);
  return shown == knobs.queue_size.end() ? queue_size_max : shown->second;
}

std::uint16_t SimVirtioDevice::notify_offset(unsigned index) const {
  const auto shown = knobs.notify_off.find(index);
  return shown == knobs.notify_off.end() ? static_cast<std::uint16_t>(index) : shown->second;
}

std::unique_ptr<SimRing> SimVirtioDevice::make_ring(unsigned index, const SimQueue& queue) {
  const auto complain = [this, index](const std::string& what) {
    violation(fmt::format("queue {}: {}", index, what));
  };
  const RingConfig config{.size = queue.size,
                          .descriptors = queue.descriptors,
                          .driver = queue.driver,
                          .device = queue.device,
                          .event_idx = negotiated(VIRTIO_RING_F_EVENT_IDX),
                          .indirect = negotiated(VIRTIO_RING_F_INDIRECT_DESC),
                          .in_order = negotiated(VIRTIO_F_IN_ORDER),
                          .batch_used = knobs.batch_used};
  if (negotiated(VIRTIO_F_RING_PACKED)) return std::make_unique<SimPackedRing>(iommu_, config, complain);
  return std::make_unique<SimSplitRing>(iommu_, config, complain);
}

void SimVirtioDevice::enable_queue(unsigned index, std::uint64_t value) {
  SimQueue& enabled = queue(index);
  if (value != 1) return violation(fmt::format("{} written to queue_enable", value));  // 4.1.4.3.2
  if (enabled.enabled) return violation(fmt::format("queue {} enabled twice", index));
  if ((status_ & VIRTIO_CONFIG_S_FEATURES_OK) == 0) violation("queue enabled before FEATURES_OK");
  // virtio 1.2, 2.6.1: after DRIVER_OK only one that was reset alone.
  if ((status_ & VIRTIO_CONFIG_S_DRIVER_OK) != 0 && enabled.resets == 0) {
    violation("queue enabled after DRIVER_OK");
  }
  if (enabled.size == 0) enabled.size = maximum_size(index);
  if (enabled.size == 0) return violation(fmt::format("queue {} is not there and was enabled", index));
  if (enabled.descriptors == 0 || enabled.driver == 0 || enabled.device == 0) {
    return violation(fmt::format("queue {} enabled before its addresses were written", index));
  }
  enabled.enabled = true;
  enabled.ring = make_ring(index, enabled);
  note_breakage(enabled);
}

void SimVirtioDevice::reset_queue(unsigned index, std::uint64_t value) {
  SimQueue& stopped = queue(index);
  if (!negotiated(VIRTIO_F_RING_RESET)) return violation("queue_reset written without RING_RESET");
  if (value != 1) return violation(fmt::format("{} written to queue_reset", value));
  if (!stopped.enabled) return violation(fmt::format("queue {} reset, and it is not enabled", index));
  // Everything to its default (virtio 1.2, 2.6.1.1.1), but for what the tests count.
  SimQueue fresh;
  fresh.notifications = stopped.notifications;
  fresh.unwanted_notifications = stopped.unwanted_notifications;
  fresh.interrupts = stopped.interrupts;
  fresh.resets = stopped.resets + 1;
  fresh.resetting = true;
  fresh.reset_reads_left = knobs.queue_reset_reads;
  stopped = std::move(fresh);
}

std::uint16_t SimVirtioDevice::read_queue_reset(SimQueue& selected) {
  if (!negotiated(VIRTIO_F_RING_RESET)) violation("queue_reset read without RING_RESET");
  if (!selected.resetting || selected.reset_reads_left < 0) return selected.resetting ? 1 : 0;
  if (selected.reset_reads_left-- > 0) return 1;
  selected.resetting = false;
  return 0;
}

void SimVirtioDevice::reset_device() {
  status_ = 0;
  accepted_ = 0;
  feature_select_ = driver_feature_select_ = 0;
  queue_select_ = 0;
  config_vector_ = VIRTIO_MSI_NO_VECTOR;
  isr_ = 0;
  features_ok_read_ = false;
  queues_.clear();
  ++resets_;
  device_reset();
}

}  // namespace spinring::sim
