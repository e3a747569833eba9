#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tests/sim/sim_virtio_device.hpp"
#include "tests/sim/uapi_virtio.hpp"

namespace spinring::sim {

using Mac = std::array<std::uint8_t, 6>;

[[nodiscard]] constexpr std::uint64_t feature(unsigned bit) noexcept { return 1ULL << bit; }

/// What the device offers and shows.
struct SimNetConfig {
  SimIdentity identity;
  SimLayout layout;
  std::uint64_t features = kUsualFeatures;
  unsigned interrupt_vectors = 0;
  std::uint16_t max_pairs = 1;  ///< the pairs there are; shown in max_virtqueue_pairs unless overridden
  virtio_net_config registers = usual_registers();

  /// What QEMU's virtio-net-pci,iommu_platform=on offers of the features that matter here.
  static const std::uint64_t kUsualFeatures;
  [[nodiscard]] static virtio_net_config usual_registers();
};

/// A frame that the driver sent, as the device read it.
struct SentFrame {
  virtio_net_hdr_v1 header{};
  std::vector<std::byte> bytes;
  std::size_t segments = 0;  ///< descriptors that carried it, header included
  SimChain chain;            ///< for complete(); its id is given back by then
};

/// How a received frame is delivered; the defaults are honest.
struct DeliverOptions {
  virtio_net_hdr_v1 header{};
  std::uint32_t hash_value = 0;                 ///< with HASH_REPORT
  std::uint16_t hash_report = 0;                ///< VIRTIO_NET_HASH_REPORT_*
  std::optional<std::uint16_t> num_buffers;     ///< what the header says instead of the truth
  std::optional<std::uint32_t> used_id;         ///< of the first used entry
  std::optional<std::uint32_t> used_length;     ///< of the first used entry
  std::optional<std::uint32_t> buffers_pushed;  ///< used entries really written: fewer than the frame took
  bool publish = true;                          ///< false: the driver is not told yet
};

/// What RSS_CONFIG or HASH_CONFIG said (virtio 1.2, 5.1.6.5.7 and 5.1.6.5.6.4).
struct HashState {
  bool steers = false;  ///< RSS_CONFIG
  std::uint32_t types = 0;
  std::uint16_t unclassified = 0;
  std::vector<std::uint16_t> table;
  std::uint16_t max_tx_vq = 0;
  std::vector<std::uint8_t> key;
};

/// max_packets and max_usecs.
using CoalescingPair = std::pair<std::uint32_t, std::uint32_t>;

/// What the control queue was told.
struct ControlState {
  bool promiscuous = false;
  bool all_multicast = false;
  std::array<bool, 6> rx_modes{};  ///< by VIRTIO_NET_CTRL_RX_*
  std::vector<Mac> unicast;
  std::vector<Mac> multicast;
  std::optional<Mac> mac;
  std::set<std::uint16_t> vlans;
  std::uint16_t active_pairs = 1;
  std::uint64_t announce_acks = 0;
  std::optional<std::uint64_t> guest_offloads;
  std::optional<HashState> hash;
  std::map<unsigned, CoalescingPair> coalescing;  ///< by queue
  std::uint64_t commands = 0;
  std::uint64_t refused = 0;
};

/// A virtio-net device (virtio 1.2, 5.1) whose wire is the test: deliver() is a frame coming in, collect() is
/// what went out. Every step is explicit and atomic; a SimRunner makes the steps on a thread of its own.
class SimVirtioNet final : public SimVirtioDevice {
 public:
  /// Of the header before each frame without HASH_REPORT.
  static constexpr std::size_t kHeaderBytes = sizeof(virtio_net_hdr_v1);
  /// Of the header before each frame, as negotiated (virtio 1.2, 5.1.6).
  [[nodiscard]] std::size_t header_bytes() const {
    return negotiated(VIRTIO_NET_F_HASH_REPORT) ? sizeof(virtio_net_hdr_v1_hash) : sizeof(virtio_net_hdr_v1);
  }

  explicit SimVirtioNet(const SimNetConfig& config = {});

  /// Puts a frame into RX buffers of a pair, as many as it takes when buffers are merged. False: not running,
  /// or no room: dropped, as a real device does.
  bool deliver(std::span<const std::byte> frame, unsigned pair = 0, const DeliverOptions& options = {});
  /// Takes the next frame from the TX queue of a pair; the driver gets the descriptors back by complete().
  [[nodiscard]] std::optional<SentFrame> fetch(unsigned pair = 0);
  void complete(const SentFrame& frame, unsigned pair = 0, std::uint32_t used_length = 0,
                bool publish = true);
  /// Takes and completes up to `limit` frames.
  std::vector<SentFrame> collect(unsigned pair = 0, std::size_t limit = SIZE_MAX);

  /// Chains waiting for the device.
  [[nodiscard]] std::uint16_t rx_buffers(unsigned pair = 0);
  [[nodiscard]] std::uint16_t tx_waiting(unsigned pair = 0);
  [[nodiscard]] SimSplitRing& rx_ring(unsigned pair = 0) { return split(2 * pair); }
  [[nodiscard]] SimSplitRing& tx_ring(unsigned pair = 0) { return split(2 * pair + 1); }
  /// The rings of a pair whatever their layout: for stories that hold for each.
  [[nodiscard]] SimRing& any_rx_ring(unsigned pair = 0) { return ring(2 * pair); }
  [[nodiscard]] SimRing& any_tx_ring(unsigned pair = 0) { return ring(2 * pair + 1); }
  [[nodiscard]] SimPackedRing& packed_rx_ring(unsigned pair = 0) { return packed(2 * pair); }
  [[nodiscard]] SimPackedRing& packed_tx_ring(unsigned pair = 0) { return packed(2 * pair + 1); }
  [[nodiscard]] SimQueue& rx_queue(unsigned pair = 0) { return queue(2 * pair); }
  [[nodiscard]] SimQueue& tx_queue(unsigned pair = 0) { return queue(2 * pair + 1); }
  [[nodiscard]] unsigned control_queue() const;

  /// The pair that a frame goes to, and its hash with the report's number, as RSS says
  /// (virtio 1.2, 5.1.6.4.3).
  struct Steering {
    unsigned pair = 0;
    std::uint32_t hash = 0;
    std::uint16_t report = 0;
  };
  [[nodiscard]] Steering steer(std::span<const std::byte> frame) const;
  /// Delivers by steer().
  bool deliver_steered(std::span<const std::byte> frame);
  /// What STATS_GET answers about a queue instead of counters that name it: for broken devices.
  std::optional<std::vector<std::uint8_t>> stats_answer;
  /// The value of a counter in STATS_GET's answers: the queue, the part's type, the counter's number in it.
  [[nodiscard]] static std::uint64_t stats_value(unsigned queue, unsigned type, unsigned counter) {
    return 1000000ULL * queue + 1000ULL * type + counter;
  }

  /// Link up or down; the driver is told.
  void set_link(bool up);
  /// Asks the driver to announce itself.
  void ask_for_announcement();
  [[nodiscard]] const ControlState& control() const noexcept { return control_; }

  /// Device configuration as the driver reads it.
  virtio_net_config registers;

 protected:
  [[nodiscard]] unsigned queue_count() const override;
  std::uint64_t read_device_config(std::uint64_t offset, unsigned width) override;
  void write_device_config(std::uint64_t offset, unsigned width, std::uint64_t value) override;
  [[nodiscard]] bool features_fit() override;
  void device_reset() override;
  void notified(unsigned queue) override;

 private:
  struct Command {
    std::uint8_t klass = 0;
    std::uint8_t number = 0;
    std::vector<std::uint8_t> data;
    std::vector<std::uint8_t> reply{};  ///< command-specific-result
  };

  [[nodiscard]] SimQueue* live_queue(unsigned index);
  bool copy_in(const SimChain& chain, std::span<const std::byte> bytes);
  [[nodiscard]] std::optional<std::vector<std::byte>> copy_out(const SimChain& chain);
  [[nodiscard]] std::vector<SimChain> take_rx_chains(SimQueue& queue, std::size_t bytes);
  void check_rx_chain(const SimChain& chain);
  void check_tx_header(const virtio_net_hdr_v1& header, std::size_t frame);
  [[nodiscard]] bool may_segment(std::uint8_t gso_type) const;

  // sim_net_control.cpp
  void serve_control();
  void answer(SimQueue& queue, const SimChain& chain);
  [[nodiscard]] std::uint8_t execute(Command& command);
  [[nodiscard]] std::uint8_t set_rx_mode(const Command& command);
  [[nodiscard]] std::uint8_t set_mac(const Command& command);
  [[nodiscard]] std::uint8_t set_mac_table(const Command& command);
  [[nodiscard]] std::uint8_t set_vlan(const Command& command);
  [[nodiscard]] std::uint8_t set_pairs(const Command& command);

  // sim_net_features.cpp
  [[nodiscard]] std::uint8_t set_hash(const Command& command);
  [[nodiscard]] std::uint8_t set_guest_offloads(const Command& command);
  [[nodiscard]] std::uint8_t set_coalescing(Command& command);
  [[nodiscard]] std::uint8_t queue_coalescing(Command& command);
  [[nodiscard]] std::uint8_t statistics(Command& command);
  [[nodiscard]] std::uint64_t stats_types() const;

  std::uint16_t max_pairs_;
  ControlState control_;
};

}  // namespace spinring::sim
