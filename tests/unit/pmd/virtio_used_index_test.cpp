// The device's index in the used ring of a split virtqueue: when it is worth to have it on its way, what is
// believed of it, and what a driver that reads it before it must does with one that is wrong.

#include <array>
#include <cstdint>

#include "pmd/virtio/split_used.hpp"
#include "tests/unit/pmd/virtio_rig.hpp"

namespace spinring::pmd {
namespace {

using virtio::SplitUsed;
using virtio::UsedHead;

class UsedIndex : public ::testing::Test {
 protected:
  static constexpr std::uint16_t kSize = 8;
  void device_says(std::uint16_t index) { head.index = index; }

  alignas(kCacheLine) std::array<std::byte, sizeof(UsedHead) + kSize * sizeof(virtio::UsedElement)> block{};
  UsedHead& head = *reinterpret_cast<UsedHead*>(block.data());
  SplitUsed used{&head, kSize};
};

TEST_F(UsedIndex, IsBelievedUpToWhatTheDeviceHolds) {
  device_says(3);
  EXPECT_TRUE(used.has_more());
  EXPECT_EQ(used.waiting(), 0U) << "it was not read";
  EXPECT_TRUE(used.look(3));
  EXPECT_EQ(used.waiting(), 3U);
  device_says(4);
  EXPECT_FALSE(used.look(3));
  EXPECT_EQ(used.waiting(), 0U) << "nothing of it is believed";
  EXPECT_EQ(used.taken(), 0U);
  device_says(3);
  EXPECT_TRUE(used.look(3)) << "the next look is as good as the first";
  device_says(0xffff);
  EXPECT_FALSE(used.look(kSize));
}

TEST_F(UsedIndex, GoesRoundAtItsOwnEnd) {
  used.take_up_to(0xfffe);
  device_says(0xfffe);
  EXPECT_TRUE(used.look(0));
  EXPECT_FALSE(used.has_more());
  device_says(2);
  EXPECT_TRUE(used.look(kSize));
  EXPECT_EQ(used.waiting(), 4U);
  EXPECT_EQ(used.behind(1), 1U);
  used.take_up_to(2);
  EXPECT_EQ(used.waiting(), 0U);
}

TEST_F(UsedIndex, IsExpectedOnlyWhereTheNextAreKnownAndThoseBehindAreNot) {
  device_says(6);
  EXPECT_FALSE(used.expect(1, kSize)) << "none is known: whoever takes one reads it anyway";
  EXPECT_TRUE(used.expect(0, kSize));
  ASSERT_TRUE(used.look(kSize));
  EXPECT_TRUE(used.expect(4, 4)) << "2 behind the next 4";
  EXPECT_FALSE(used.expect(4, 2)) << "these are enough";
  EXPECT_TRUE(used.expect(6, 1));
  EXPECT_FALSE(used.expect(7, 1));
}

/// The driver over a device that is made to break the rules between two bursts.
class EarlyLook : public ::testing::Test {
 protected:
  static constexpr std::uint16_t kRing = 256;
  static constexpr std::uint16_t kBurst = 32;
  EarlyLook() : rig({.packets = 1024, .ring_size = kRing, .memory_bytes = 4U << 20}) { rig.forgive_device(); }
  void SetUp() override { ASSERT_NO_FATAL_FAILURE(rig.open_and_start()); }
  void deliver(std::uint32_t from, std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) ASSERT_TRUE(rig.device.deliver(make_frame(from + i, 60)));
  }
  void send_burst(std::uint32_t from) {
    std::array<mempool::Packet*, kBurst> packets{};
    for (std::uint32_t i = 0; i < kBurst; ++i) packets[i] = rig.packet(make_frame(from + i, 60));
    ASSERT_EQ(rig.port->tx(0).burst(packets), kBurst);
  }
  void expect_recovery() {
    rig.port->stop();
    rig.cache->flush();
    EXPECT_EQ(rig.pool->available(), rig.pool->capacity());
    ASSERT_OK(rig.start());
    ASSERT_NO_FATAL_FAILURE(deliver(7, 1));
    EXPECT_EQ(rig.receive(), Frames{make_frame(7, 60)});
    ASSERT_NO_FATAL_FAILURE(send_burst(9));
    EXPECT_EQ(rig.sent().size(), kBurst);
    ASSERT_OK(rig.port->check());
  }

  Rig rig;
};

TEST_F(EarlyLook, AnRxIndexThatBreaksMeanwhileCostsNoFrameThatWasKnown) {
  ASSERT_NO_FATAL_FAILURE(deliver(0, 20));
  EXPECT_EQ(rig.receive(0, 8).size(), 8U);  // reads the index: 12 more are known
  auto& ring = rig.device.rx_ring();
  ring.store_used_index(static_cast<std::uint16_t>(ring.used_index() + kRing + 1));
  const Frames frames = rig.receive(0, 8);  // reads it at its end, for the burst behind
  ASSERT_EQ(frames.size(), 8U);
  for (std::uint32_t i = 0; i < 8; ++i) EXPECT_EQ(frames[i], make_frame(8 + i, 60));
  ASSERT_OK(rig.port->check());
  EXPECT_TRUE(rig.receive(0, 8).empty());
  EXPECT_FAILS(rig.port->check(), Errc::kDeviceFault, "rx queue");
  ASSERT_NO_FATAL_FAILURE(expect_recovery());
}

TEST_F(EarlyLook, ATxIndexThatBreaksMeanwhileIsFoundByTheNextReclaim) {
  // A device that keeps up: whole batches of what was sent are found.
  for (std::uint32_t i = 0; i < 16; ++i) {
    ASSERT_NO_FATAL_FAILURE(send_burst(i * kBurst));
    ASSERT_EQ(rig.sent().size(), kBurst);
  }
  auto& ring = rig.device.tx_ring();
  ring.store_used_index(static_cast<std::uint16_t>(ring.used_index() + kRing + 1));
  std::uint32_t bursts = 0;
  std::array<mempool::Packet*, kBurst> packets{};
  do {
    ASSERT_LT(++bursts, kRing / kBurst) << "the index was never read";
    for (auto& packet : packets) packet = rig.packet(make_frame(1, 60));
  } while (rig.port->tx(0).burst(packets) == kBurst);
  EXPECT_FAILS(rig.port->check(), Errc::kDeviceFault, "tx queue");
  for (mempool::Packet* const packet : packets) rig.cache->put_chain(packet);
  ASSERT_NO_FATAL_FAILURE(expect_recovery());
}

TEST_F(EarlyLook, WhatWasSentComesBackAndNoPacketIsLost) {
  for (std::uint32_t i = 0; i < 200; ++i) {
    ASSERT_NO_FATAL_FAILURE(send_burst(i * kBurst));
    const Frames frames = rig.sent();
    ASSERT_EQ(frames.size(), kBurst);
    EXPECT_EQ(frames[i % kBurst], make_frame(i * kBurst + i % kBurst, 60));
  }
  EXPECT_EQ(rig.port->tx_stats(0).bad_completions, 0U);
  ASSERT_OK(rig.port->check());
}

}  // namespace
}  // namespace spinring::pmd
