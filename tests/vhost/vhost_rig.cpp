#include "tests/vhost/vhost_rig.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <stdexcept>

#include "base/time.hpp"
#include "pmd/open.hpp"
#include "tests/pattern.hpp"

namespace spinring::vhost_test {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kMemoryBytes = 64UL << 20;

/// Taken once: what costs time is to get it from the kernel.
std::shared_ptr<mempool::Memory> memory_of_all() {
  static const std::shared_ptr<mempool::Memory> memory = [] {
    auto made = mempool::Memory::create({.bytes = kMemoryBytes, .hugepages = false});
    if (!made) throw std::runtime_error(made.error().message());
    return std::shared_ptr<mempool::Memory>(std::move(*made));
  }();
  return memory;
}

}  // namespace

Frame make_frame(std::uint32_t seed, std::size_t length) {
  Frame frame(length);
  test::fill_pattern(std::span(frame), seed * 2654435761U + static_cast<std::uint32_t>(length) + 1);
  return frame;
}

Frame bytes_of(const mempool::Packet* head) {
  Frame bytes;
  for (const mempool::Packet* segment = head; segment != nullptr; segment = segment->next) {
    const auto* data = reinterpret_cast<const std::uint8_t*>(segment->data());
    bytes.insert(bytes.end(), data, data + segment->data_length);
  }
  EXPECT_EQ(bytes.size(), head->packet_length);
  return bytes;
}

VhostRig::VhostRig(const VhostConfig& config)
    : memory(memory_of_all()), config_(config), folder_(make_folder()) {
  // Both rings of each queue full, a cache of the lcore, and some in the test's hands.
  const auto packets = static_cast<std::uint32_t>(2U * config.queues * config.ring + 512);
  auto made = mempool::Pool::create(*memory, {"vhost", packets, config.buffer_length});
  if (!made) throw std::runtime_error(made.error().message());
  pool = std::move(*made);
  cache = std::make_unique<mempool::PoolCache>(*pool);
}

VhostRig::~VhostRig() {
  port.reset();
  cache->flush();
  EXPECT_EQ(pool->available(), pool->capacity()) << "packets are missing";
  far.reset();
  std::filesystem::remove_all(folder_);
}

void VhostRig::plug(std::uint64_t withheld) {
  unplug();
  far = std::make_unique<DpdkSwitch>(SwitchConfig{folder_ + "/sock", config_.server, withheld});
}

void VhostRig::unplug() {
  far.reset();
  if (port) {
    EXPECT_TRUE(wait_until([&] { return !port->link().up; }, Deadline(10s), 1ms));
  }
}

void VhostRig::open_and_start() {
  plug();
  const std::string vdev = fmt::format(
      "virtio_user0,path={}/"
      "sock,queues={},queue_size={},packed={:d},mrg_rxbuf={:d},in_order={:d},server={:d},aligned={:d}",
      folder_, config_.queues, config_.ring, config_.packed, config_.mergeable, config_.in_order,
      config_.server, config_.aligned);
  auto opened = pmd::open_virtio_user(vdev, *memory);
  ASSERT_DONE(opened);
  port = std::move(*opened);
  start();
}

void VhostRig::start() {
  pmd::PortConfig<pmd::SpinringPackets> config;
  config.rx.assign(config_.queues, {config_.ring, cache.get()});
  config.tx.assign(config_.queues, {config_.ring, cache.get()});
  config.offloads = config_.offloads;
  ASSERT_DONE(port->start(config));
  await_switch();
}

void VhostRig::restart() {
  ASSERT_TRUE(wait_until([&] { return port->may_restart(); }, Deadline(10s), 1ms));
  ASSERT_DONE(port->restart());
  await_switch();
}

/// DPDK's thread answers the port's messages first, and tells of the device then.
void VhostRig::await_switch() {
  ASSERT_TRUE(wait_until([&] { return far->rings() == 2U * config_.queues; }, Deadline(10s), 1ms));
}

mempool::Packet* VhostRig::packet(const Frame& frame) {
  mempool::Packet* const packet = cache->get();
  if (packet == nullptr) throw std::runtime_error("the rig's pool is empty");
  packet->reset(static_cast<std::uint16_t>(frame.size()));
  std::memcpy(packet->data(), frame.data(), frame.size());
  return packet;
}

void VhostRig::send(std::span<mempool::Packet*> packets, std::uint16_t queue) {
  ASSERT_EQ(port->tx(queue).burst(packets), packets.size());
}

std::vector<mempool::Packet*> VhostRig::receive(std::size_t most, std::uint16_t queue) {
  std::vector<mempool::Packet*> packets(most);
  packets.resize(port->rx(queue).burst(packets));
  return packets;
}

std::vector<SwitchPacket> VhostRig::collect(std::size_t count, std::uint16_t queue) {
  std::vector<SwitchPacket> all;
  // DPDK yields nothing while its thread is still busy with the port's last message.
  EXPECT_TRUE(wait_until(
      [&] {
        std::ranges::move(far->collect(queue), std::back_inserter(all));
        return all.size() >= count;
      },
      Deadline(10s)));
  return all;
}

}  // namespace spinring::vhost_test
