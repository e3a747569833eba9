#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "mempool/memory.hpp"
#include "pmd/port.hpp"
#include "pmd/virtio/control_queue.hpp"
#include "pmd/virtio/features.hpp"
#include "pmd/virtio/transport.hpp"

namespace spinring::pmd::virtio {

/// What one start of the device is asked for.
struct StartRequest {
  std::uint16_t queue_pairs = 1;
  bool promiscuous = true;
  bool vlan_filter = false;
  Offloads offloads{};
  std::uint16_t mtu = 0;  ///< PortConfig::mtu
  RssConfig rss{};        ///< used with Offload::kRss, its key and types with Offload::kRxHash
};

/// A virtio network device (virtio 1.2, 5.1) without its packets: the status machine, feature negotiation,
/// configuration, link and control commands. The port puts queues of some packet type on it. Control thread
/// only.
class NetDevice {
 public:
  /// Takes the device into a known state (reset) and reads what it is.
  [[nodiscard]] static Result<NetDevice> open(std::unique_ptr<Transport> transport, mempool::Memory& memory);

  [[nodiscard]] const PortInfo& info() const noexcept { return info_; }
  [[nodiscard]] const DmaTable& dma() const noexcept { return transport_->dma(); }
  [[nodiscard]] FeatureSet negotiated() const noexcept { return negotiated_; }

  /// Whether the device can run with that many queues.
  [[nodiscard]] Result<void> check_queue_counts(std::size_t rx, std::size_t tx) const;
  /// Whether the device offers these offloads, that MTU, and RSS of that kind.
  [[nodiscard]] Result<void> check_request(const StartRequest& request) const;
  /// Bytes of payload of the longest frame that buffers must hold.
  [[nodiscard]] std::uint16_t mtu(const StartRequest& request) const noexcept;
  /// Start, first half (3.1.1 steps 1 to 6): reset, negotiate, bus mastering on. Queues may then be enabled.
  [[nodiscard]] Result<void> negotiate(const StartRequest& request);
  /// Entries for RX or TX queue `index` (virtqueue number) when `wanted` are asked for; 0: the default.
  [[nodiscard]] Result<std::uint16_t> ring_size(std::uint16_t index, std::uint16_t wanted);
  [[nodiscard]] Result<Doorbell> enable_queue(std::uint16_t index, std::uint16_t size,
                                              const QueueAddresses& addresses);
  /// Start, second half (step 8): interrupts, DRIVER_OK, then the commands that the request asks for.
  [[nodiscard]] Result<void> run(const StartRequest& request);
  /// Whether single queues can be stopped and started.
  [[nodiscard]] Result<void> check_queue_reset() const;
  /// The device stops using the queue (2.6.1); enable_queue() starts it anew.
  [[nodiscard]] Result<void> reset_queue(std::uint16_t index) { return transport_->reset_queue(index); }
  /// Stops all DMA: reset, bus mastering off. Idempotent.
  void stop() noexcept;

  /// Whether another start can succeed, as far as is known without waiting.
  [[nodiscard]] bool may_start() { return transport_->may_reset(); }
  [[nodiscard]] bool wants_aligned_frames() const noexcept { return transport_->wants_aligned_frames(); }
  [[nodiscard]] std::optional<std::uint64_t> reconnects() const noexcept { return transport_->reconnects(); }

  /// An error if the device asks for a reset (2.1.2), has gone, or was reset by somebody else.
  [[nodiscard]] Result<void> check() const;
  /// Answers a request for an announcement as well.
  [[nodiscard]] LinkState link();
  [[nodiscard]] std::uint64_t announcements() const noexcept { return announcements_; }
  [[nodiscard]] int link_event_fd() const noexcept { return transport_->config_event_fd(); }
  void acknowledge_link_event() noexcept { transport_->acknowledge_config_event(); }
  [[nodiscard]] int removal_fd() const noexcept { return transport_->removal_fd(); }

  [[nodiscard]] Result<void> set_promiscuous(bool on);
  [[nodiscard]] Result<void> set_all_multicast(bool on);
  [[nodiscard]] Result<void> set_mac(const MacAddress& mac);
  [[nodiscard]] Result<void> set_mac_filter(std::span<const MacAddress> addresses);
  [[nodiscard]] Result<void> set_vlan_filter(std::uint16_t vlan_id, bool on);
  [[nodiscard]] Result<void> set_rx_offloads(Offloads on);
  [[nodiscard]] Result<void> set_rss(const RssConfig& rss);
  [[nodiscard]] Result<void> set_coalescing(Direction direction, Coalescing wanted);
  [[nodiscard]] Result<void> set_queue_coalescing(std::uint16_t index, Coalescing wanted);
  [[nodiscard]] Result<Coalescing> queue_coalescing(std::uint16_t index);
  /// The device's counters of the queues in use and of the control queue; empty where it has none or does not
  /// answer.
  [[nodiscard]] std::vector<NamedStat> statistics();

 private:
  NetDevice(std::unique_ptr<Transport> transport, mempool::Memory& memory)
      : transport_(std::move(transport)), memory_(&memory) {}
  [[nodiscard]] Result<void> identify();
  [[nodiscard]] Result<void> read_config();
  [[nodiscard]] Result<void> read_queue_pairs();
  void read_hash_config();
  [[nodiscard]] Result<void> check_platform(FeatureSet offered) const;
  [[nodiscard]] Result<void> check_rss(const RssConfig& rss, std::uint16_t queues) const;
  [[nodiscard]] std::uint16_t largest_ring(std::uint16_t index);
  [[nodiscard]] Result<void> enable_control_queue();
  [[nodiscard]] std::uint16_t control_queue_index() const noexcept;
  [[nodiscard]] Result<void> set_queue_pairs(std::uint16_t pairs);
  [[nodiscard]] Result<void> set_hash(const RssConfig& rss);
  void answer_announcement();
  void add_statistics(std::uint16_t index, std::uint64_t types, std::vector<NamedStat>& all);
  [[nodiscard]] Result<void> control(Feature needed, ControlHeader header, std::span<const std::byte> data,
                                     const char* what, std::span<std::byte> reply = {});
  [[nodiscard]] const std::string& name() const noexcept { return transport_->name(); }

  std::unique_ptr<Transport> transport_;
  mempool::Memory* memory_;
  PortInfo info_;
  FeatureSet offered_;
  FeatureSet negotiated_;
  std::uint32_t hash_types_ = 0;  ///< that the device can hash over
  Offloads offloads_{};           ///< of this start
  std::uint64_t announcements_ = 0;
  std::uint16_t queue_pairs_ = 1;  ///< of this start
  bool running_ = false;
  std::optional<ControlQueue> control_;
};

}  // namespace spinring::pmd::virtio
