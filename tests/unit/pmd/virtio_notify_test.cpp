// Doorbells: one a burst at most, none when the device does not want them, each to the right place.

#include <array>

#include "tests/unit/pmd/virtio_rig.hpp"

namespace spinring::pmd {
namespace {

using mempool::Packet;

TEST(Doorbells, OneForABurstOfPackets) {
  Rig rig({.ring_size = 64});
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  std::vector<Packet*> packets;
  for (std::uint32_t i = 0; i < 32; ++i) packets.push_back(rig.packet(make_frame(i, 60)));
  ASSERT_EQ(rig.port->tx(0).burst(packets), 32);
  EXPECT_EQ(rig.device.tx_queue().notifications, 1U);
  EXPECT_EQ(rig.device.tx_waiting(), 32);
}

TEST(Doorbells, NoneForAnEmptyBurst) {
  Rig rig({.ring_size = 64});
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  const std::uint64_t after_start = rig.device.all_notifications();
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(rig.receive().empty());
    rig.reclaim();
  }
  EXPECT_EQ(rig.device.all_notifications(), after_start);
}

TEST(Doorbells, NoneForPacketsThatWereOnlyRejected) {
  Rig rig({.ring_size = 64});
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  ASSERT_TRUE(rig.send(rig.packet({})));
  EXPECT_EQ(rig.device.tx_queue().notifications, 0U);
}

TEST(Doorbells, TheRxQueueHearsOfItsFirstBuffers) {
  Rig rig({.ring_size = 64});
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  EXPECT_EQ(rig.device.rx_queue().notifications, 1U);
  EXPECT_EQ(rig.device.rx_buffers(), 64);
}

TEST(Doorbells, ARefillRingsOnceHoweverLarge) {
  Rig rig({.ring_size = 256});
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  for (std::uint32_t i = 0; i < 200; ++i) ASSERT_TRUE(rig.device.deliver(make_frame(i, 60)));
  const std::uint64_t before = rig.device.rx_queue().notifications;
  EXPECT_EQ(rig.receive(0, 200).size(), 200U);
  EXPECT_TRUE(rig.receive().empty());  // by the next poll at the latest
  EXPECT_EQ(rig.device.rx_queue().notifications, before + 1);
}

TEST(Doorbells, NoneWhileTheDeviceSuppressesThem) {
  Rig rig({.ring_size = 64});
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  rig.device.rx_ring().suppress_notifications(true);
  rig.device.tx_ring().suppress_notifications(true);
  const std::uint64_t before = rig.device.all_notifications();
  for (std::uint32_t i = 0; i < 200; ++i) {
    ASSERT_TRUE(rig.device.deliver(make_frame(i, 60)));
    ASSERT_TRUE(rig.send(rig.packet(make_frame(i, 60))));
    ASSERT_EQ(rig.sent().size(), 1U) << "the device sees the packets all the same";
    ASSERT_EQ(rig.receive().size(), 1U);
  }
  EXPECT_EQ(rig.device.all_notifications(), before);
  EXPECT_EQ(rig.device.tx_queue().unwanted_notifications, 0U);
  rig.device.tx_ring().suppress_notifications(false);
  ASSERT_TRUE(rig.send(rig.packet(make_frame(1, 60))));
  EXPECT_EQ(rig.device.tx_queue().notifications, 1U) << "and again when it wants them";
}

TEST(Doorbells, InterruptsOfThePolledQueuesAreOff) {
  RigConfig config{.ring_size = 64};
  config.device.interrupt_vectors = 3;
  Rig rig(config);
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  for (std::uint32_t i = 0; i < 100; ++i) {
    ASSERT_TRUE(rig.device.deliver(make_frame(i, 60)));
    ASSERT_TRUE(rig.send(rig.packet(make_frame(i, 60))));
    ASSERT_EQ(rig.sent().size(), 1U);
    ASSERT_EQ(rig.receive().size(), 1U);
  }
  EXPECT_EQ(rig.device.rx_queue().interrupts, 0U);
  EXPECT_EQ(rig.device.tx_queue().interrupts, 0U);
  EXPECT_EQ(rig.device.rx_queue().vector, 0xffff);
}

/// The doorbell's place is notify_off * multiplier of the queue, whatever they are: the simulated device
/// notes one that rings elsewhere.
TEST(Doorbells, RingWhereTheNotifyCapabilitySays) {
  for (const std::uint32_t multiplier : {0U, 2U, 4U, 0x100U, 0x400U}) {
    RigConfig config{.ring_size = 64};
    config.device.layout.notify_multiplier = multiplier;
    Rig rig(config);
    rig.device.knobs.notify_off = {{0, 3}, {1, 0}, {2, 1}};
    ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
    ASSERT_TRUE(rig.send(rig.packet(make_frame(1, 60))));
    EXPECT_EQ(rig.device.tx_queue().notifications, 1U) << multiplier;
    EXPECT_EQ(rig.sent(), Frames{make_frame(1, 60)});
  }
}

TEST(Doorbells, OutsideTheNotifyStructureIsAnError) {
  Rig rig;
  ASSERT_OK(rig.open());
  rig.device.knobs.notify_off = {{1, 0x1000}};
  EXPECT_FAILS(rig.start(), Errc::kBadDevice, "outside the notification structure");
  rig.device.knobs.notify_off = {{1, 0x3ff}};  // its last place
  ASSERT_OK(rig.start());
  ASSERT_TRUE(rig.send(rig.packet(make_frame(1, 60))));
  EXPECT_EQ(rig.device.tx_queue().notifications, 1U);
}

}  // namespace
}  // namespace spinring::pmd
