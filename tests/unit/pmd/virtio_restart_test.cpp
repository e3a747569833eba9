// A restart of a port whose device was away: what it had not sent is sent again, in order, and once.

#include <algorithm>
#include <array>

#include "tests/unit/pmd/virtio_rig.hpp"

namespace spinring::pmd {
namespace {

using sim::feature;

constexpr std::uint64_t kPackedBit = feature(VIRTIO_F_RING_PACKED);
constexpr std::uint64_t kInOrderBit = feature(VIRTIO_F_IN_ORDER);

class Restart : public ::testing::TestWithParam<std::uint64_t> {
 protected:
  [[nodiscard]] static RigConfig config() {
    RigConfig rig;
    rig.device = with(GetParam() | feature(VIRTIO_NET_F_CSUM) | feature(VIRTIO_NET_F_HOST_TSO4) |
                      feature(VIRTIO_NET_F_HOST_TSO6));
    rig.ring_size = 16;
    return rig;
  }
  [[nodiscard]] static bool in_order() { return (GetParam() & kInOrderBit) != 0; }
};

INSTANTIATE_TEST_SUITE_P(Rings, Restart,
                         ::testing::Values(0, kPackedBit, kInOrderBit, kPackedBit | kInOrderBit),
                         [](const auto& ring) {
                           return std::string((ring.param & kPackedBit) != 0 ? "packed" : "split") +
                                  ((ring.param & kInOrderBit) != 0 ? "InOrder" : "");
                         });

void restart(Rig& rig) {
  rig.device.ask_for_reset();
  ASSERT_FALSE(rig.port->check().has_value());
  ASSERT_TRUE(rig.port->may_restart());
  ASSERT_OK(rig.port->restart());
  ASSERT_OK(rig.port->check());
}

TEST_P(Restart, WhatWasNotSentIsSentAgainInOrder) {
  Rig rig(config());
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  std::uint32_t seed = 0;
  std::uint64_t again = 0;
  // At every place of the ring, with none to all of it waiting, some of it sent and some of that said.
  for (std::uint32_t round = 0; round < 40; ++round) {
    const std::uint32_t given = round % 17;
    for (std::uint32_t i = 0; i < given; ++i) ASSERT_TRUE(rig.send(rig.packet(make_frame(seed + i, 100))));
    const std::uint32_t done = given == 0 ? 0 : (round * 7) % given;
    for (std::uint32_t i = 0; i < done; ++i) {
      auto frame = rig.device.fetch();
      ASSERT_TRUE(frame);
      rig.device.complete(*frame);
    }
    (void)rig.device.fetch();  // sent, and the device died before it said so
    ASSERT_NO_FATAL_FAILURE(restart(rig));
    Frames expected;
    for (std::uint32_t i = done; i < given; ++i) expected.push_back(make_frame(seed + i, 100));
    ASSERT_EQ(rig.sent(), expected) << round;
    again += expected.size();
    seed += given;
    ASSERT_TRUE(rig.device.deliver(make_frame(seed, 200)));
    ASSERT_EQ(rig.receive(), Frames{make_frame(seed, 200)});
  }
  EXPECT_EQ(rig.port->tx_stats(0).packets, seed) << "each counted once, over all restarts";
  EXPECT_EQ(rig.port->tx_stats(0).bytes, seed * 100U);
  EXPECT_EQ(rig.port->tx_stats(0).sent_again, again);
  EXPECT_EQ(rig.port->tx_stats(0).restart_dropped, 0U);
  EXPECT_EQ(rig.port->rx_stats(0).packets, 40U);
}

TEST_P(Restart, ADeviceThatCompletesOutOfOrderLosesNoneEither) {
  if (in_order()) return;  // such a device does not exist
  Rig rig(config());
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  for (std::uint32_t i = 0; i < 16; ++i) ASSERT_TRUE(rig.send(rig.packet(make_frame(i, 100))));
  std::vector<sim::SentFrame> frames;
  while (auto frame = rig.device.fetch()) frames.push_back(std::move(*frame));
  ASSERT_EQ(frames.size(), 16U);
  // All but 0, 5 and 9: then more than a ring of others while those stay with the device.
  for (const std::size_t i : {3U, 1U, 15U, 2U, 4U, 14U, 13U, 6U, 7U, 8U, 12U, 10U, 11U})
    rig.device.complete(frames[i]);
  for (std::uint32_t i = 16; i < 60; ++i) {
    ASSERT_TRUE(rig.send(rig.packet(make_frame(i, 100)))) << i;
    auto frame = rig.device.fetch();
    ASSERT_TRUE(frame);
    if (i < 56) rig.device.complete(*frame);
  }
  ASSERT_NO_FATAL_FAILURE(restart(rig));
  const Frames sent = rig.sent();
  ASSERT_EQ(sent.size(), 7U);
  for (const std::uint32_t old : {0U, 5U, 9U})
    EXPECT_EQ(std::count(sent.begin(), sent.begin() + 3, make_frame(old, 100)), 1) << "the oldest go first";
  for (std::uint32_t i = 56; i < 60; ++i) EXPECT_EQ(sent[i - 53], make_frame(i, 100));
}

TEST_P(Restart, ChainsAndRequestsAreSentAsTheyWere) {
  RigConfig how = config();
  how.offloads = Offload::kTxChecksum | Offload::kTxSegment;
  Rig rig(how);
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  Bytes frame = make_frame(1, 1000);
  std::fill_n(frame.begin(), 54, std::byte{0});
  frame[12] = std::byte{0x08};  // IPv4
  const auto post = [&] {
    const std::array<std::size_t, 3> lengths{400, 300, 300};
    mempool::Packet* const packet = rig.chain(frame, lengths);
    packet->offloads = mempool::kTxSegment;
    packet->csum_start = 34;
    packet->csum_offset = 16;
    packet->segment_size = 200;
    packet->header_length = 54;
    ASSERT_TRUE(rig.send(packet));
  };
  ASSERT_NO_FATAL_FAILURE(post());
  const Frames first = rig.sent();
  ASSERT_EQ(first.size(), 1U);
  ASSERT_NO_FATAL_FAILURE(post());
  for (int round = 0; round < 3; ++round) {
    ASSERT_EQ(rig.device.tx_waiting(), 1U);
    ASSERT_NO_FATAL_FAILURE(restart(rig));
  }
  EXPECT_EQ(rig.sent(), first) << "the sum of the pseudo header has the length once";
  EXPECT_EQ(rig.port->tx_stats(0).sent_again, 3U);
}

TEST_P(Restart, FramesThatNobodyTookAreCounted) {
  Rig rig(config());
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  for (std::uint32_t i = 0; i < 5; ++i) ASSERT_TRUE(rig.device.deliver(make_frame(i, 100)));
  ASSERT_NO_FATAL_FAILURE(restart(rig));
  EXPECT_EQ(rig.receive(), Frames{});
  EXPECT_EQ(rig.port->rx_stats(0).packets, 0U);
  EXPECT_EQ(rig.port->rx_stats(0).bytes, 0U);
  EXPECT_EQ(rig.port->rx_stats(0).restart_dropped, 5U);
}

TEST_P(Restart, AFailedOneKeepsThePacketsForTheNext) {
  Rig rig(config());
  EXPECT_FALSE(rig.port && rig.port->restart().has_value());
  ASSERT_OK(rig.open());
  EXPECT_FAILS(rig.port->restart(), Errc::kBadState, "not started");
  ASSERT_OK(rig.start());
  for (std::uint32_t i = 0; i < 4; ++i) ASSERT_TRUE(rig.send(rig.packet(make_frame(i, 100))));
  rig.device.knobs.features_ok_sticks = false;
  rig.device.ask_for_reset();
  for (int tries = 0; tries < 3; ++tries) {
    ASSERT_FALSE(rig.port->restart().has_value());
    EXPECT_FAILS(rig.port->check(), Errc::kDeviceFault, "Restart the port again");
    EXPECT_EQ(rig.port->tx_stats(0).packets, 0U);
  }
  rig.device.knobs.features_ok_sticks = true;
  ASSERT_OK(rig.port->restart());
  EXPECT_EQ(rig.sent(),
            (Frames{make_frame(0, 100), make_frame(1, 100), make_frame(2, 100), make_frame(3, 100)}));
  EXPECT_EQ(rig.port->tx_stats(0).packets, 4U);
  // And a stop after a failure gives them back: the rig looks that none is missing.
  for (std::uint32_t i = 0; i < 4; ++i) ASSERT_TRUE(rig.send(rig.packet(make_frame(i, 100))));
  rig.device.knobs.features_ok_sticks = false;
  rig.device.ask_for_reset();
  ASSERT_FALSE(rig.port->restart().has_value());
  rig.port->stop();
  EXPECT_EQ(rig.port->tx_stats(0).restart_dropped, 4U);
}

/// The rig's memory is 2 MiB, of which the pool takes more than half: a ring that was not given back each
/// time would use the rest up.
TEST_P(Restart, ManyTakeNoMemory) {
  Rig rig(config());
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  for (std::uint32_t round = 0; round < 1500; ++round) {
    ASSERT_TRUE(rig.send(rig.packet(make_frame(round, 60))));
    ASSERT_NO_FATAL_FAILURE(restart(rig)) << round;
    ASSERT_EQ(rig.sent(), Frames{make_frame(round, 60)});
  }
}

TEST_P(Restart, TheNextPathThatTheDeviceOffersIsTaken) {
  Rig rig(config());
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  const std::string path = rig.port->tx_path();
  for (std::uint32_t i = 0; i < 4; ++i) ASSERT_TRUE(rig.send(rig.packet(make_frame(i, 100))));
  rig.device.ask_for_reset();
  rig.device.offer(rig.device.offered() & ~(kPackedBit | kInOrderBit));
  ASSERT_OK(rig.port->restart());
  EXPECT_EQ(rig.port->tx_path(), "virtio split tx") << "before: " << path;
  EXPECT_EQ(rig.sent(),
            (Frames{make_frame(0, 100), make_frame(1, 100), make_frame(2, 100), make_frame(3, 100)}));
}

}  // namespace
}  // namespace spinring::pmd
