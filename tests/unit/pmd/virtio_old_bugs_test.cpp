// Bugs that virtio drivers had again and again, each on every kind of ring. Others have their test where
// their subject is: lengths of received frames in virtio_hostile_ring_test, RSS keys in virtio_rss_test, MAC
// tables in virtio_control_test, the used index after a reconnect in virtio_restart_test.

#include <array>

#include "tests/unit/pmd/virtio_rig.hpp"

namespace spinring::pmd {
namespace {

using sim::feature;

constexpr std::array<std::uint64_t, 4> kEveryRing{0, feature(VIRTIO_F_RING_PACKED),
                                                  feature(VIRTIO_F_IN_ORDER),
                                                  feature(VIRTIO_F_RING_PACKED) | feature(VIRTIO_F_IN_ORDER)};
constexpr std::uint16_t kShortRing = 16;

RigConfig ring_of(std::uint64_t features, std::uint16_t queues = 1) {
  RigConfig config;
  config.device = with(features);
  config.device.max_pairs = queues;
  config.ring_size = kShortRing;
  config.queues = queues;
  return config;
}

/// The packet of a frame of 90 bytes, in one segment or in three.
mempool::Packet* packet_of(Rig& rig, std::uint32_t seed, bool chain) {
  const Bytes frame = make_frame(seed, 90);
  const std::array<std::size_t, 3> lengths{40, 30, 20};
  return chain ? rig.chain(frame, lengths) : rig.packet(frame);
}

TEST(OldBugs, ABurstOfSinglesAndChainsWrapsTheRingAtEveryPlace) {
  for (const std::uint64_t ring : kEveryRing) {
    Rig rig(ring_of(ring));
    ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
    std::uint32_t seed = 0;
    for (std::uint32_t round = 0; round < 300; ++round) {
      std::vector<mempool::Packet*> burst;
      Frames frames;
      std::size_t descriptors = 0;
      // Which are chains changes with each round, and so does where a burst begins.
      while (descriptors + 3 <= 1 + round % kShortRing + 3 && descriptors + 3 <= kShortRing) {
        const bool chain = (round >> (burst.size() % 5) & 1U) != 0;
        descriptors += chain ? 3 : 1;
        frames.push_back(make_frame(seed, 90));
        burst.push_back(packet_of(rig, seed++, chain));
      }
      ASSERT_EQ(rig.port->tx(0).burst(burst), burst.size()) << round;
      ASSERT_EQ(rig.sent(), frames) << "ring " << std::hex << ring << ", round " << std::dec << round;
    }
  }
}

/// A sender that tries one long packet again and again must get it through once the device has sent the rest.
TEST(OldBugs, AChainThatWaitsForRoomDoesNotWaitForEver) {
  for (const std::uint64_t ring : kEveryRing) {
    Rig rig(ring_of(ring));
    ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
    for (std::uint32_t i = 0; i < 3; ++i) ASSERT_TRUE(rig.send(packet_of(rig, i, true)));
    ASSERT_EQ(rig.sent().size(), 3U);
    const Bytes frame = make_frame(9, 200);
    const std::vector<std::size_t> lengths(10, 20);
    ASSERT_TRUE(rig.send(rig.chain(frame, lengths))) << "9 of 16 descriptors are to be taken back";
    ASSERT_EQ(rig.sent(), Frames{frame});
  }
}

/// The rig looks that the pool is whole after each of them.
TEST(OldBugs, AStopGivesBackWhatWasToBeSentAtEveryPlace) {
  for (const std::uint64_t ring : kEveryRing) {
    for (std::uint32_t before = 0; before < 2U * kShortRing; before += 5) {
      Rig rig(ring_of(ring));
      ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
      for (std::uint32_t i = 0; i < before; ++i) {
        ASSERT_TRUE(rig.send(packet_of(rig, i, false)));
        ASSERT_EQ(rig.sent().size(), 1U);
      }
      std::array burst{packet_of(rig, 1, true), packet_of(rig, 2, false), packet_of(rig, 3, true)};
      ASSERT_EQ(rig.port->tx(0).burst(burst, More::kSoon), 3);  // not published, at a stop
      rig.port->stop();
      ASSERT_NO_FATAL_FAILURE(rig.expect_whole());
    }
  }
}

TEST(OldBugs, NoneOfSeveralQueuesInterrupts) {
  for (const std::uint64_t ring : kEveryRing) {
    RigConfig config = ring_of(ring, 3);
    config.device.interrupt_vectors = 8;
    Rig rig(config);
    ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
    for (std::uint32_t i = 0; i < 60; ++i) {
      const auto queue = static_cast<std::uint16_t>(i % 3);
      ASSERT_TRUE(rig.device.deliver(make_frame(i, 60), queue));
      ASSERT_EQ(rig.receive(queue), Frames{make_frame(i, 60)});
      ASSERT_TRUE(rig.send(rig.packet(make_frame(i, 61)), queue));
      ASSERT_EQ(rig.sent(queue), Frames{make_frame(i, 61)});
    }
    for (unsigned queue = 0; queue < 6; ++queue) {
      EXPECT_EQ(rig.device.queue(queue).interrupts, 0U) << queue;
      EXPECT_EQ(rig.device.queue(queue).vector, 0xffff) << queue;
    }
  }
}

/// An indirect table's length was wrong in more than one driver: it is that of its descriptors, each time,
/// also where a longer or shorter one lay before. The simulated device notes any other.
TEST(OldBugs, TheLengthOfAnIndirectTable) {
  constexpr std::array<std::size_t, 9> kPieces{40, 40, 40, 40, 40, 40, 40, 40, 40};
  for (const std::uint64_t ring : kEveryRing) {
    Rig rig(ring_of(ring | feature(VIRTIO_RING_F_INDIRECT_DESC)));
    ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
    ASSERT_TRUE(rig.device.negotiated(VIRTIO_RING_F_INDIRECT_DESC));
    for (std::uint32_t round = 0; round < 200; ++round) {
      const std::size_t pieces = 1 + round * 7 % kPieces.size();
      const Bytes frame = make_frame(round, 40 * pieces);
      ASSERT_TRUE(rig.send(rig.chain(frame, std::span(kPieces).first(pieces))));
      const auto sent = rig.device.collect();
      ASSERT_EQ(sent.size(), 1U);
      EXPECT_EQ(sent[0].bytes, frame);
      EXPECT_EQ(sent[0].segments, pieces);
    }
    EXPECT_EQ(rig.port->tx_stats(0).rejected, 0U);
  }
}

}  // namespace
}  // namespace spinring::pmd
