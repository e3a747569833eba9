#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/dma.hpp"
#include "base/mmio.hpp"
#include "base/result.hpp"
#include "pmd/virtio/common_config.hpp"
#include "pmd/virtio/features.hpp"

namespace spinring::pmd::virtio {

/// Where a virtqueue lies, as the device sees it (virtio 1.2, 2.6: descriptor, driver and device area).
struct QueueAddresses {
  Iova descriptor;
  Iova driver;
  Iova device;
};

/// A virtio device as its driver sees it, whatever carries it. The functions are the specification's own list
/// of what a device consists of (virtio 1.2, section 2): status, features, configuration, queues,
/// notifications, reset. Knows no device type and moves no packet. Control thread only.
class Transport {
 public:
  Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;
  virtual ~Transport() = default;

  /// What messages name.
  [[nodiscard]] virtual const std::string& name() const noexcept = 0;
  /// -1 where there is none.
  [[nodiscard]] virtual int iommu_group() const noexcept = 0;
  [[nodiscard]] virtual int numa_node() const noexcept = 0;
  /// How the device sees memory.
  [[nodiscard]] virtual const DmaTable& dma() const noexcept = 0;

  /// 2.4: the device stops and forgets everything. Waits until it has.
  [[nodiscard]] virtual Result<void> reset() = 0;
  /// The same, of a device that need not be ready for another start.
  [[nodiscard]] virtual Result<void> shut_down() { return reset(); }
  /// False while reset() cannot succeed, since the other side is away. Does not wait.
  [[nodiscard]] virtual bool may_reset() { return true; }
  /// How often the other side was away and came back; none where it cannot.
  [[nodiscard]] virtual std::optional<std::uint64_t> reconnects() const noexcept { return {}; }
  /// 2.1; all ones when the device has gone.
  [[nodiscard]] virtual common::DeviceStatus status() const = 0;
  /// Sets status bits on top of those already set.
  virtual void add_status(common::DeviceStatus bits) = 0;
  /// 2.2.
  [[nodiscard]] virtual FeatureSet device_features() = 0;
  /// 3.1.1 steps 4 to 6: writes the features, sets FEATURES_OK and checks that the device keeps it.
  [[nodiscard]] virtual Result<void> accept_features(FeatureSet features) = 0;
  /// Whether the device may reach memory.
  [[nodiscard]] virtual Result<void> set_dma(bool on) = 0;

  [[nodiscard]] virtual std::uint16_t queue_count() const = 0;
  /// Entries that queue `index` can have; 0 if the device does not have it.
  [[nodiscard]] virtual std::uint16_t max_queue_size(std::uint16_t index) = 0;
  /// True if an enabled queue is one in use, without a command on the control queue (vhost-user).
  [[nodiscard]] virtual bool enables_pairs_itself() const noexcept { return false; }
  /// True if a CPU on the other side copies each frame: then those that it gives are to begin on a cache
  /// line.
  [[nodiscard]] virtual bool wants_aligned_frames() const noexcept { return false; }
  /// Configures and enables the queue; returns its doorbell, to be rung with the queue's index.
  [[nodiscard]] virtual Result<Doorbell> enable_queue(std::uint16_t index, std::uint16_t size,
                                                      const QueueAddresses& addresses) = 0;
  /// 2.6.1, with RING_RESET: the device stops using the queue, which may then be enabled again. Waits until
  /// it has.
  [[nodiscard]] virtual Result<void> reset_queue(std::uint16_t index) = 0;

  /// 2.5 Device configuration space; all ones beyond its end.
  [[nodiscard]] virtual std::uint8_t read_device8(std::uint64_t offset) const = 0;
  [[nodiscard]] virtual std::uint16_t read_device16(std::uint64_t offset) const = 0;
  [[nodiscard]] virtual std::uint32_t read_device32(std::uint64_t offset) const = 0;
  /// 2.5.1: changes whenever the configuration has.
  [[nodiscard]] virtual std::uint8_t config_generation() const = 0;

  /// Asks for an event at each change of the configuration; false: there is none, poll. Again after each
  /// reset.
  [[nodiscard]] virtual Result<bool> arm_config_event() = 0;
  /// Readable when the configuration has changed; -1 if not armed.
  [[nodiscard]] virtual int config_event_fd() const noexcept = 0;
  virtual void acknowledge_config_event() noexcept = 0;
  /// Readable when the device is about to go; -1: no such event.
  [[nodiscard]] virtual int removal_fd() const noexcept = 0;

  /// Runs `read` until the configuration did not change meanwhile (2.5.1), a bounded number of times.
  template <class Read>
  [[nodiscard]] auto read_consistently(Read read) const {
    constexpr int kTries = 16;
    for (int tries = 1;; ++tries) {
      const std::uint8_t before = config_generation();
      auto value = read();
      if (tries == kTries || config_generation() == before) return value;
    }
  }
};

}  // namespace spinring::pmd::virtio
