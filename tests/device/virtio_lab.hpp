#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "mempool/memory.hpp"
#include "mempool/pool.hpp"
#include "pmd/bus/qtest/qtest_machine.hpp"
#include "pmd/open.hpp"
#include "pmd/port.hpp"
#include "tests/device/rig.hpp"

namespace spinring::test {

using namespace std::chrono_literals;
using Port = pmd::AnyPort;

inline constexpr pmd::MacAddress kMac{0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
/// Long enough for a machine whose CPUs are all taken; a test that waits this long has failed.
inline constexpr auto kPatience = 10s;

struct LabConfig {
  /// Of the model, each with a comma in front: ",mrg_rxbuf=off".
  std::string properties;
  /// Argument of -netdev after its id; empty: a cable to Lab::peer.
  std::string netdev;
  std::uint32_t packets = 2048;
  std::uint16_t buffer_length = 2304;
  std::string model = "virtio-net-pci";
};

/// Settings of start() with the same queues in both directions.
struct Run {
  std::uint16_t queues = 1;
  std::uint16_t rx_ring = 0;
  std::uint16_t tx_ring = 0;
  bool promiscuous = true;
  bool vlan_filter = false;
  std::uint16_t mtu = 0;
  pmd::Offloads offloads{};
  pmd::RssConfig rss{};
};

/// A QEMU device model on a cable, driven by our driver: all that a program would put around a port, and
/// the cable's far end. When it goes it checks that the pool is whole.
class Lab {
 public:
  explicit Lab(const LabConfig& config = {});
  Lab(const Lab&) = delete;
  Lab& operator=(const Lab&) = delete;
  ~Lab();

  void start(const Run& run = {});
  /// Stops the port and checks that every packet is back in the pool.
  void stop();

  /// A packet that holds the frame, spread over segments of at most `segment` bytes; never null.
  mempool::Packet* packet(const Frame& frame, std::size_t segment = 65535);
  /// Sends the frames in bursts of at most `burst`, waiting where the ring is full.
  void send(const std::vector<Frame>& frames, std::size_t burst = 32, std::uint16_t queue = 0);
  /// Receives `count` frames in bursts of at most `burst`; fewer at the deadline.
  std::vector<Frame> receive(std::size_t count, std::size_t burst = 32, std::uint16_t queue = 0,
                             Clock::duration patience = kPatience);
  /// The next packet, which is the caller's; nullptr if none came.
  mempool::Packet* receive_packet(std::uint16_t queue = 0, Clock::duration patience = kPatience);
  /// The far end's side: sends all, receives `count`.
  void peer_send(const std::vector<Frame>& frames);
  std::vector<Frame> peer_receive(std::size_t count, Clock::duration patience = kPatience);
  /// One frame each way, byte for byte: the port works.
  void expect_traffic(std::uint32_t seed = 1);
  /// With RX rings of 64: a poll that finds no frame gives the device the packets that have come back, and
  /// does not ask the pool while half of the ring is there.
  void expect_refill_without_frames();
  /// One frame each way, then stops with many under way in both directions: what the rings hold comes back.
  /// The wire is empty afterwards.
  void stop_with_frames_under_way(std::uint32_t seed);
  /// Nothing is held by anyone but the pool. Only while the port is stopped.
  void expect_whole_pool();

  // Teardown runs upwards: the port (its packets return) first; the memory that QEMU shares last.
  TempDir dir;
  std::unique_ptr<FramePeer> peer;
  std::unique_ptr<mempool::Memory> memory;
  std::unique_ptr<mempool::Pool> pool;
  std::unique_ptr<mempool::PoolCache> cache;
  std::unique_ptr<pmd::QtestMachine> machine;
  std::unique_ptr<Port> port;
};

/// The bytes of a frame over all its segments.
Frame bytes_of(const mempool::Packet* head);
/// `count` frames of `length` bytes to kMac; no two alike.
std::vector<Frame> make_frames(std::size_t count, std::size_t length, std::uint32_t first_seed = 1);

}  // namespace spinring::test
