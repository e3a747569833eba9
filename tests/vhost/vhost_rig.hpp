#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "mempool/memory.hpp"
#include "mempool/pool.hpp"
#include "pmd/port.hpp"
#include "tests/vhost/dpdk_switch.hpp"

namespace spinring::vhost_test {

/// Asserts that a result is no error.
#define ASSERT_DONE(result)                                                \
  do {                                                                     \
    const auto& good_result = (result);                                    \
    ASSERT_TRUE(good_result.has_value()) << good_result.error().message(); \
  } while (false)

/// A frame of `length` bytes that no other (seed, length) makes.
[[nodiscard]] Frame make_frame(std::uint32_t seed, std::size_t length);

struct VhostConfig {
  bool packed = false;
  bool mergeable = true;
  bool in_order = false;
  pmd::Offloads offloads{};
  std::uint16_t queues = 1;
  std::uint16_t ring = 256;
  std::uint16_t buffer_length = 2304;
  bool server = false;  ///< the port listens, the switch connects
  bool aligned = true;  ///< received frames begin on a cache line
};

/// A port on a vhost-user socket with what a program puts around it, and DPDK's vhost at the other end. When
/// it goes it checks that every packet came back.
class VhostRig {
 public:
  explicit VhostRig(const VhostConfig& config);
  VhostRig(const VhostRig&) = delete;
  VhostRig& operator=(const VhostRig&) = delete;
  ~VhostRig();

  /// The switch comes, or goes and closes the connection.
  void plug(std::uint64_t withheld = 0);
  void unplug();
  /// Plugs, opens and starts the port.
  void open_and_start();
  void start();
  /// Until the port may be restarted, then does it.
  void restart();

  [[nodiscard]] mempool::Packet* packet(const Frame& frame);
  /// Sends what `packets` are; all must be taken.
  void send(std::span<mempool::Packet*> packets, std::uint16_t queue = 0);
  /// What the port received, `most` frames at most.
  [[nodiscard]] std::vector<mempool::Packet*> receive(std::size_t most, std::uint16_t queue = 0);
  /// What the switch took: waits until that many packets came; a burst more may.
  [[nodiscard]] std::vector<SwitchPacket> collect(std::size_t count, std::uint16_t queue = 0);

  std::unique_ptr<DpdkSwitch> far;
  std::shared_ptr<mempool::Memory> memory;
  std::unique_ptr<mempool::Pool> pool;
  std::unique_ptr<mempool::PoolCache> cache;
  std::unique_ptr<pmd::AnyPort> port;

 private:
  void await_switch();

  VhostConfig config_;
  std::string folder_;
};

[[nodiscard]] Frame bytes_of(const mempool::Packet* head);

}  // namespace spinring::vhost_test
