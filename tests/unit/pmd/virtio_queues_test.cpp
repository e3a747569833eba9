// Several queue pairs, several lcores, a device that works at the same time.

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <thread>

#include "base/time.hpp"
#include "tests/sim/sim_runner.hpp"
#include "tests/unit/pmd/virtio_rig.hpp"

namespace spinring::pmd {
namespace {

using namespace std::chrono_literals;
using mempool::Packet;
using sim::feature;

RigConfig pairs(std::uint16_t there, std::uint16_t used) {
  RigConfig config;
  config.device.max_pairs = there;
  config.queues = used;
  config.ring_size = 32;
  return config;
}

TEST(Pairs, EachQueueCarriesItsOwnTraffic) {
  Rig rig(pairs(4, 4));
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  EXPECT_EQ(rig.device.control().active_pairs, 4);
  for (std::uint32_t round = 0; round < 100; ++round) {
    for (std::uint16_t q = 0; q < 4; ++q) {
      ASSERT_TRUE(rig.device.deliver(make_frame(round * 4 + q, 80), q));
      ASSERT_TRUE(rig.send(rig.packet(make_frame(round * 4 + q, 90)), q));
    }
    for (std::uint16_t q = 0; q < 4; ++q) {
      ASSERT_EQ(rig.receive(q), Frames{make_frame(round * 4 + q, 80)});
      ASSERT_EQ(rig.sent(q), Frames{make_frame(round * 4 + q, 90)});
    }
  }
  for (std::uint16_t q = 0; q < 4; ++q) {
    EXPECT_EQ(rig.port->rx_stats(q).packets, 100U);
    EXPECT_EQ(rig.port->tx_stats(q).packets, 100U);
  }
}

TEST(Pairs, FewerThanThereAre) {
  for (std::uint16_t used = 1; used <= 4; ++used) {
    Rig rig(pairs(4, used));
    ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
    EXPECT_EQ(rig.device.control().active_pairs, used);
    EXPECT_EQ(rig.device.control_queue(), 8U) << "behind all pairs that there are";
    ASSERT_TRUE(rig.device.deliver(make_frame(1, 80), used - 1U));
    EXPECT_EQ(rig.receive(static_cast<std::uint16_t>(used - 1)), Frames{make_frame(1, 80)});
  }
}

TEST(Pairs, WithoutMqTheControlQueueIsTheThird) {
  RigConfig config = pairs(4, 1);
  config.device.features &= ~feature(VIRTIO_NET_F_MQ);
  Rig rig(config);
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  EXPECT_EQ(rig.device.control_queue(), 2U);
  EXPECT_EQ(rig.device.control().commands, 1U) << "promiscuous mode";
  EXPECT_EQ(rig.port->info().max_rx_queues, 1);
}

TEST(Pairs, ManyPairs) {
  RigConfig config = pairs(64, 64);
  config.ring_size = 4;
  config.device.layout.notify_multiplier = 4;
  Rig rig(config);
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  for (std::uint16_t q = 0; q < 64; ++q) {
    ASSERT_TRUE(rig.device.deliver(make_frame(q, 80), q));
    ASSERT_TRUE(rig.send(rig.packet(make_frame(q, 80)), q));
    ASSERT_EQ(rig.receive(q), Frames{make_frame(q, 80)});
    ASSERT_EQ(rig.sent(q), Frames{make_frame(q, 80)});
  }
}

TEST(Pairs, MoreRxThanTxQueues) {
  Rig rig(pairs(2, 2));
  ASSERT_OK(rig.open());
  auto config = rig.port_config();
  config.tx.pop_back();
  ASSERT_OK(rig.port->start(config));
  // virtio 1.2, 5.1.6.5.6.1: a pair is enabled with both its queues, or the rig finds a broken rule.
  EXPECT_EQ(rig.device.control().active_pairs, 2);
  ASSERT_TRUE(rig.device.deliver(make_frame(1, 80), 1));
  EXPECT_EQ(rig.receive(1), Frames{make_frame(1, 80)});
  ASSERT_TRUE(rig.send(rig.packet(make_frame(2, 80)), 0));
  EXPECT_EQ(rig.sent(0), Frames{make_frame(2, 80)});
}

TEST(Pairs, MoreTxThanRxQueuesAreRefused) {
  Rig rig(pairs(2, 2));
  ASSERT_OK(rig.open());
  auto config = rig.port_config();
  config.rx.pop_back();
  EXPECT_FAILS(rig.port->start(config), Errc::kBadArgument, "in pairs");
}

// --- at the same time ---

/// A frame that says which queue it belongs to and its number there.
Bytes numbered(std::uint32_t queue, std::uint32_t number) {
  Bytes frame = make_frame(queue * 1000003 + number, 60 + number % 200);
  std::memcpy(frame.data(), &number, sizeof number);
  return frame;
}

/// One lcore of a forwarder: all that it receives it sends back on the same queue.
struct Lcore {
  Lcore(Rig& rig, std::uint16_t queue) : cache(*rig.pool), queue_(queue) {}

  void forward(const AnyPort& port, const std::atomic<bool>& stop) {
    const auto rx = port.rx(queue_);
    const auto tx = port.tx(queue_);
    std::array<Packet*, 32> burst{};
    while (!stop.load(std::memory_order_relaxed)) {
      const std::uint16_t received = rx.burst(burst);
      std::uint16_t sent = 0;
      while (sent < received && !stop.load(std::memory_order_relaxed)) {
        sent = static_cast<std::uint16_t>(sent + tx.burst(std::span(burst).subspan(sent, received - sent)));
      }
      for (; sent < received; ++sent) cache.put_chain(burst[sent]);
      if (received == 0) std::this_thread::yield();
    }
    cache.flush();
  }

  mempool::PoolCache cache;

 private:
  std::uint16_t queue_;
};

TEST(Threads, TheDeviceWorksWhileLcoresForward) {
  constexpr std::uint16_t kQueues = 2;
  constexpr std::uint32_t kFrames = 10000;
  Rig rig(pairs(kQueues, kQueues));
  ASSERT_OK(rig.open());
  std::vector<std::unique_ptr<Lcore>> lcores;
  PortConfig<SpinringPackets> config;
  for (std::uint16_t q = 0; q < kQueues; ++q) {
    lcores.push_back(std::make_unique<Lcore>(rig, q));
    config.rx.push_back({32, &lcores.back()->cache});
    config.tx.push_back({32, &lcores.back()->cache});
  }
  ASSERT_OK(rig.port->start(config));

  std::array<std::uint32_t, kQueues> delivered{};
  std::array<std::atomic<std::uint32_t>, kQueues> returned{};
  std::atomic<std::uint32_t> wrong = 0;
  std::atomic<bool> stop = false;
  std::vector<std::thread> threads;
  {
    const sim::SimRunner device([&] {
      for (std::uint32_t q = 0; q < kQueues; ++q) {
        while (delivered[q] < kFrames && rig.device.deliver(numbered(q, delivered[q]), q)) ++delivered[q];
        for (const sim::SentFrame& frame : rig.device.collect(q)) {
          const std::uint32_t number = returned[q].load(std::memory_order_relaxed);
          if (frame.bytes != numbered(q, number)) ++wrong;
          returned[q].store(number + 1, std::memory_order_relaxed);
        }
      }
    });
    for (auto& lcore : lcores) threads.emplace_back([&] { lcore->forward(*rig.port, stop); });
    const auto done = [&] {
      return std::ranges::all_of(returned, [](const auto& count) { return count.load() == kFrames; });
    };
    EXPECT_TRUE(wait_until(done, Deadline(60s))) << returned[0] << " " << returned[1];
    stop = true;
    for (std::thread& thread : threads) thread.join();
  }
  EXPECT_EQ(wrong, 0U) << "in order, byte for byte";
  for (std::uint16_t q = 0; q < kQueues; ++q) {
    EXPECT_EQ(rig.port->rx_stats(q).packets, kFrames);
    EXPECT_EQ(rig.port->tx_stats(q).packets, kFrames);
    EXPECT_EQ(rig.port->rx_stats(q).bad_completions, 0U);
    EXPECT_EQ(rig.port->tx_stats(q).bad_completions, 0U);
  }
  ASSERT_OK(rig.port->check());
  rig.port->stop();
  lcores.clear();
}

TEST(Threads, StopAndStartWhileTheDeviceIsBusy) {
  Rig rig(pairs(1, 1));
  ASSERT_OK(rig.open());
  std::atomic<std::uint32_t> delivered = 0;
  const sim::SimRunner device([&] {
    if (rig.device.deliver(make_frame(delivered, 60))) ++delivered;
    rig.device.collect();
  });
  for (int round = 0; round < 30; ++round) {
    ASSERT_OK(rig.start());
    std::uint64_t received = 0;
    const auto some = [&] {
      received += rig.receive().size();
      Packet* const packet = rig.packet(make_frame(1, 60));
      if (!rig.send(packet)) rig.cache->put_chain(packet);
      return received > 20;
    };
    ASSERT_TRUE(wait_until(some, Deadline(20s), 0us));
    rig.port->stop();
    rig.cache->flush();
    ASSERT_EQ(rig.pool->available(), rig.pool->capacity()) << round;
  }
}

}  // namespace
}  // namespace spinring::pmd
