// DPDK's vhost goes and comes back: nothing is lost, and what it had not taken it gets again, in order.

#include <algorithm>

#include "pmd/errors.hpp"
#include "tests/sim/uapi_virtio.hpp"
#include "tests/vhost/vhost_rig.hpp"

namespace spinring::vhost_test {
namespace {

std::uint64_t reconnects(pmd::AnyPort& port) {
  for (const pmd::NamedStat& stat : port.extended_stats()) {
    if (stat.name == "reconnects") return stat.value;
  }
  ADD_FAILURE() << "no counter of that name";
  return 0;
}

class SwitchRestart : public ::testing::TestWithParam<unsigned> {
 protected:
  [[nodiscard]] static VhostConfig config() {
    return {.packed = (GetParam() & 1U) != 0, .in_order = (GetParam() & 2U) != 0, .queues = 2, .ring = 64};
  }
};

INSTANTIATE_TEST_SUITE_P(Rings, SwitchRestart, ::testing::Range(0U, 4U));

void send_frames(VhostRig& rig, std::uint32_t from, std::uint32_t to, std::uint16_t queue) {
  std::vector<mempool::Packet*> packets;
  for (std::uint32_t seed = from; seed < to; ++seed) packets.push_back(rig.packet(make_frame(seed, 100)));
  ASSERT_NO_FATAL_FAILURE(rig.send(packets, queue));
}

void expect_sent(VhostRig& rig, std::uint32_t from, std::uint32_t to, std::uint16_t queue) {
  const auto sent = rig.collect(to - from, queue);
  ASSERT_EQ(sent.size(), to - from);
  EXPECT_TRUE(rig.far->collect(queue).empty());
  for (std::uint32_t i = 0; i < sent.size(); ++i) ASSERT_EQ(sent[i].bytes, make_frame(from + i, 100)) << i;
}

TEST_P(SwitchRestart, WhatWasNotTakenIsSentAgain) {
  VhostRig rig(config());
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  std::uint32_t seed = 0;
  for (std::uint32_t round = 1; round <= 12; ++round) {
    ASSERT_NO_FATAL_FAILURE(send_frames(rig, seed, seed + 20, 0));
    ASSERT_NO_FATAL_FAILURE(expect_sent(rig, seed, seed + 20, 0));
    const std::uint32_t waiting = round * 5;  // up to nearly all of the ring
    ASSERT_NO_FATAL_FAILURE(send_frames(rig, seed + 20, seed + 20 + waiting, 0));
    ASSERT_NO_FATAL_FAILURE(send_frames(rig, seed, seed + 3, 1));
    rig.unplug();
    ASSERT_FALSE(rig.port->check().has_value());
    EXPECT_FALSE(rig.port->may_restart());
    EXPECT_FALSE(rig.port->link().up);
    rig.plug();
    ASSERT_NO_FATAL_FAILURE(rig.restart());
    ASSERT_TRUE(rig.port->check().has_value());
    ASSERT_NO_FATAL_FAILURE(expect_sent(rig, seed + 20, seed + 20 + waiting, 0));
    ASSERT_NO_FATAL_FAILURE(expect_sent(rig, seed, seed + 3, 1));
    // And the other way: all receive buffers are there again.
    std::vector<Frame> frames;
    for (std::uint32_t i = 0; i < 60; ++i) frames.push_back(make_frame(seed + i, 200));
    ASSERT_EQ(rig.far->deliver(frames, 1), frames.size());
    auto packets = rig.receive(64, 1);
    ASSERT_EQ(packets.size(), frames.size());
    for (std::size_t i = 0; i < frames.size(); ++i) {
      EXPECT_EQ(bytes_of(packets[i]), frames[i]);
      rig.cache->put_chain(packets[i]);
    }
    EXPECT_EQ(reconnects(*rig.port), round);
    seed += 20 + waiting;
  }
  EXPECT_EQ(rig.port->tx_stats(0).packets, seed);
  EXPECT_EQ(rig.port->tx_stats(0).sent_again, 5U * 12 * 13 / 2);
  EXPECT_EQ(rig.port->tx_stats(1).sent_again, 36U);
  EXPECT_EQ(rig.port->tx_stats(0).restart_dropped, 0U);
}

TEST_P(SwitchRestart, WhatItDeliveredBeforeItWentIsReceived) {
  VhostRig rig(config());
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  const std::vector<Frame> frames{make_frame(1, 100), make_frame(2, 3000), make_frame(3, 60)};
  ASSERT_EQ(rig.far->deliver(frames), frames.size());
  rig.unplug();
  auto packets = rig.receive(64);
  ASSERT_EQ(packets.size(), frames.size());
  for (std::size_t i = 0; i < frames.size(); ++i) EXPECT_EQ(bytes_of(packets[i]), frames[i]);
  // They wait in the TX ring for the next switch.
  ASSERT_NO_FATAL_FAILURE(rig.send(packets));
  rig.plug();
  ASSERT_NO_FATAL_FAILURE(rig.restart());
  const auto sent = rig.collect(frames.size());
  ASSERT_EQ(sent.size(), frames.size());
  for (std::size_t i = 0; i < frames.size(); ++i) EXPECT_EQ(sent[i].bytes, frames[i]);
  EXPECT_EQ(rig.port->rx_stats(0).restart_dropped, 0U);
}

TEST_P(SwitchRestart, OneThatOffersLessGetsTheNextPathOrIsRefused) {
  VhostRig rig(config());
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  ASSERT_NO_FATAL_FAILURE(send_frames(rig, 0, 10, 0));
  rig.plug(1ULL << VIRTIO_F_RING_PACKED | 1ULL << 35U | 1ULL << VIRTIO_NET_F_MRG_RXBUF);
  ASSERT_NO_FATAL_FAILURE(rig.restart());
  EXPECT_EQ(rig.port->tx_path(), "virtio split tx");
  EXPECT_EQ(rig.port->rx_path(), "virtio split rx");
  rig.plug(1ULL << VIRTIO_NET_F_MQ);
  ASSERT_TRUE(rig.port->may_restart());
  const auto refused = rig.port->restart();
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message().find("MQ"), std::string::npos) << refused.error().message();
  rig.plug();
  ASSERT_NO_FATAL_FAILURE(rig.restart());
  ASSERT_NO_FATAL_FAILURE(expect_sent(rig, 0, 10, 0));
}

TEST(SwitchRestartServer, ThePortListensAndTheSwitchComesBack) {
  VhostRig rig({.ring = 64, .server = true});
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  for (std::uint32_t round = 0; round < 2; ++round) {
    ASSERT_NO_FATAL_FAILURE(send_frames(rig, 0, 30, 0));
    rig.unplug();
    ASSERT_FALSE(rig.port->check().has_value());
    rig.plug();
    ASSERT_NO_FATAL_FAILURE(rig.restart());
    ASSERT_NO_FATAL_FAILURE(expect_sent(rig, 0, 30, 0));
  }
  EXPECT_EQ(reconnects(*rig.port), 2U);
}

}  // namespace
}  // namespace spinring::vhost_test
