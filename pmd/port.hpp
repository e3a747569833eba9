#pragma once

#include <array>
#include <chrono>
#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "pmd/errors.hpp"
#include "pmd/offload.hpp"
#include "pmd/packet_pool.hpp"

namespace spinring::pmd {

using MacAddress = std::array<std::uint8_t, 6>;
/// "52:54:00:12:34:56".
[[nodiscard]] std::string to_string(const MacAddress& mac);
/// The other way round; nothing for other text.
[[nodiscard]] std::optional<MacAddress> parse_mac(std::string_view text);

/// What a port is; fixed from open on.
struct PortInfo {
  std::string name;      ///< of the bus: "0000:01:00.0", "qtest0"
  std::string driver;    ///< "virtio-net", "e1000e", ...
  int iommu_group = -1;  ///< -1: none
  int numa_node = -1;
  MacAddress mac{};  ///< the permanent address
  std::uint16_t max_rx_queues = 1;
  std::uint16_t max_tx_queues = 1;
  std::uint16_t max_rx_ring = 0;  ///< entries
  std::uint16_t max_tx_ring = 0;
  std::uint16_t max_mtu = 1500;
  Offloads offloads{};          ///< those that the device offers
  std::uint16_t rss_table = 0;  ///< entries of the RSS table; 0: none
};

struct LinkState {
  bool up = false;
  std::uint32_t speed_mbps = 0;  ///< 0: the device does not say
  bool full_duplex = true;
  bool operator==(const LinkState&) const = default;
};

/// Counters of one queue since start(). Every packet that a queue took or was given is in exactly one of
/// them.
struct RxStats {
  std::uint64_t packets = 0;  ///< handed to the application
  std::uint64_t bytes = 0;
  std::uint64_t bad_completions =
      0;  ///< completions whose id, length or description the device may not write; dropped
  std::uint64_t truncated = 0;        ///< frames whose chain did not arrive whole; dropped
  std::uint64_t refill_short = 0;     ///< refills that the pool could not fill (no packet is lost by it)
  std::uint64_t restart_dropped = 0;  ///< frames that nobody had taken when the port was restarted
};
struct TxStats {
  std::uint64_t packets = 0;  ///< handed to the device
  std::uint64_t bytes = 0;
  std::uint64_t ring_full = 0;  ///< packets given back because the ring was full; the caller still owned them
  std::uint64_t rejected =
      0;  ///< packets that cannot be sent (too many segments, empty, offloads not set up); freed
  std::uint64_t bad_completions = 0;  ///< completions whose id the device may not write
  /// Packets that the device was given again by restart(): it has not said that it sent them, and may have.
  std::uint64_t sent_again = 0;
  std::uint64_t restart_dropped = 0;  ///< packets that a restart could not give the device again; freed
};

/// A queue's settings. The cache is the one of the lcore that will poll the queue.
template <PacketPool Packets>
struct QueueConfig {
  std::uint16_t ring_size = 0;  ///< entries: a power of two (virtio), a multiple of 8 (e1000); 0: the default
  typename Packets::Cache* cache = nullptr;
  /// RX: packets that the device holds at most; 0: as many as the ring takes, for the largest bursts. Fewer
  /// go round faster: they stay in the CPU's cache.
  std::uint16_t fill = 0;
};

template <PacketPool Packets>
struct PortConfig {
  std::vector<QueueConfig<Packets>> rx;
  std::vector<QueueConfig<Packets>> tx;
  bool promiscuous = true;   ///< receive frames for any address
  bool vlan_filter = false;  ///< receive tagged frames of the VLANs of set_vlan_filter() alone
  std::uint16_t mtu =
      0;  ///< bytes of payload of the longest frame; 0: the device's where it has one, else 1500
  Offloads offloads{};  ///< a part of PortInfo::offloads; others are refused
  RssConfig rss{};      ///< used with Offload::kRss
};

/// One of the device's own counters since start(), by DPDK's name where it has one ("rx_crc_errors").
struct NamedStat {
  std::string name;
  std::uint64_t value = 0;
};

/// When a device tells of used buffers by an interrupt: after so many packets, or that long after the first.
struct Coalescing {
  std::uint32_t max_packets = 0;
  std::uint32_t max_usecs = 0;
  bool operator==(const Coalescing&) const = default;
};

enum class Direction : bool { kRx, kTx };

/// Pause frames: IEEE 802.3, annex 31B. Both sides are set by hand: what they negotiated is not looked at.
struct FlowControl {
  bool rx = false;  ///< those of the other side are obeyed
  bool tx = false;  ///< they are sent when the device's receive buffer fills
  /// Bytes in that buffer from which the other side is to wait, and below which it may go on; 0: so that two
  /// more frames of the MTU fit, and one frame less.
  std::uint32_t high_water = 0;
  std::uint32_t low_water = 0;
  std::uint16_t pause_time = 0x680;  ///< how long it waits, in 512 bit times
  bool send_xon = true;              ///< it is told when it may go on before that
  bool operator==(const FlowControl&) const = default;
};

/// A device register as it was read: "CTRL", its offset in the register block, its value, and its fields in
/// words.
struct RegisterDump {
  std::string name;
  std::uint64_t offset = 0;
  std::uint64_t value = 0;
  std::string fields;
};

/// A queue as one pointer and one indirect call a burst. Copyable; valid from start() to stop(). Each queue
/// belongs to one lcore at a time.
template <PacketPool Packets>
class AnyRxQueue {
 public:
  using Packet = typename Packets::Packet;
  using Burst = std::uint16_t (*)(void* queue, Packet** out, std::uint16_t count) noexcept;
  AnyRxQueue() = default;
  AnyRxQueue(void* queue, Burst function) noexcept : queue_(queue), burst_(function) {}
  /// Receives up to out.size() frames into `out`; the caller owns them. Never blocks.
  [[nodiscard]] std::uint16_t burst(std::span<Packet*> out) const noexcept {
    return burst_(queue_, out.data(), static_cast<std::uint16_t>(out.size()));
  }

 private:
  void* queue_ = nullptr;
  Burst burst_ = nullptr;
};

/// Whether a sender calls again soon. kSoon is a promise: with it a queue may hold packets back to pass them
/// on in larger batches, until a call without it (a call with no packets will do).
enum class More : bool { kNo = false, kSoon = true };

/// The sending twin of AnyRxQueue.
template <PacketPool Packets>
class AnyTxQueue {
 public:
  using Packet = typename Packets::Packet;
  using Burst = std::uint16_t (*)(void* queue, Packet** packets, std::uint16_t count, More more) noexcept;
  AnyTxQueue() = default;
  AnyTxQueue(void* queue, Burst function) noexcept : queue_(queue), burst_(function) {}
  /// Sends frames; returns how many were taken, from the front. The rest still belong to the caller. A call
  /// with no packets reclaims finished ones, and says that the lcore has time: the queue may spend some of it
  /// in the next burst, so that the device waits less.
  [[nodiscard]] std::uint16_t burst(std::span<Packet*> packets, More more = More::kNo) const noexcept {
    return burst_(queue_, packets.data(), static_cast<std::uint16_t>(packets.size()), more);
  }

 private:
  void* queue_ = nullptr;
  Burst burst_ = nullptr;
};

/// A driver's own queue behind one function pointer: AnyRxQueue or AnyTxQueue of it. `Extra`: what its
/// burst() takes beside packets and count.
template <class Any, class Queue, class... Extra>
[[nodiscard]] Any erase(Queue& queue) noexcept {
  return Any(&queue,
             [](void* self, typename Queue::Packet** packets, std::uint16_t count, Extra... extra) noexcept
             -> std::uint16_t { return static_cast<Queue*>(self)->burst(packets, count, extra...); });
}

/// A NIC. Control plane, on one thread: the one that opened it; the queues are polled by lcores. Destroying a
/// port stops it, returns its packets to their pools and gives the device back.
template <PacketPool Packets>
class BasicPort {
 public:
  BasicPort() = default;
  BasicPort(const BasicPort&) = delete;
  BasicPort& operator=(const BasicPort&) = delete;
  virtual ~BasicPort() = default;

  [[nodiscard]] virtual const PortInfo& info() const noexcept = 0;

  /// Sets up the rings, fills RX and lets the device run. As many queues as the config lists. On an error the
  /// port is stopped and holds nothing.
  [[nodiscard]] virtual Result<void> start(const PortConfig<Packets>& config) = 0;
  /// Resets the device and returns every packet it held. No lcore may be in a burst. Idempotent. The
  /// statistics stay readable until the next start().
  virtual void stop() noexcept = 0;

  [[nodiscard]] virtual AnyRxQueue<Packets> rx(std::uint16_t queue) const noexcept = 0;
  [[nodiscard]] virtual AnyTxQueue<Packets> tx(std::uint16_t queue) const noexcept = 0;
  /// Names of the instantiations chosen at start: "virtio-net split rx mergeable".
  [[nodiscard]] virtual std::string rx_path() const = 0;
  [[nodiscard]] virtual std::string tx_path() const = 0;

  [[nodiscard]] virtual RxStats rx_stats(std::uint16_t queue) const noexcept = 0;
  [[nodiscard]] virtual TxStats tx_stats(std::uint16_t queue) const noexcept = 0;

  /// The device's own counters; empty where it has none.
  [[nodiscard]] virtual std::vector<NamedStat> extended_stats() { return {}; }
  /// The device's registers, without those that reading changes; empty where the driver has no list.
  [[nodiscard]] virtual std::vector<RegisterDump> registers() { return {}; }

  [[nodiscard]] virtual LinkState link() = 0;
  /// Readable when the device reports a change of its configuration (link); -1: poll link() instead.
  [[nodiscard]] virtual int link_event_fd() const noexcept { return -1; }
  /// Readable when the kernel wants the device back; -1: the bus has no such event.
  [[nodiscard]] virtual int removal_fd() const noexcept { return -1; }
  /// Takes note of an event that link_event_fd() reported.
  virtual void acknowledge_link_event() noexcept {}

  /// An error if the device has stopped by a fault (asked for a reset, broke a ring's rules, its switch went
  /// away): restart() mends it, or stop() and start().
  [[nodiscard]] virtual Result<void> check() = 0;
  /// False while a restart cannot succeed, since the other side is away (a vhost-user switch). Does not wait.
  [[nodiscard]] virtual bool may_restart() { return true; }
  /// Resets a device that was started and runs it again as it was started, with all statistics going on.
  /// Packets that it has not finished sending are sent again, in their order. Features are negotiated anew:
  /// the paths may be others. Received frames are to be taken before; what is left is dropped and counted.
  /// Handles to queues must be taken anew; no lcore may be in a burst. On an error the packets are kept for
  /// another try, until stop(), and there are no queues.
  [[nodiscard]] virtual Result<void> restart() { return unsupported("restarting with all packets"); }

  [[nodiscard]] virtual Result<void> set_promiscuous(bool on) = 0;
  [[nodiscard]] virtual Result<void> set_all_multicast(bool on) = 0;
  [[nodiscard]] virtual Result<void> set_mac(const MacAddress& mac) = 0;
  [[nodiscard]] virtual Result<void> set_mac_filter(std::span<const MacAddress> addresses) = 0;
  [[nodiscard]] virtual Result<void> set_vlan_filter(std::uint16_t vlan_id, bool on) = 0;

  // What only some devices can: kUnsupported from the others.

  /// Which of the RX offloads that start() was given are on, while the port runs. Frames on their way may
  /// still show the former.
  [[nodiscard]] virtual Result<void> set_rx_offloads(Offloads /*on*/) {
    return unsupported("changing offloads of a running port");
  }
  /// Spreads flows anew, while the port runs with Offload::kRss.
  [[nodiscard]] virtual Result<void> set_rss(const RssConfig& /*rss*/) { return unsupported("setting RSS"); }
  /// Of all queues of a direction, or of one.
  [[nodiscard]] virtual Result<void> set_coalescing(Direction /*direction*/, Coalescing /*wanted*/) {
    return unsupported("setting notification coalescing");
  }
  [[nodiscard]] virtual Result<void> set_coalescing(Direction /*direction*/, std::uint16_t /*queue*/,
                                                    Coalescing /*wanted*/) {
    return unsupported("setting notification coalescing of one queue");
  }
  [[nodiscard]] virtual Result<Coalescing> coalescing(Direction /*direction*/, std::uint16_t /*queue*/) {
    return unsupported("reading notification coalescing");
  }
  /// Stops one queue of a running port, whose packets return to their pool; the others go on. No lcore may be
  /// in a burst of it; bursts of a stopped queue take and yield nothing.
  [[nodiscard]] virtual Result<void> stop_queue(Direction /*direction*/, std::uint16_t /*queue*/) {
    return unsupported("stopping one queue");
  }
  /// Starts a queue that stop_queue() stopped; handles to it and its statistics stay as they were.
  [[nodiscard]] virtual Result<void> start_queue(Direction /*direction*/, std::uint16_t /*queue*/) {
    return unsupported("starting one queue");
  }
  /// Pause frames, from now on or from the next start. kBadArgument for marks that do not fit the buffer.
  [[nodiscard]] virtual Result<void> set_flow_control(const FlowControl& /*wanted*/) {
    return unsupported("setting flow control");
  }
  /// What was set, with its marks as the device has them.
  [[nodiscard]] virtual Result<FlowControl> flow_control() { return unsupported("reading flow control"); }
  /// With Offload::kRxTimestamp: when the packet with mempool::kRxTimestampKept came, by the device's clock.
  /// The device keeps one at a time: the next packet gets its own only after this was read. Nothing: none is
  /// kept.
  [[nodiscard]] virtual Result<std::optional<std::chrono::nanoseconds>> rx_timestamp() {
    return unsupported("reading a time of arrival");
  }
  /// The device's clock, which begins with 0 at start() and again when it has run over.
  [[nodiscard]] virtual Result<std::chrono::nanoseconds> device_time() {
    return unsupported("reading the device's clock");
  }
  /// How often the device has asked that this port make itself known to the network (its machine has moved):
  /// the application then sends a gratuitous ARP or its like. link() looks.
  [[nodiscard]] virtual std::uint64_t announcements() const noexcept { return 0; }

 protected:
  [[nodiscard]] tl::unexpected<Error> unsupported(const char* what) const {
    return fail(Errc::kUnsupported, what, info().name, 0, "This device or driver cannot do that");
  }
};

/// The port over the library's own packets: what most programs use.
using AnyPort = BasicPort<SpinringPackets>;

}  // namespace spinring::pmd
