#include "tests/unit/pmd/virtio_rig.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "tests/pattern.hpp"

namespace spinring::pmd {

sim::SimNetConfig without(std::uint64_t features) {
  sim::SimNetConfig config;
  config.features &= ~features;
  return config;
}

sim::SimNetConfig with(std::uint64_t features) {
  sim::SimNetConfig config;
  config.features |= features;
  return config;
}

Bytes make_frame(std::uint32_t seed, std::size_t length) {
  Bytes frame(length);
  test::fill_pattern(std::span(frame), seed * 2654435761U + static_cast<std::uint32_t>(length) + 1);
  return frame;
}

std::shared_ptr<mempool::Memory> take_memory(std::size_t bytes) {
  auto made = mempool::Memory::create({.bytes = bytes, .hugepages = false});
  if (!made) throw std::runtime_error(made.error().message());
  return std::move(*made);
}

Rig::Rig(const RigConfig& config)
    : device(config.device),
      memory(config.memory ? config.memory : take_memory(config.memory_bytes)),
      config_(config) {
  auto attached = memory->attach(device.iommu());
  if (!attached) throw std::runtime_error(attached.error().message());
  attachment = std::move(*attached);
  auto pool_made = mempool::Pool::create(
      *memory, {.name = "rig", .packets = config.packets, .buffer_length = config.buffer_length});
  if (!pool_made) throw std::runtime_error(pool_made.error().message());
  pool = std::move(*pool_made);
  cache = std::make_unique<mempool::PoolCache>(*pool);
}

Rig::~Rig() { expect_whole(); }

void Rig::expect_whole() {
  if (port) port->stop();
  port.reset();
  cache->flush();
  EXPECT_EQ(pool->available(), pool->capacity()) << "packets are missing";
  EXPECT_FALSE(device.is_open()) << "the function was not given back";
  EXPECT_FALSE(device.iommu().bus_master()) << "the device may still do DMA";
  EXPECT_EQ(device.accesses_outside_bar(), 0U);
  if (forgiven_) return;
  EXPECT_EQ(device.violations(), std::vector<std::string>{});
  EXPECT_TRUE(device.iommu().faults().empty()) << device.iommu().faults().size() << " DMA faults";
}

Result<void> Rig::open() {
  auto opened = open_port(device.function(), *memory);
  if (!opened) return fail(std::move(opened));
  port = std::move(*opened);
  return {};
}

PortConfig<SpinringPackets> Rig::port_config() {
  PortConfig<SpinringPackets> config;
  config.rx.assign(config_.queues, {config_.ring_size, cache.get()});
  config.tx.assign(config_.queues, {config_.ring_size, cache.get()});
  config.offloads = config_.offloads;
  return config;
}

void Rig::open_and_start() {
  ASSERT_OK(open());
  ASSERT_OK(start());
}

mempool::Packet* Rig::packet(std::span<const std::byte> frame) {
  const std::array lengths{frame.size()};
  return chain(frame, lengths);
}

mempool::Packet* Rig::chain(std::span<const std::byte> frame, std::span<const std::size_t> lengths) {
  mempool::Packet* head = nullptr;
  mempool::Packet* tail = nullptr;
  for (const std::size_t length : lengths) {
    mempool::Packet* const segment = cache->get();
    if (segment == nullptr) throw std::runtime_error("the rig's pool is empty");
    segment->reset(static_cast<std::uint16_t>(length));
    std::ranges::copy(frame.first(length), segment->data());
    frame = frame.subspan(length);
    if (head == nullptr) {
      head = segment;
    } else {
      tail->next = segment;
      head->segments = static_cast<std::uint16_t>(head->segments + 1);
      head->packet_length += static_cast<std::uint32_t>(length);
    }
    tail = segment;
  }
  return head;
}

bool Rig::send(mempool::Packet* packet, std::uint16_t queue) {
  std::array packets{packet};
  return port->tx(queue).burst(packets) == 1;
}

void Rig::reclaim(std::uint16_t queue) { EXPECT_EQ(port->tx(queue).burst({}), 0); }

Bytes bytes_of(mempool::Packet* head) {
  Bytes bytes;
  std::size_t segments = 0;
  for (mempool::Packet* segment = head; segment != nullptr; segment = segment->next) {
    EXPECT_LE(segment->data_offset + std::uint32_t{segment->data_length}, segment->buffer_length);
    const std::span<std::byte> data = segment->bytes();
    bytes.insert(bytes.end(), data.begin(), data.end());
    ++segments;
  }
  EXPECT_EQ(bytes.size(), head->packet_length);
  EXPECT_EQ(segments, head->segments);
  return bytes;
}

std::vector<mempool::Packet*> Rig::receive_packets(std::uint16_t queue, std::size_t most) {
  std::vector<mempool::Packet*> packets(most);
  const std::uint16_t count = port->rx(queue).burst(packets);
  EXPECT_LE(count, most);
  packets.resize(std::min<std::size_t>(count, most));
  return packets;
}

Frames Rig::receive(std::uint16_t queue, std::size_t most) {
  Frames frames;
  for (mempool::Packet* head : receive_packets(queue, most)) {
    frames.push_back(bytes_of(head));
    cache->put_chain(head);
  }
  return frames;
}

Frames Rig::sent(std::uint16_t pair) {
  Frames frames;
  for (sim::SentFrame& frame : device.collect(pair)) frames.push_back(std::move(frame.bytes));
  return frames;
}

}  // namespace spinring::pmd
