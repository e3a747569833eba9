// Honest traffic between the driver and the simulated device.

#include <array>
#include <numeric>

#include "tests/unit/pmd/virtio_rig.hpp"

namespace spinring::pmd {
namespace {

using mempool::Packet;
using sim::feature;

/// The two RX paths; most stories hold on both.
class Traffic : public ::testing::TestWithParam<bool> {
 protected:
  [[nodiscard]] static RigConfig config(std::uint16_t ring_size = 64) {
    RigConfig rig;
    rig.ring_size = ring_size;
    if (!GetParam()) rig.device = without(feature(VIRTIO_NET_F_MRG_RXBUF));
    return rig;
  }
  [[nodiscard]] static std::vector<Packet*> some_packets(Rig& rig, std::uint32_t count) {
    std::vector<Packet*> packets;
    for (std::uint32_t i = 0; i < count; ++i) packets.push_back(rig.packet(make_frame(i, 60)));
    return packets;
  }
  /// Sends them in four bursts, each seen by the device at once; what was taken back after each, all in all.
  static void expect_taken_back(Rig& rig, std::vector<Packet*> packets,
                                const std::array<std::size_t, 4>& counts) {
    const std::size_t before = rig.cache->reusable();
    const std::size_t burst = packets.size() / counts.size();
    for (std::size_t i = 0; i < counts.size(); ++i) {
      ASSERT_EQ(rig.port->tx(0).burst(std::span(packets).subspan(burst * i, burst)), burst);
      ASSERT_EQ(rig.device.collect().size(), burst);
      EXPECT_EQ(rig.cache->reusable() - before, counts[i]) << i;
    }
  }
};

INSTANTIATE_TEST_SUITE_P(RxPaths, Traffic, ::testing::Bool(),
                         [](const auto& path) { return path.param ? "mergeable" : "single"; });

TEST_P(Traffic, ReceivesByteForByteAtEveryLength) {
  Rig rig(config());
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  std::uint64_t bytes = 0;
  const std::array<std::size_t, 11> lengths{14, 15, 52, 60, 63, 64, 65, 128, 1000, 1513, 1514};
  for (const std::size_t length : lengths) {
    const Bytes frame = make_frame(7, length);
    ASSERT_TRUE(rig.device.deliver(frame));
    const auto received = rig.receive();
    ASSERT_EQ(received.size(), 1U) << length;
    EXPECT_EQ(received[0], frame) << length;
    bytes += length;
  }
  EXPECT_EQ(rig.port->rx_stats(0).packets, lengths.size());
  EXPECT_EQ(rig.port->rx_stats(0).bytes, bytes);
  EXPECT_EQ(rig.port->rx_stats(0).bad_completions, 0U);
}

TEST_P(Traffic, SendsByteForByteAtEveryLength) {
  Rig rig(config());
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  const std::array<std::size_t, 7> lengths{14, 60, 64, 65, 1000, 1513, 1514};
  for (const std::size_t length : lengths) {
    const Bytes frame = make_frame(9, length);
    ASSERT_TRUE(rig.send(rig.packet(frame)));
    const auto sent = rig.device.collect();
    ASSERT_EQ(sent.size(), 1U);
    EXPECT_EQ(sent[0].bytes, frame);
    EXPECT_EQ(sent[0].segments, 1U) << "header and frame in one descriptor";
  }
  EXPECT_EQ(rig.port->tx_stats(0).packets, lengths.size());
  EXPECT_EQ(rig.port->tx_stats(0).bytes, std::accumulate(lengths.begin(), lengths.end(), std::size_t{0}));
}

TEST_P(Traffic, IndexesWrapPast65535InBothDirections) {
  Rig rig(config(16));
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  constexpr std::uint32_t kFrames = 70000;
  std::uint32_t next_sent = 0;
  std::uint32_t next_received = 0;
  for (std::uint32_t i = 0; i < kFrames; ++i) {
    ASSERT_TRUE(rig.device.deliver(make_frame(i, 60)));
    if (i % 3 != 2) continue;  // bursts of three
    for (const Bytes& frame : rig.receive()) ASSERT_EQ(frame, make_frame(next_received++, 60));
    for (int n = 0; n < 3; ++n)
      ASSERT_TRUE(rig.send(rig.packet(make_frame(next_sent + static_cast<unsigned>(n), 61))));
    for (const Bytes& frame : rig.sent()) ASSERT_EQ(frame, make_frame(next_sent++, 61));
  }
  for (const Bytes& frame : rig.receive()) ASSERT_EQ(frame, make_frame(next_received++, 60));
  EXPECT_EQ(next_received, kFrames);
  EXPECT_EQ(next_sent, kFrames / 3 * 3);
  EXPECT_GT(rig.device.rx_ring().used_index(), 0);
  EXPECT_EQ(rig.device.rx_ring().used_index(), static_cast<std::uint16_t>(kFrames)) << "wrapped";
}

TEST_P(Traffic, AFullRingGivesThePacketsBack) {
  Rig rig(config(16));
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  std::vector<Packet*> packets;
  for (std::uint32_t i = 0; i < 20; ++i) packets.push_back(rig.packet(make_frame(i, 60)));
  EXPECT_EQ(rig.port->tx(0).burst(packets), 16);
  EXPECT_EQ(rig.port->tx_stats(0).packets, 16U);
  EXPECT_EQ(rig.port->tx_stats(0).ring_full, 4U);
  EXPECT_EQ(rig.port->tx(0).burst(std::span(packets).subspan(16)), 0) << "nothing was completed yet";
  EXPECT_EQ(rig.device.collect(0, 3).size(), 3U);
  EXPECT_EQ(rig.port->tx(0).burst(std::span(packets).subspan(16)), 3) << "three were";
  EXPECT_EQ(rig.device.collect().size(), 16U);
  EXPECT_EQ(rig.port->tx(0).burst(std::span(packets).subspan(19)), 1);
  const auto last = rig.sent();
  ASSERT_EQ(last.size(), 1U);
  EXPECT_EQ(last[0], make_frame(19, 60));
}

TEST_P(Traffic, AFullRxRingDropsAtTheDeviceAndGoesOn) {
  Rig rig(config(16));
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  std::uint32_t delivered = 0;
  while (rig.device.deliver(make_frame(delivered, 60))) ++delivered;
  EXPECT_EQ(delivered, 16U) << "every descriptor carries a buffer";
  const auto received = rig.receive();
  ASSERT_EQ(received.size(), 16U);
  for (std::uint32_t i = 0; i < 16; ++i) EXPECT_EQ(received[i], make_frame(i, 60));
  EXPECT_EQ(rig.device.rx_buffers(), 16) << "refilled";
  EXPECT_TRUE(rig.device.deliver(make_frame(99, 60)));
  EXPECT_EQ(rig.receive(), Frames{make_frame(99, 60)});
}

TEST_P(Traffic, ABurstTakesNoMoreThanAskedFor) {
  Rig rig(config());
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  for (std::uint32_t i = 0; i < 10; ++i) ASSERT_TRUE(rig.device.deliver(make_frame(i, 60)));
  EXPECT_EQ(rig.receive(0, 4).size(), 4U);
  EXPECT_EQ(rig.receive(0, 0).size(), 0U);
  const auto rest = rig.receive();
  ASSERT_EQ(rest.size(), 6U);
  EXPECT_EQ(rest[0], make_frame(4, 60));
  EXPECT_EQ(rig.receive().size(), 0U);
}

TEST_P(Traffic, AnEmptyPoolStarvesTheRingAndItRecovers) {
  RigConfig small = config(64);
  small.packets = 40;
  Rig rig(small);
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  EXPECT_EQ(rig.device.rx_buffers(), 40) << "all that there are";
  EXPECT_EQ(rig.port->rx_stats(0).refill_short, 1U);
  std::vector<Packet*> held(40);
  for (std::uint32_t i = 0; i < 40; ++i) ASSERT_TRUE(rig.device.deliver(make_frame(i, 60)));
  EXPECT_FALSE(rig.device.deliver(make_frame(40, 60)));
  ASSERT_EQ(rig.port->rx(0).burst(held), 40);
  EXPECT_EQ(rig.device.rx_buffers(), 0);
  EXPECT_GE(rig.port->rx_stats(0).refill_short, 2U);
  EXPECT_EQ(rig.receive().size(), 0U);
  for (Packet* packet : held) rig.cache->put_chain(packet);
  EXPECT_EQ(rig.receive().size(), 0U) << "nothing came, but the ring is filled again";
  EXPECT_EQ(rig.device.rx_buffers(), 40);
  ASSERT_TRUE(rig.device.deliver(make_frame(41, 60)));
  EXPECT_EQ(rig.receive(), Frames{make_frame(41, 60)});
}

TEST_P(Traffic, StopsWithPacketsInFlightAndStartsAgain) {
  Rig rig(config());
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  for (int round = 0; round < 5; ++round) {
    for (std::uint32_t i = 0; i < 20; ++i) {
      ASSERT_TRUE(rig.send(rig.packet(make_frame(i, 60))));
      ASSERT_TRUE(rig.device.deliver(make_frame(i, 60)));
    }
    EXPECT_EQ(rig.receive(0, 7).size(), 7U);
    EXPECT_EQ(rig.device.collect(0, 5).size(), 5U);
    rig.port->stop();
    rig.cache->flush();
    ASSERT_EQ(rig.pool->available(), rig.pool->capacity()) << "round " << round;
    EXPECT_EQ(rig.port->rx_stats(0).packets, 7U) << "statistics stay readable";
    EXPECT_EQ(rig.port->tx_stats(0).packets, 20U);
    EXPECT_FALSE(rig.device.running());
    EXPECT_FALSE(rig.device.iommu().bus_master());
    ASSERT_OK(rig.start());
    EXPECT_EQ(rig.port->rx_stats(0).packets, 0U) << "and begin anew";
  }
  ASSERT_TRUE(rig.device.deliver(make_frame(1, 60)));
  EXPECT_EQ(rig.receive(), Frames{make_frame(1, 60)});
}

TEST_P(Traffic, TransmitCompletionsMayComeInAnyOrder) {
  Rig rig(config(8));
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  std::uint32_t seed = 0;
  for (int round = 0; round < 50; ++round) {
    for (std::uint32_t i = 0; i < 8; ++i) ASSERT_TRUE(rig.send(rig.packet(make_frame(seed + i, 60))));
    std::vector<sim::SentFrame> frames;
    while (auto frame = rig.device.fetch()) frames.push_back(std::move(*frame));
    ASSERT_EQ(frames.size(), 8U);
    for (std::uint32_t i = 0; i < 8; ++i) EXPECT_EQ(frames[i].bytes, make_frame(seed + i, 60));
    for (const std::size_t i : {5U, 0U, 7U, 2U, 6U, 1U, 3U, 4U}) rig.device.complete(frames[i]);
    seed += 8;
  }
  EXPECT_EQ(rig.port->tx_stats(0).packets, 400U);
}

// To look for more takes a line that the device is about to write.
TEST_P(Traffic, ABurstTakesBackOneBatchOfWhatWasSentAndOneWithoutPacketsAll) {
  Rig rig(config(256));
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  const auto packets = some_packets(rig, 128);
  const std::size_t before = rig.cache->reusable();
  expect_taken_back(rig, packets, {0, 0, 0, 64});
  EXPECT_EQ(rig.port->tx(0).burst({}), 0);
  EXPECT_EQ(rig.cache->reusable() - before, packets.size());
}

// With an RX ring of 64: what a large TX ring keeps a split RX ring lacks, and falls out of step. Of a packed
// one's half as many again go round.
TEST_P(Traffic, ATransmitRingKeepsAPartOfWhatGoesRound) {
  for (const std::uint64_t features :
       {std::uint64_t{0}, feature(VIRTIO_F_IN_ORDER), feature(VIRTIO_F_RING_PACKED),
        feature(VIRTIO_F_IN_ORDER) | feature(VIRTIO_F_RING_PACKED)}) {
    const bool packed = (features & feature(VIRTIO_F_RING_PACKED)) != 0;
    SCOPED_TRACE(features);
    RigConfig of_ring = config(256);
    of_ring.device.features |= features;
    Rig rig(of_ring);
    ASSERT_OK(rig.open());
    auto port = rig.port_config();
    port.rx[0].ring_size = 64;
    ASSERT_OK(rig.port->start(port));
    if (packed) {
      expect_taken_back(rig, some_packets(rig, 96), {0, 0, 0, 72});
    } else {
      expect_taken_back(rig, some_packets(rig, 64), {0, 0, 32, 32});
    }
  }
}

TEST_P(Traffic, LoopsTheSamePacketsForwardAndBack) {
  Rig rig(config(32));
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  std::vector<Packet*> burst(32);
  std::uint32_t forwarded = 0;
  for (std::uint32_t i = 0; i < 2000; ++i) {
    ASSERT_TRUE(rig.device.deliver(make_frame(i, 60 + i % 1400)));
    const std::uint16_t received = rig.port->rx(0).burst(burst);
    ASSERT_EQ(rig.port->tx(0).burst(std::span(burst).first(received)), received);
    for (const Bytes& frame : rig.sent()) {
      ASSERT_EQ(frame, make_frame(forwarded, 60 + forwarded % 1400));
      ++forwarded;
    }
  }
  EXPECT_EQ(forwarded, 2000U);
}

}  // namespace
}  // namespace spinring::pmd
