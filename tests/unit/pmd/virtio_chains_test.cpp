// Frames that take several descriptors: mergeable RX buffers, TX segments, headers without room.

#include <algorithm>
#include <array>
#include <set>

#include "tests/unit/pmd/virtio_rig.hpp"

namespace spinring::pmd {
namespace {

using mempool::Packet;

// Bytes of a 512-byte buffer that the device may write: all but the headroom.
constexpr std::size_t kSmallRoom = 512 - Packet::kHeadroom;
constexpr std::size_t kHeader = sim::SimVirtioNet::kHeaderBytes;

RigConfig small_buffers() {
  RigConfig config;
  config.ring_size = 32;
  config.buffer_length = 512;
  return config;
}

TEST(MergeableRx, JoinsTheBuffersOfAFrame) {
  Rig rig(small_buffers());
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  EXPECT_EQ(rig.port->rx_path(), "virtio split rx mergeable");
  // One byte below, at and above each number of buffers.
  for (std::size_t buffers = 1; buffers <= 8; ++buffers) {
    const std::size_t full = buffers * kSmallRoom - kHeader;
    for (const std::size_t length : {full - 1, full, full + 1}) {
      const Bytes frame = make_frame(static_cast<std::uint32_t>(length), length);
      ASSERT_TRUE(rig.device.deliver(frame));
      EXPECT_EQ(rig.receive(), Frames{frame}) << length;
    }
  }
  EXPECT_EQ(rig.port->rx_stats(0).packets, 24U);
  EXPECT_EQ(rig.port->rx_stats(0).truncated, 0U);
}

TEST(MergeableRx, CountsSegmentsAndLeavesNoStaleLinks) {
  Rig rig(small_buffers());
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  ASSERT_TRUE(rig.device.deliver(make_frame(1, 3 * kSmallRoom - kHeader)));
  ASSERT_TRUE(rig.device.deliver(make_frame(2, 60)));
  std::array<Packet*, 4> packets{};
  ASSERT_EQ(rig.port->rx(0).burst(packets), 2);
  EXPECT_EQ(packets[0]->segments, 3);
  EXPECT_EQ(packets[0]->data_length, kSmallRoom - kHeader);
  EXPECT_EQ(packets[0]->next->data_length, kSmallRoom);
  EXPECT_EQ(packets[1]->segments, 1);
  EXPECT_EQ(packets[1]->next, nullptr);
  EXPECT_EQ(packets[1]->packet_length, 60U);
  rig.cache->put_chain(packets[0]);
  rig.cache->put_chain(packets[1]);
}

TEST(MergeableRx, StopFollowsNoStaleLinks) {
  // What a pool gives out has undefined metadata. Buffers that wait in the RX ring when the port stops still
  // carry links of an earlier life: following one would give another packet back twice.
  Rig rig(small_buffers());
  ASSERT_OK(rig.open());
  std::vector<Packet*> all(rig.pool->capacity());
  ASSERT_EQ(rig.cache->get(all), all.size());
  for (std::size_t i = 0; i < all.size(); ++i) all[i]->next = all[(i + 7) % all.size()];
  rig.cache->put(all);
  ASSERT_OK(rig.start());
  rig.port->stop();
  rig.cache->flush();
  ASSERT_EQ(rig.cache->get(all), all.size());
  EXPECT_EQ(std::set<Packet*>(all.begin(), all.end()).size(), all.size()) << "a packet twice in the pool";
  rig.cache->put(all);
}

TEST(MergeableRx, ManyChainsWrapTheRing) {
  Rig rig(small_buffers());
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  for (std::uint32_t i = 0; i < 3000; ++i) {
    const Bytes frame = make_frame(i, 60 + (i * 37) % 2500);
    ASSERT_TRUE(rig.device.deliver(frame));
    ASSERT_EQ(rig.receive(), Frames{frame}) << i;
  }
}

TEST(MergeableRx, AFrameAsLongAsTheRingIsTaken) {
  Rig rig(small_buffers());
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  const Bytes frame = make_frame(5, 32 * kSmallRoom - kHeader);
  ASSERT_TRUE(rig.device.deliver(frame));
  EXPECT_EQ(rig.device.rx_buffers(), 0);
  EXPECT_EQ(rig.receive(), Frames{frame});
  EXPECT_EQ(rig.device.rx_buffers(), 32);
}

TEST(SingleBufferRx, RefusesBuffersThatAreSmallerThanAFrame) {
  RigConfig config = small_buffers();
  config.device = without(sim::feature(VIRTIO_NET_F_MRG_RXBUF));
  Rig rig(config);
  ASSERT_OK(rig.open());
  EXPECT_FAILS(rig.start(), Errc::kBadArgument, "mrg_rxbuf=on");
}

TEST(TxChains, SendsFramesOfSeveralSegments) {
  Rig rig({.ring_size = 16});
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  const Bytes frame = make_frame(3, 4000);
  for (int round = 0; round < 40; ++round) {
    ASSERT_TRUE(rig.send(rig.chain(frame, std::array<std::size_t, 4>{100, 1500, 400, 2000})));
    const auto sent = rig.device.collect();
    ASSERT_EQ(sent.size(), 1U);
    EXPECT_EQ(sent[0].bytes, frame);
    EXPECT_EQ(sent[0].segments, 4U) << "the header shares the first segment's descriptor";
  }
  EXPECT_EQ(rig.port->tx_stats(0).packets, 40U);
  EXPECT_EQ(rig.port->tx_stats(0).bytes, 40U * 4000);
}

TEST(TxChains, MixWithSinglesAndCompleteInAnyOrder) {
  Rig rig({.ring_size = 16});
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  for (std::uint32_t round = 0; round < 200; ++round) {
    const Bytes chained = make_frame(round, 600);
    const Bytes single = make_frame(round, 60);
    ASSERT_TRUE(rig.send(rig.chain(chained, std::array<std::size_t, 3>{200, 200, 200})));
    ASSERT_TRUE(rig.send(rig.packet(single)));
    ASSERT_TRUE(rig.send(rig.chain(chained, std::array<std::size_t, 2>{300, 300})));
    std::vector<sim::SentFrame> frames;
    while (auto frame = rig.device.fetch()) frames.push_back(std::move(*frame));
    ASSERT_EQ(frames.size(), 3U);
    EXPECT_EQ(frames[0].bytes, chained);
    EXPECT_EQ(frames[1].bytes, single);
    EXPECT_EQ(frames[2].bytes, chained);
    for (const std::size_t i : {(round + 0U) % 3, (round + 1U) % 3, (round + 2U) % 3}) {
      rig.device.complete(frames[i]);
    }
  }
  EXPECT_EQ(rig.port->tx_stats(0).packets, 600U);
  EXPECT_EQ(rig.port->tx_stats(0).bad_completions, 0U);
}

TEST(TxChains, AFrameThatDoesNotFitNowIsGivenBackWhole) {
  Rig rig({.ring_size = 8});
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  const Bytes frame = make_frame(1, 300);
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(rig.send(rig.packet(make_frame(2, 60))));
  Packet* const three = rig.chain(frame, std::array<std::size_t, 3>{100, 100, 100});
  EXPECT_FALSE(rig.send(three)) << "two descriptors are free";
  Packet* const two = rig.chain(frame, std::array<std::size_t, 2>{100, 200});
  EXPECT_TRUE(rig.send(two)) << "and two are enough";
  EXPECT_EQ(rig.device.collect().size(), 7U);
  EXPECT_TRUE(rig.send(three));
  EXPECT_EQ(rig.sent(), Frames{frame});
  EXPECT_EQ(rig.port->tx_stats(0).ring_full, 1U);
}

/// With more to come the device is shown batches, by a split and a packed ring.
class TxChainsHeldBack : public ::testing::TestWithParam<bool> {
 protected:
  [[nodiscard]] static RigConfig config() {
    RigConfig config;
    config.ring_size = 64;
    if (GetParam()) config.device = with(sim::feature(VIRTIO_F_RING_PACKED));
    return config;
  }
};
INSTANTIATE_TEST_SUITE_P(Rings, TxChainsHeldBack, ::testing::Bool(),
                         [](const auto& ring) { return ring.param ? "packed" : "split"; });

TEST_P(TxChainsHeldBack, AreShownByTheirDescriptors) {
  Rig rig(config());
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  const Bytes frame = make_frame(3, 400);
  std::array<Packet*, 4> burst{};
  for (Packet*& packet : burst) packet = rig.chain(frame, std::array<std::size_t, 4>{100, 100, 100, 100});
  ASSERT_EQ(rig.port->tx(0).burst(burst, More::kSoon), burst.size());
  EXPECT_EQ(rig.device.collect().size(), burst.size()) << "a quarter of the ring";
}

TEST_P(TxChainsHeldBack, AreShownWhenThereIsNoRoomForMore) {
  Rig rig(config());
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  std::array<Packet*, 3> few{};
  for (Packet*& packet : few) packet = rig.packet(make_frame(1, 60));
  ASSERT_EQ(rig.port->tx(0).burst(few, More::kSoon), few.size());
  ASSERT_TRUE(rig.device.collect().empty());
  std::vector<std::size_t> lengths(62, 20);
  std::array<Packet*, 1> large{rig.chain(make_frame(2, 62 * 20), lengths)};
  ASSERT_EQ(rig.port->tx(0).burst(large, More::kSoon), 0) << "61 descriptors are free";
  EXPECT_EQ(rig.device.collect().size(), few.size());
  ASSERT_EQ(rig.port->tx(0).burst(large, More::kSoon), 1);
  EXPECT_EQ(rig.device.collect().size(), 1U);
}

TEST(TxChains, AFrameWithoutHeadroomGetsAHeaderOfItsOwn) {
  Rig rig({.ring_size = 16});
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  const Bytes frame = make_frame(4, 200);
  for (const std::uint16_t headroom : std::array<std::uint16_t, 4>{0, 5, 11, 12}) {
    Packet* const packet = rig.packet(frame);
    std::copy(frame.begin(), frame.end(), packet->buffer() + headroom);
    packet->data_offset = headroom;
    ASSERT_TRUE(rig.send(packet));
    const auto sent = rig.device.collect();
    ASSERT_EQ(sent.size(), 1U);
    EXPECT_EQ(sent[0].bytes, frame) << headroom;
    EXPECT_EQ(sent[0].segments, headroom < 12 ? 2U : 1U) << headroom;
  }
}

TEST(TxChains, AChainWithoutHeadroomThatFillsTheRing) {
  Rig rig({.ring_size = 4});
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  const Bytes frame = make_frame(4, 300);
  Packet* const packet = rig.chain(frame, std::array<std::size_t, 3>{100, 100, 100});
  std::copy_n(frame.begin(), 100, packet->buffer());
  packet->data_offset = 0;
  ASSERT_TRUE(rig.send(packet)) << "a header and three segments: the whole ring";
  EXPECT_EQ(rig.sent(), Frames{frame});
}

TEST(TxRejects, WhatCannotBeSentIsFreedAndCounted) {
  Rig rig({.ring_size = 4});
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  const Bytes frame = make_frame(1, 500);
  EXPECT_TRUE(rig.send(rig.packet({}))) << "empty";
  EXPECT_TRUE(rig.send(rig.chain(frame, std::array<std::size_t, 5>{100, 100, 100, 100, 100})))
      << "more segments than the ring has";
  EXPECT_TRUE(rig.send(rig.chain(frame, std::array<std::size_t, 3>{100, 0, 100}))) << "an empty segment";
  Packet* const lying = rig.chain(frame, std::array<std::size_t, 2>{100, 100});
  lying->segments = 3;
  EXPECT_TRUE(rig.send(lying)) << "fewer segments than it says";
  Packet* const longer = rig.chain(frame, std::array<std::size_t, 3>{100, 100, 100});
  longer->segments = 2;
  EXPECT_TRUE(rig.send(longer)) << "more segments than it says";
  Packet* const hidden = rig.chain(frame, std::array<std::size_t, 2>{100, 100});
  hidden->segments = 1;
  EXPECT_TRUE(rig.send(hidden)) << "a segment that is not counted";
  Packet* const none = rig.packet(frame);
  none->segments = 0;
  EXPECT_TRUE(rig.send(none)) << "no segments";
  Packet* const offload = rig.packet(frame);
  offload->offloads = mempool::kTxChecksum;
  EXPECT_TRUE(rig.send(offload)) << "an offload that was not negotiated";
  EXPECT_EQ(rig.port->tx_stats(0).rejected, 8U);
  EXPECT_EQ(rig.port->tx_stats(0).packets, 0U);
  EXPECT_TRUE(rig.sent().empty());
  rig.cache->flush();
  EXPECT_EQ(rig.pool->available() + rig.device.rx_buffers(), rig.pool->capacity());
}

TEST(TxRejects, ABadFrameInABurstDoesNotHoldTheOthersUp) {
  Rig rig({.ring_size = 16});
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  std::array burst{rig.packet(make_frame(1, 60)), rig.packet({}), rig.packet(make_frame(2, 60))};
  EXPECT_EQ(rig.port->tx(0).burst(burst), 3);
  EXPECT_EQ(rig.sent(), (Frames{make_frame(1, 60), make_frame(2, 60)}));
  EXPECT_EQ(rig.port->tx_stats(0).packets, 2U);
  EXPECT_EQ(rig.port->tx_stats(0).bytes, 120U);
}

}  // namespace
}  // namespace spinring::pmd
