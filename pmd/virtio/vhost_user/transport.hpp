#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "mempool/memory.hpp"
#include "pmd/errors.hpp"
#include "pmd/virtio/transport.hpp"
#include "pmd/virtio/vhost_user/channel.hpp"
#include "pmd/virtio/vhost_user/config.hpp"
#include "pmd/virtio/vhost_user/memory_table.hpp"

namespace spinring::pmd::virtio::vhost_user {

/// A virtio device behind a vhost-user socket: the front end's side of the protocol, with a software switch
/// (DPDK's vhost, OVS, VPP) as the device. Needs neither root nor VFIO: the switch maps the pool's memory by
/// descriptor. What a PCI device keeps in registers (status, configuration) is kept here; a switch that goes
/// away shows as DEVICE_NEEDS_RESET, and reset() connects again.
class VhostUserTransport final : public Transport {
 public:
  /// Connects and asks for the features. `memory` outlives the transport.
  [[nodiscard]] static Result<std::unique_ptr<Transport>> create(const Config& config,
                                                                 mempool::Memory& memory);
  ~VhostUserTransport() override;

  [[nodiscard]] const std::string& name() const noexcept override { return config_.name; }
  [[nodiscard]] int iommu_group() const noexcept override { return -1; }
  [[nodiscard]] int numa_node() const noexcept override { return -1; }
  [[nodiscard]] const DmaTable& dma() const noexcept override { return memory_table_.table(); }

  [[nodiscard]] Result<void> reset() override;
  [[nodiscard]] Result<void> shut_down() override;
  /// Whether a switch is there: connects or accepts one that has come back, and says nothing to it yet.
  [[nodiscard]] bool may_reset() override;
  [[nodiscard]] std::optional<std::uint64_t> reconnects() const noexcept override {
    return connections_ == 0 ? 0 : connections_ - 1;
  }
  [[nodiscard]] common::DeviceStatus status() const override;
  void add_status(common::DeviceStatus bits) override;
  [[nodiscard]] FeatureSet device_features() override { return offered_; }
  [[nodiscard]] Result<void> accept_features(FeatureSet features) override;
  /// The switch reaches memory from SET_MEM_TABLE on; queues are stopped by reset().
  [[nodiscard]] Result<void> set_dma(bool /*on*/) override { return {}; }

  [[nodiscard]] std::uint16_t queue_count() const override {
    return static_cast<std::uint16_t>(2 * config_.queue_pairs);
  }
  [[nodiscard]] std::uint16_t max_queue_size(std::uint16_t index) override {
    return index < queue_count() ? config_.queue_size : std::uint16_t{0};
  }
  [[nodiscard]] bool enables_pairs_itself() const noexcept override { return true; }
  [[nodiscard]] bool wants_aligned_frames() const noexcept override { return config_.aligned_frames; }
  [[nodiscard]] Result<Doorbell> enable_queue(std::uint16_t index, std::uint16_t size,
                                              const QueueAddresses& addresses) override;

  /// RING_RESET is never offered here.
  [[nodiscard]] Result<void> reset_queue(std::uint16_t /*index*/) override {
    return fail(Errc::kUnsupported, "resetting one queue", name());
  }

  [[nodiscard]] std::uint8_t read_device8(std::uint64_t offset) const override;
  [[nodiscard]] std::uint16_t read_device16(std::uint64_t offset) const override;
  [[nodiscard]] std::uint32_t read_device32(std::uint64_t /*offset*/) const override { return 0xFFFF'FFFF; }
  [[nodiscard]] std::uint8_t config_generation() const override { return 0; }

  [[nodiscard]] Result<bool> arm_config_event() override { return false; }
  [[nodiscard]] int config_event_fd() const noexcept override { return -1; }
  void acknowledge_config_event() noexcept override {}
  [[nodiscard]] int removal_fd() const noexcept override { return -1; }

 private:
  struct Vring {
    std::uint16_t index;
    std::uint16_t size;
    QueueAddresses addresses;
    Fd kick;
    Fd call;
  };

  explicit VhostUserTransport(const Config& config) : config_(config) {}
  [[nodiscard]] Result<Channel> open_channel(Deadline deadline);
  [[nodiscard]] Result<void> attach_channel();
  [[nodiscard]] Result<void> learn_features();
  [[nodiscard]] Result<void> share_memory();
  [[nodiscard]] Result<void> start_vrings();
  [[nodiscard]] Result<void> start_vring(const Vring& vring);
  [[nodiscard]] bool connected() const { return channel_ && channel_->connected(); }
  [[nodiscard]] bool acknowledges() const noexcept { return (protocol_features_ & kProtocolReplyAck) != 0; }

  // Teardown runs upwards: the channel closes (the switch unmaps) before the memory is detached.
  Config config_;
  SharedMemoryTable memory_table_;
  mempool::Attachment attachment_;
  Fd listener_;
  std::vector<std::unique_ptr<Vring>> vrings_;
  std::optional<Channel> channel_;
  std::optional<Channel> arrived_;  ///< of a switch that has come back, until reset()
  std::uint64_t connections_ = 0;
  std::uint64_t back_end_features_ = 0;
  std::uint64_t protocol_features_ = 0;
  FeatureSet offered_;
  FeatureSet accepted_;
  common::DeviceStatus status_;
  bool failed_ = false;  ///< the start was refused: shown as DEVICE_NEEDS_RESET
};

}  // namespace spinring::pmd::virtio::vhost_user
