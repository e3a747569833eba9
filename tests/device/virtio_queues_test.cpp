// Several queue pairs. QEMU's socket netdevs have one queue; a tap has as many as it is asked for. So these
// tests run in a network namespace of their own with a tap in it (as root, or through a user namespace), and
// the far end is a packet socket.

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <set>
#include <thread>

#include "pmd/errors.hpp"
#include "tests/device/tap_net.hpp"
#include "tests/device/virtio_lab.hpp"

namespace spinring::test {
namespace {

constexpr std::size_t kUdpHeader = 14 + 20 + 8;
constexpr std::uint32_t kMagic = 0x73706e72;

/// A UDP frame of flow `flow` with number `number` in it: taps spread flows over their queues.
Frame flow_frame(std::uint16_t flow, std::uint32_t number) {
  Frame frame = make_frame(100, number, kMac);
  const std::uint8_t headers[] = {0x08, 0, 0x45, 0,  0, 86, 0, 0,  0, 0, 64,
                                  17,   0, 0,    10, 0, 0,  1, 10, 0, 0, 2};
  std::memcpy(frame.data() + 12, headers, sizeof headers);
  std::uint32_t sum = 0;
  for (std::size_t i = 14; i < 34; i += 2) sum += static_cast<std::uint32_t>(frame[i] << 8 | frame[i + 1]);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  frame[24] = static_cast<std::uint8_t>(~sum >> 8);
  frame[25] = static_cast<std::uint8_t>(~sum);
  const std::uint8_t udp[] = {static_cast<std::uint8_t>(0x40 | (flow >> 8 & 0x3f)),
                              static_cast<std::uint8_t>(flow),
                              0x12,
                              0x34,
                              0,
                              66,
                              0,
                              0};
  std::memcpy(frame.data() + 34, udp, sizeof udp);
  std::memcpy(frame.data() + kUdpHeader, &kMagic, sizeof kMagic);
  std::memcpy(frame.data() + kUdpHeader + 4, &number, sizeof number);
  return frame;
}

/// The number in one of our frames; nothing for what the kernel sends by itself (neighbour discovery and the
/// like).
std::optional<std::uint32_t> number_of(const Frame& frame) {
  if (frame.size() < kUdpHeader + 8 || std::memcmp(frame.data() + kUdpHeader, &kMagic, sizeof kMagic) != 0) {
    return std::nullopt;
  }
  std::uint32_t number = 0;
  std::memcpy(&number, frame.data() + kUdpHeader + 4, sizeof number);
  return number;
}

/// The next frame of ours that the device sent.
std::optional<Frame> next_of(const TapPeer& peer, Deadline deadline) {
  while (true) {
    std::optional<Frame> frame = peer.receive(deadline);
    if (!frame || number_of(*frame)) return frame;
  }
}

LabConfig tap_config(unsigned queues) {
  const std::string count = std::to_string(queues);
  return {.properties = ",mq=on,vectors=" + std::to_string(2 * queues + 2),
          .netdev =
              std::string("tap,id=n0,script=no,downscript=no,vhost=off,ifname=") + kTap + ",queues=" + count};
}

class Queues : public testing::TestWithParam<unsigned> {};

TEST_P(Queues, FramesArriveOnAllAndLeaveByAll) {
  const unsigned queues = GetParam();
  Lab lab(tap_config(queues));
  const TapPeer peer;
  EXPECT_EQ(lab.port->info().max_rx_queues, queues);
  EXPECT_EQ(lab.port->info().max_tx_queues, queues);
  lab.start({.queues = static_cast<std::uint16_t>(queues)});

  constexpr std::uint32_t kCount = 2000;
  std::set<std::uint32_t> numbers;
  std::vector<unsigned> by_queue(queues);
  std::uint32_t next = 0;
  const Deadline deadline(kPatience);
  while (numbers.size() < kCount && !deadline.passed()) {
    // In portions that the tap's queue holds: a tap drops what nobody fetches.
    for (; next < kCount && next < numbers.size() + 100; ++next)
      peer.send(flow_frame(static_cast<std::uint16_t>(next % 64), next));
    for (std::uint16_t queue = 0; queue < queues; ++queue) {
      for (const Frame& frame : lab.receive(32, 32, queue, 0s)) {
        const std::optional<std::uint32_t> number = number_of(frame);
        if (!number) continue;
        EXPECT_EQ(frame, flow_frame(static_cast<std::uint16_t>(*number % 64), *number));
        EXPECT_TRUE(numbers.insert(*number).second) << "received twice";
        ++by_queue[queue];
      }
    }
  }
  EXPECT_EQ(numbers.size(), kCount);
  for (unsigned queue = 0; queue < queues; ++queue) EXPECT_GT(by_queue[queue], 0U) << "queue " << queue;

  for (std::uint16_t queue = 0; queue < queues; ++queue) {
    std::vector<Frame> frames;
    for (std::uint32_t i = 0; i < 100; ++i) frames.push_back(flow_frame(queue, queue * 1000U + i));
    lab.send(frames, 32, queue);
    for (const Frame& frame : frames)
      EXPECT_EQ(next_of(peer, Deadline(kPatience)), frame) << "queue " << queue;
    EXPECT_EQ(lab.port->tx_stats(queue).packets, frames.size());
  }
  lab.stop();
}

TEST_P(Queues, AThreadForEachQueueEchoesAll) {
  const unsigned queues = GetParam();
  Lab lab(tap_config(queues));
  const TapPeer peer;
  std::vector<std::unique_ptr<mempool::PoolCache>> caches;
  pmd::PortConfig<pmd::SpinringPackets> config;
  for (unsigned i = 0; i < queues; ++i) {
    caches.push_back(std::make_unique<mempool::PoolCache>(*lab.pool));
    config.rx.push_back({128, caches.back().get()});
    config.tx.push_back({128, caches.back().get()});
  }
  must(lab.port->start(config));

  std::atomic<bool> stop = false;
  std::vector<std::thread> lcores;
  for (std::uint16_t queue = 0; queue < queues; ++queue) {
    lcores.emplace_back([&, queue] {
      const auto rx = lab.port->rx(queue);
      const auto tx = lab.port->tx(queue);
      mempool::Packet* packets[32];
      while (!stop.load()) {
        std::span<mempool::Packet*> left(packets, rx.burst(packets));
        // Two CPUs, and more threads than that: let QEMU run where there is nothing to do.
        if (left.empty()) std::this_thread::yield();
        while (!left.empty() && !stop.load()) left = left.subspan(tx.burst(left));
        for (mempool::Packet* packet : left) caches[queue]->put_chain(packet);
      }
    });
  }
  constexpr std::uint32_t kCount = 2000;
  std::set<std::uint32_t> echoed;
  std::uint32_t next = 0;
  const Deadline deadline(kPatience);
  while (echoed.size() < kCount && !deadline.passed()) {
    for (; next < kCount && next < echoed.size() + 100; ++next) {
      peer.send(flow_frame(static_cast<std::uint16_t>(next % 64), next));
      must(lab.port->check());  // the control plane uses the same socket to QEMU
    }
    while (const std::optional<Frame> frame = next_of(peer, Deadline(1ms))) {
      const std::uint32_t number = number_of(*frame).value();
      EXPECT_EQ(*frame, flow_frame(static_cast<std::uint16_t>(number % 64), number));
      EXPECT_TRUE(echoed.insert(number).second) << "echoed twice";
    }
  }
  stop.store(true);
  for (std::thread& lcore : lcores) lcore.join();
  EXPECT_EQ(echoed.size(), kCount);
  lab.port->stop();
  caches.clear();
  lab.expect_whole_pool();
}

INSTANTIATE_TEST_SUITE_P(Virtio, Queues, testing::Values(1U, 2U, 3U, 4U),
                         [](const auto& test) { return std::to_string(test.param); });

TEST(Queues, OneHundredAndTwentyEightPairs) {
  constexpr std::uint16_t kPairs = 128;
  LabConfig config = tap_config(kPairs);
  config.packets = 5000;
  config.buffer_length = 1024;
  Lab lab(config);
  const TapPeer peer;
  EXPECT_EQ(lab.port->info().max_rx_queues, kPairs);
  lab.start({.queues = kPairs, .rx_ring = 16, .tx_ring = 16, .mtu = 800});
  for (std::uint16_t queue = 0; queue < kPairs; ++queue) {
    const Frame frame = flow_frame(queue, queue);
    lab.send({frame}, 32, queue);
    ASSERT_EQ(next_of(peer, Deadline(kPatience)), frame) << "queue " << queue;
  }
  // Twice as many flows as queues: by which queue each comes is the tap's choice, but not all by a few.
  constexpr std::uint16_t kFlows = 2 * kPairs;
  std::set<std::uint32_t> numbers;
  std::set<std::uint16_t> used;
  for (std::uint16_t flow = 0; flow < kFlows; ++flow) peer.send(flow_frame(flow, flow));
  const Deadline deadline(kPatience);
  while (numbers.size() < kFlows && !deadline.passed()) {
    for (std::uint16_t queue = 0; queue < kPairs; ++queue) {
      for (const Frame& frame : lab.receive(32, 32, queue, 0s)) {
        const std::optional<std::uint32_t> number = number_of(frame);
        if (!number) continue;
        EXPECT_EQ(frame, flow_frame(static_cast<std::uint16_t>(*number), *number));
        EXPECT_TRUE(numbers.insert(*number).second) << "received twice";
        used.insert(queue);
      }
    }
  }
  EXPECT_EQ(numbers.size(), kFlows);
  EXPECT_GT(used.size(), kPairs / 4U);
  lab.stop();
}

TEST(Queues, FewerThanTheDeviceHasMayBeUsed) {
  Lab lab(tap_config(4));
  const TapPeer peer;
  for (const std::uint16_t queues :
       {std::uint16_t{1}, std::uint16_t{3}, std::uint16_t{4}, std::uint16_t{2}}) {
    lab.start({.queues = queues});
    // Whatever the flow, it arrives on a queue that is polled.
    std::size_t received = 0;
    for (std::uint16_t flow = 0; flow < 64; ++flow) peer.send(flow_frame(flow, flow));
    const Deadline deadline(kPatience);
    while (received < 64 && !deadline.passed()) {
      for (std::uint16_t queue = 0; queue < queues; ++queue) {
        for (const Frame& frame : lab.receive(32, 32, queue, 0s)) received += number_of(frame) ? 1 : 0;
      }
    }
    EXPECT_EQ(received, 64U) << queues << " queues";
    lab.stop();
  }
  pmd::PortConfig<pmd::SpinringPackets> config;
  for (int i = 0; i < 5; ++i) {
    config.rx.push_back({0, lab.cache.get()});
    config.tx.push_back({0, lab.cache.get()});
  }
  const auto refused = lab.port->start(config);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, pmd::Errc::kBadArgument);
}

}  // namespace
}  // namespace spinring::test
