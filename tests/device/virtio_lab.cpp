#include "tests/device/virtio_lab.hpp"

#include <algorithm>
#include <array>
#include <cstring>

namespace spinring::test {
namespace {

// Under the 8 MiB of locked memory that a user has without root.
constexpr std::size_t kLabMemory = 7;

pmd::QtestConfig machine_config(const LabConfig& config, const std::string& socket) {
  const std::string netdev =
      config.netdev.empty() ? "stream,id=n0,server=off,addr.type=unix,addr.path=" + socket : config.netdev;
  return {
      .netdevs = {netdev},
      .devices = {{"qtest0", config.model + ",netdev=n0,mac=" + pmd::to_string(kMac) + config.properties}}};
}

}  // namespace

Lab::Lab(const LabConfig& config)
    : memory(make_memory(kLabMemory)),
      pool(must(mempool::Pool::create(
          *memory, {.name = "lab", .packets = config.packets, .buffer_length = config.buffer_length}))),
      cache(std::make_unique<mempool::PoolCache>(*pool)) {
  if (config.netdev.empty()) peer = std::make_unique<FramePeer>(dir.file("wire"));
  machine = must(pmd::QtestMachine::start(*memory, machine_config(config, dir.file("wire"))));
  port = must(pmd::open_port(must(machine->function(0)), *memory));
}

Lab::~Lab() {
  port.reset();
  expect_whole_pool();
}

void Lab::start(const Run& run) {
  pmd::PortConfig<pmd::SpinringPackets> config;
  config.promiscuous = run.promiscuous;
  config.vlan_filter = run.vlan_filter;
  config.offloads = run.offloads;
  config.mtu = run.mtu;
  config.rss = run.rss;
  for (unsigned i = 0; i < run.queues; ++i) {
    config.rx.push_back({run.rx_ring, cache.get()});
    config.tx.push_back({run.tx_ring, cache.get()});
  }
  must(port->start(config));
}

void Lab::stop() {
  port->stop();
  expect_whole_pool();
}

void Lab::expect_refill_without_frames() {
  if constexpr (mempool::kPoolDebug) return;  // each packet goes through the pool there
  peer_send(make_frames(24, 100));
  std::vector<mempool::Packet*> kept;
  for (int i = 0; i < 24; ++i) {
    kept.push_back(receive_packet());
    ASSERT_NE(kept.back(), nullptr);
  }
  const auto rx = port->rx(0);
  const auto at_home = [this] { return cache->count() + pool->available(); };
  const std::uint32_t before = at_home();
  mempool::Packet* none = nullptr;
  EXPECT_EQ(rx.burst({&none, 1}), 0U);
  EXPECT_EQ(at_home(), before) << "the ring is more than half full";
  cache->recycle(kept);
  EXPECT_EQ(cache->reusable(), kept.size());
  EXPECT_EQ(rx.burst({&none, 1}), 0U);
  EXPECT_EQ(cache->reusable(), 0U);
  EXPECT_EQ(at_home(), before) << "all that came back is the device's again";
}
void Lab::stop_with_frames_under_way(std::uint32_t seed) {
  expect_traffic(seed);
  const std::vector<Frame> frames = make_frames(40, 300);
  peer_send(frames);
  send(frames, 40);
  stop();
  EXPECT_EQ(port->tx_stats(0).packets, 41U) << "statistics stay readable";
  stop();  // idempotent
  // What QEMU still had in hand.
  while (peer->receive(Deadline(20ms))) {
  }
}

void Lab::expect_whole_pool() {
  cache->flush();
  EXPECT_EQ(pool->available(), pool->capacity());
}

mempool::Packet* Lab::packet(const Frame& frame, std::size_t segment) {
  mempool::Packet* head = nullptr;
  mempool::Packet* tail = nullptr;
  for (std::size_t done = 0; done < frame.size();) {
    mempool::Packet* part = cache->get();
    if (part == nullptr) throw std::runtime_error("the lab's pool is empty");
    const std::size_t room = part->buffer_length - mempool::Packet::kDefaultDataOffset;
    const auto length = static_cast<std::uint16_t>(std::min({room, segment, frame.size() - done}));
    part->reset(length);
    std::memcpy(part->data(), frame.data() + done, length);
    done += length;
    if (head == nullptr) {
      head = part;
    } else {
      tail->next = part;
      head->segments = static_cast<std::uint16_t>(head->segments + 1);
      head->packet_length += length;
    }
    tail = part;
  }
  return head;
}

void Lab::send(const std::vector<Frame>& frames, std::size_t burst, std::uint16_t queue) {
  const Deadline deadline(kPatience);
  const auto tx = port->tx(queue);
  for (std::size_t first = 0; first < frames.size(); first += burst) {
    std::vector<mempool::Packet*> packets;
    const std::size_t last = std::min(first + burst, frames.size());
    for (std::size_t i = first; i < last; ++i) packets.push_back(packet(frames[i]));
    std::span<mempool::Packet*> left(packets);
    while (!left.empty() && !deadline.passed()) left = left.subspan(tx.burst(left));
    EXPECT_TRUE(left.empty()) << "the ring stayed full";
    for (mempool::Packet* unsent : left) cache->put_chain(unsent);
  }
}

std::vector<Frame> Lab::receive(std::size_t count, std::size_t burst, std::uint16_t queue,
                                Clock::duration patience) {
  std::vector<Frame> frames;
  std::vector<mempool::Packet*> packets(burst);
  const auto rx = port->rx(queue);
  const auto all_came = [&] {
    while (frames.size() < count) {
      const std::size_t wanted = std::min(burst, count - frames.size());
      const std::size_t got = rx.burst(std::span(packets).first(wanted));
      EXPECT_LE(got, wanted);
      if (got == 0) return false;
      for (std::size_t i = 0; i < got; ++i) {
        frames.push_back(bytes_of(packets[i]));
        cache->put_chain(packets[i]);
      }
    }
    return true;
  };
  (void)wait_until(all_came, Deadline(patience));
  return frames;
}

mempool::Packet* Lab::receive_packet(std::uint16_t queue, Clock::duration patience) {
  mempool::Packet* packet = nullptr;
  const auto rx = port->rx(queue);
  (void)wait_until([&] { return rx.burst({&packet, 1}) == 1; }, Deadline(patience));
  return packet;
}

void Lab::peer_send(const std::vector<Frame>& frames) {
  for (const Frame& frame : frames) ASSERT_TRUE(peer->send(frame, Deadline(kPatience)));
}

std::vector<Frame> Lab::peer_receive(std::size_t count, Clock::duration patience) {
  std::vector<Frame> frames;
  const Deadline deadline(patience);
  while (frames.size() < count) {
    std::optional<Frame> frame = peer->receive(deadline);
    if (!frame) break;
    frames.push_back(std::move(*frame));
  }
  return frames;
}

void Lab::expect_traffic(std::uint32_t seed) {
  const std::vector<Frame> frames{make_frame(99, seed, kMac)};
  peer_send(frames);
  EXPECT_EQ(receive(1), frames);
  send(frames);
  EXPECT_EQ(peer_receive(1), frames);
}

Frame bytes_of(const mempool::Packet* head) {
  Frame frame;
  unsigned segments = 0;
  for (const mempool::Packet* part = head; part != nullptr; part = part->next) {
    EXPECT_LE(part->data_offset + part->data_length, part->buffer_length);
    const auto* data = reinterpret_cast<const std::uint8_t*>(part->data());
    frame.insert(frame.end(), data, data + part->data_length);
    ++segments;
  }
  EXPECT_EQ(segments, head->segments);
  EXPECT_EQ(frame.size(), head->packet_length);
  return frame;
}

std::vector<Frame> make_frames(std::size_t count, std::size_t length, std::uint32_t first_seed) {
  std::vector<Frame> frames;
  for (std::size_t i = 0; i < count; ++i) {
    frames.push_back(make_frame(length, first_seed + static_cast<std::uint32_t>(i), kMac));
  }
  return frames;
}

}  // namespace spinring::test
