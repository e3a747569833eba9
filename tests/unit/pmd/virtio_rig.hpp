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
#include "pmd/errors.hpp"
#include "pmd/open.hpp"
#include "pmd/port.hpp"
#include "tests/sim/sim_virtio_net.hpp"

namespace spinring::pmd {

using Bytes = std::vector<std::byte>;
using Frames = std::vector<Bytes>;

/// The usual device less these features.
[[nodiscard]] sim::SimNetConfig without(std::uint64_t features);
/// The usual device, which offers these as well: packed rings, IN_ORDER and their like only so.
[[nodiscard]] sim::SimNetConfig with(std::uint64_t features);

/// A frame of `length` bytes that no other (seed, length) makes.
[[nodiscard]] Bytes make_frame(std::uint32_t seed, std::size_t length);

struct RigConfig {
  sim::SimNetConfig device;
  std::uint32_t packets = 512;
  std::uint16_t buffer_length = 2304;
  std::uint16_t ring_size = 0;
  std::uint16_t queues = 1;
  Offloads offloads{};
  std::size_t memory_bytes = 2U << 20;
  /// Memory that several rigs use one after the other (taking it from the kernel is what costs time).
  std::shared_ptr<mempool::Memory> memory;
};

[[nodiscard]] std::shared_ptr<mempool::Memory> take_memory(std::size_t bytes);

/// The driver and a simulated device with everything that a program would put around them: memory, mapper,
/// pool, one cache, the port. When it goes it checks what must hold after any story: every packet back in the
/// pool, no MUST broken, no DMA outside the mapped memory, no register access outside the BAR.
class Rig {
 public:
  explicit Rig(const RigConfig& config = {});
  Rig(const Rig&) = delete;
  Rig& operator=(const Rig&) = delete;
  ~Rig();

  /// Opens the port on a fresh function of the device.
  [[nodiscard]] Result<void> open();
  [[nodiscard]] PortConfig<SpinringPackets> port_config();
  [[nodiscard]] Result<void> start() { return port->start(port_config()); }
  /// Of the next start.
  void set_offloads(Offloads offloads) noexcept { config_.offloads = offloads; }
  /// Both, and both must work.
  void open_and_start();
  /// The story of a device that breaks rules may leave complaints of the simulated one: they are its own.
  void forgive_device() noexcept { forgiven_ = true; }
  /// Everything back and in order; also called by the destructor.
  void expect_whole();

  [[nodiscard]] mempool::Packet* packet(std::span<const std::byte> frame);
  /// A chain whose segments have these lengths.
  [[nodiscard]] mempool::Packet* chain(std::span<const std::byte> frame,
                                       std::span<const std::size_t> lengths);
  /// Sends one frame; true if it was taken.
  bool send(mempool::Packet* packet, std::uint16_t queue = 0);
  /// Receives up to `most` frames in one burst, checks that each lies in its buffers, gives the packets back.
  Frames receive(std::uint16_t queue = 0, std::size_t most = 64);
  /// The same, and the packets are the caller's: for what is noted in them.
  std::vector<mempool::Packet*> receive_packets(std::uint16_t queue = 0, std::size_t most = 64);
  /// Finished TX packets come back.
  void reclaim(std::uint16_t queue = 0);
  /// Frames that the device saw.
  Frames sent(std::uint16_t pair = 0);

  // Teardown runs upwards: the port first, the device that it talks to last.
  sim::SimVirtioNet device;
  std::shared_ptr<mempool::Memory> memory;
  mempool::Attachment attachment;
  std::unique_ptr<mempool::Pool> pool;
  std::unique_ptr<mempool::PoolCache> cache;
  std::unique_ptr<AnyPort> port;

 private:
  RigConfig config_;
  bool forgiven_ = false;
};

/// The bytes of a frame, of all its segments; checks that each segment lies inside its buffer and that the
/// head's sums are right.
[[nodiscard]] Bytes bytes_of(mempool::Packet* head);

/// Asserts that a result is an error with this code, and that its message has this text in it.
#define EXPECT_FAILS(result, errc, text)                                                               \
  do {                                                                                                 \
    const auto& failing_result = (result);                                                             \
    ASSERT_FALSE(failing_result.has_value()) << "no error";                                            \
    EXPECT_EQ(failing_result.error().code, make_error_code(errc)) << failing_result.error().message(); \
    EXPECT_NE(failing_result.error().message().find(text), std::string::npos)                          \
        << failing_result.error().message();                                                           \
  } while (false)

/// Asserts that a result is no error.
#define ASSERT_OK(result)                                                  \
  do {                                                                     \
    const auto& good_result = (result);                                    \
    ASSERT_TRUE(good_result.has_value()) << good_result.error().message(); \
  } while (false)

}  // namespace spinring::pmd
