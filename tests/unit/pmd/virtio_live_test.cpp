// What is changed and asked while the port runs: offloads, announcements, coalescing, counters, single
// queues; the MTU; recovery of a device that asks for a reset.

#include <algorithm>
#include <array>
#include <map>

#include "tests/unit/pmd/virtio_rig.hpp"

namespace spinring::pmd {
namespace {

using sim::feature;

constexpr std::uint64_t kGuest = feature(VIRTIO_NET_F_GUEST_CSUM) | feature(VIRTIO_NET_F_GUEST_TSO4) |
                                 feature(VIRTIO_NET_F_GUEST_TSO6) | feature(VIRTIO_NET_F_GUEST_USO4);
constexpr std::array<std::uint64_t, 4> kRings{0, feature(VIRTIO_F_RING_PACKED), feature(VIRTIO_F_IN_ORDER),
                                              feature(VIRTIO_F_RING_PACKED) | feature(VIRTIO_F_IN_ORDER)};

RigConfig device_with(std::uint64_t features, std::uint16_t queues = 1) {
  RigConfig config;
  config.device = with(features);
  config.device.max_pairs = 4;
  config.ring_size = 16;
  config.queues = queues;
  return config;
}

void expect_frames(Rig& rig, std::uint16_t queue = 0) {
  for (std::uint32_t i = 0; i < 40; ++i) {  // more than twice round the ring
    const Bytes frame = make_frame(i, 300 + i);
    ASSERT_TRUE(rig.device.deliver(frame, queue)) << i;
    ASSERT_EQ(rig.receive(queue), Frames{frame}) << i;
    ASSERT_TRUE(rig.send(rig.packet(frame), queue)) << i;
    ASSERT_EQ(rig.sent(queue), Frames{frame}) << i;
  }
}

// --- guest offloads ---

TEST(GuestOffloads, AreTheBitsOfTheFeatures) {
  RigConfig config = device_with(kGuest | feature(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS));
  config.offloads = Offload::kRxChecksum | Offload::kRxCoalesce;
  Rig rig(config);
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  EXPECT_FALSE(rig.device.control().guest_offloads) << "all are on from the start";
  ASSERT_OK(rig.port->set_rx_offloads({}));
  EXPECT_EQ(rig.device.control().guest_offloads, 0U);
  ASSERT_OK(rig.port->set_rx_offloads(Offload::kRxChecksum));
  EXPECT_EQ(rig.device.control().guest_offloads, feature(VIRTIO_NET_F_GUEST_CSUM));
  ASSERT_OK(rig.port->set_rx_offloads(Offload::kRxCoalesce));
  EXPECT_EQ(rig.device.control().guest_offloads, feature(VIRTIO_NET_F_GUEST_CSUM) |
                                                     feature(VIRTIO_NET_F_GUEST_TSO4) |
                                                     feature(VIRTIO_NET_F_GUEST_TSO6));
  EXPECT_FAILS(rig.port->set_rx_offloads(Offload::kRxCoalesceUdp), Errc::kBadArgument, "rx-coalesce-udp");
  EXPECT_FAILS(rig.port->set_rx_offloads(Offload::kTxChecksum), Errc::kBadArgument, "tx-checksum");
}

TEST(GuestOffloads, NeedTheirFeature) {
  RigConfig config = device_with(kGuest);
  config.offloads = Offload::kRxChecksum;
  Rig rig(config);
  ASSERT_OK(rig.open());
  EXPECT_FAILS(rig.port->set_rx_offloads({}), Errc::kBadState, "Start the port");
  ASSERT_OK(rig.start());
  EXPECT_FAILS(rig.port->set_rx_offloads({}), Errc::kUnsupported, "CTRL_GUEST_OFFLOADS");
}

// --- announcements ---

TEST(Announcement, IsAnsweredAndCounted) {
  Rig rig(device_with(feature(VIRTIO_NET_F_GUEST_ANNOUNCE)));
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  EXPECT_TRUE(rig.port->link().up);
  EXPECT_EQ(rig.port->announcements(), 0U);
  rig.device.ask_for_announcement();
  EXPECT_TRUE(rig.port->link().up);
  EXPECT_EQ(rig.device.control().announce_acks, 1U);
  EXPECT_EQ(rig.port->announcements(), 1U);
  EXPECT_TRUE(rig.port->link().up);
  EXPECT_EQ(rig.device.control().announce_acks, 1U) << "the bit is gone";
}

TEST(Announcement, WithoutTheFeatureTheBitMeansNothing) {
  Rig rig;
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  rig.device.ask_for_announcement();
  EXPECT_TRUE(rig.port->link().up);
  EXPECT_EQ(rig.device.control().announce_acks, 0U);
  EXPECT_EQ(rig.port->announcements(), 0U);
}

TEST(Announcement, ThatIsNotTakenIsNotCounted) {
  Rig rig(device_with(feature(VIRTIO_NET_F_GUEST_ANNOUNCE)));
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  rig.device.knobs.control_ack = VIRTIO_NET_ERR;
  rig.device.ask_for_announcement();
  EXPECT_TRUE(rig.port->link().up);
  EXPECT_EQ(rig.port->announcements(), 0U);
}

// --- notification coalescing ---

TEST(CoalescingCommands, OfAllQueuesOfADirection) {
  Rig rig(device_with(feature(VIRTIO_NET_F_NOTF_COAL), 2));
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  ASSERT_OK(rig.port->set_coalescing(Direction::kRx, {32, 100}));
  ASSERT_OK(rig.port->set_coalescing(Direction::kTx, {7, 8}));
  const auto& set = rig.device.control().coalescing;
  EXPECT_EQ(set.at(0), (sim::CoalescingPair{32, 100}));
  EXPECT_EQ(set.at(3), (sim::CoalescingPair{7, 8}));
  EXPECT_FAILS(rig.port->set_coalescing(Direction::kRx, 0, {1, 1}), Errc::kUnsupported, "VQ_NOTF_COAL");
  EXPECT_FAILS(rig.port->coalescing(Direction::kRx, 0), Errc::kUnsupported, "VQ_NOTF_COAL");
}

TEST(CoalescingCommands, OfOneQueueAndBack) {
  for (const std::uint64_t ring : kRings) {
    Rig rig(device_with(feature(VIRTIO_NET_F_VQ_NOTF_COAL) | ring, 2));
    ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
    ASSERT_OK(rig.port->set_coalescing(Direction::kTx, 1, {0x12345678, 0x9ABCDEF0}));
    EXPECT_EQ(rig.device.control().coalescing.at(3), (sim::CoalescingPair{0x12345678, 0x9ABCDEF0}));
    const auto read = rig.port->coalescing(Direction::kTx, 1);
    ASSERT_OK(read);
    EXPECT_EQ(*read, (Coalescing{0x12345678, 0x9ABCDEF0}));
    EXPECT_EQ(*rig.port->coalescing(Direction::kRx, 1), Coalescing{}) << "zeros, not the last reply";
    EXPECT_FAILS(rig.port->coalescing(Direction::kRx, 2), Errc::kBadArgument, "queue 2");
    EXPECT_FAILS(rig.port->set_coalescing(Direction::kRx, {1, 1}), Errc::kUnsupported, "NOTF_COAL");
  }
}

// --- the device's counters ---

std::map<std::string, std::uint64_t> stats_of(AnyPort& port) {
  std::map<std::string, std::uint64_t> stats;
  for (const NamedStat& stat : port.extended_stats()) {
    EXPECT_TRUE(stats.emplace(stat.name, stat.value).second) << stat.name << " twice";
  }
  return stats;
}

TEST(DeviceStatistics, AreThoseOfTheQueuesInUse) {
  Rig rig(device_with(feature(VIRTIO_NET_F_DEVICE_STATS), 2));
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  const auto stats = stats_of(*rig.port);
  const auto value = sim::SimVirtioNet::stats_value;
  EXPECT_EQ(stats.at("rx_q0_hw_notifications"), value(0, 0, 0));
  EXPECT_EQ(stats.at("rx_q1_hw_drop_overruns"), value(2, 0, 5));
  EXPECT_EQ(stats.at("rx_q1_hw_csum_bad"), value(2, 1, 3));
  EXPECT_EQ(stats.at("rx_q0_hw_gso_bytes_coalesced"), value(0, 2, 3));
  EXPECT_EQ(stats.at("tx_q0_hw_drop_malformed"), value(1, 16, 5));
  EXPECT_EQ(stats.at("tx_q1_hw_gso_bytes_noseg"), value(3, 18, 5));
  EXPECT_EQ(stats.at("tx_q1_hw_ratelimit_bytes"), value(3, 19, 1));
  EXPECT_EQ(stats.at("ctrl_hw_commands"), value(8, 32, 0));
  EXPECT_FALSE(stats.contains("rx_q0_hw_ratelimit_bytes")) << "the device does not have it";
  EXPECT_FALSE(stats.contains("rx_q2_hw_packets")) << "not in use";
  EXPECT_EQ(stats.size(), 2U * (6 + 4 + 4) + 2U * (6 + 2 + 6 + 2) + 2 + 1);
}

TEST(DeviceStatistics, NoneWithoutTheFeatureOrAnswer) {
  Rig plain;
  ASSERT_NO_FATAL_FAILURE(plain.open_and_start());
  EXPECT_EQ(stats_of(*plain.port), (std::map<std::string, std::uint64_t>{{"announcements", 0}}));
  Rig refusing(device_with(feature(VIRTIO_NET_F_DEVICE_STATS)));
  ASSERT_NO_FATAL_FAILURE(refusing.open_and_start());
  refusing.device.knobs.control_ack = VIRTIO_NET_ERR;
  EXPECT_EQ(stats_of(*refusing.port).size(), 1U);
}

TEST(DeviceStatistics, AnswersThatCannotBeAreReadNoFurther) {
  Rig rig(device_with(feature(VIRTIO_NET_F_DEVICE_STATS)));
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  const auto count_of = [&](std::vector<std::uint8_t> answer) {
    rig.device.stats_answer = std::move(answer);
    return stats_of(*rig.port).size() - 1;
  };
  EXPECT_EQ(count_of({}), 0U);
  EXPECT_EQ(count_of({0, 0, 0, 0, 0, 0, 0, 0}), 0U) << "a size of 0";
  EXPECT_EQ(count_of({0, 0, 0, 0, 0, 0, 7, 0}), 0U) << "shorter than its head";
  EXPECT_EQ(count_of({0, 0, 0, 0, 0, 0, 0xFF, 0xFF}), 0U) << "longer than the answer";
  EXPECT_EQ(count_of({0, 0, 9, 0, 0, 0, 56, 0}), 0U) << "of another queue";
  std::vector<std::uint8_t> unknown{77, 0, 0, 0, 0, 0,  16, 0, 1, 2, 3, 4, 5, 6, 7, 8, 1,
                                    0,  0, 0, 0, 0, 17, 0,  1, 0, 0, 0, 0, 0, 0, 0, 9};
  EXPECT_EQ(count_of(unknown), 1U) << "an unknown part is passed over, a short one read as far as it goes";
  EXPECT_EQ(count_of(std::vector<std::uint8_t>(512, 0)), 0U);
}

// --- one queue ---

TEST(QueueReset, EachQueueIsStoppedAndStartedAlone) {
  for (const std::uint64_t ring : kRings) {
    Rig rig(device_with(feature(VIRTIO_F_RING_RESET) | ring, 2));
    ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
    const auto old_rx = rig.port->rx(1);
    ASSERT_NO_FATAL_FAILURE(expect_frames(rig, 1));
    for (const Direction direction : {Direction::kRx, Direction::kTx}) {
      ASSERT_OK(rig.port->stop_queue(direction, 1));
      EXPECT_TRUE(rig.port->check().has_value()) << "a queue that rests is no fault";
      std::array<mempool::Packet*, 4> none{};
      EXPECT_EQ(old_rx.burst(none), 0);
      ASSERT_NO_FATAL_FAILURE(expect_frames(rig, 0));
      ASSERT_OK(rig.port->start_queue(direction, 1));
      ASSERT_NO_FATAL_FAILURE(expect_frames(rig, 1));
      ASSERT_NO_FATAL_FAILURE(expect_frames(rig, 0));
    }
    EXPECT_EQ(rig.device.queue(2).resets, 1U);
    EXPECT_EQ(rig.device.queue(3).resets, 1U);
    EXPECT_EQ(rig.port->rx_stats(1).packets, 120U) << "counted on";
    EXPECT_EQ(rig.port->tx_stats(1).packets, 120U);
    const Bytes frame = make_frame(3, 100);
    ASSERT_TRUE(rig.device.deliver(frame, 1));
    std::array<mempool::Packet*, 4> out{};
    ASSERT_EQ(old_rx.burst(out), 1) << "the handle stays good";
    rig.cache->put_chain(out[0]);
  }
}

TEST(QueueReset, PacketsOnTheirWayComeBack) {
  Rig rig(device_with(feature(VIRTIO_F_RING_RESET)));
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  const auto held = [&] {
    rig.cache->flush();
    return rig.pool->capacity() - rig.pool->available();
  };
  EXPECT_EQ(held(), 16U);
  for (std::uint32_t i = 0; i < 10; ++i) ASSERT_TRUE(rig.send(rig.packet(make_frame(i, 100))));
  EXPECT_EQ(held(), 26U);
  ASSERT_OK(rig.port->stop_queue(Direction::kTx, 0));
  EXPECT_EQ(held(), 16U);
  ASSERT_OK(rig.port->stop_queue(Direction::kRx, 0));
  EXPECT_EQ(held(), 0U);
  ASSERT_OK(rig.port->start_queue(Direction::kRx, 0));
  EXPECT_EQ(held(), 16U);
  mempool::Packet* const packet = rig.packet(make_frame(1, 100));
  EXPECT_FALSE(rig.send(packet)) << "still the caller's";
  ASSERT_OK(rig.port->start_queue(Direction::kTx, 0));
  EXPECT_EQ(rig.sent(), Frames{}) << "what was thrown away does not come again";
  EXPECT_TRUE(rig.send(packet));
  EXPECT_EQ(rig.sent(), Frames{make_frame(1, 100)});
}

TEST(QueueReset, StatesThatDoNotFitAreRefused) {
  Rig rig(device_with(feature(VIRTIO_F_RING_RESET)));
  ASSERT_OK(rig.open());
  EXPECT_FAILS(rig.port->stop_queue(Direction::kRx, 0), Errc::kBadState, "Start the port");
  ASSERT_OK(rig.start());
  EXPECT_FAILS(rig.port->start_queue(Direction::kRx, 0), Errc::kBadState, "it runs");
  EXPECT_FAILS(rig.port->stop_queue(Direction::kRx, 1), Errc::kBadArgument, "queue 1");
  ASSERT_OK(rig.port->stop_queue(Direction::kRx, 0));
  EXPECT_FAILS(rig.port->stop_queue(Direction::kRx, 0), Errc::kBadState, "it is stopped");
  rig.port->stop();
  ASSERT_OK(rig.start());
  EXPECT_NO_FATAL_FAILURE(expect_frames(rig)) << "a start starts all";
}

TEST(QueueReset, NeedsItsFeature) {
  Rig rig;
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  EXPECT_FAILS(rig.port->stop_queue(Direction::kRx, 0), Errc::kUnsupported, "RING_RESET");
  EXPECT_NO_FATAL_FAILURE(expect_frames(rig));
}

TEST(QueueReset, ASlowDeviceIsWaitedForAndAStuckOneReported) {
  Rig rig(device_with(feature(VIRTIO_F_RING_RESET)));
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  rig.device.knobs.queue_reset_reads = 20;
  ASSERT_OK(rig.port->stop_queue(Direction::kRx, 0));
  ASSERT_OK(rig.port->start_queue(Direction::kRx, 0));
  EXPECT_NO_FATAL_FAILURE(expect_frames(rig));
  rig.device.knobs.queue_reset_reads = -1;
  EXPECT_FAILS(rig.port->stop_queue(Direction::kTx, 0), Errc::kTimeout, "queue_reset");
  rig.port->stop();
  rig.device.knobs.queue_reset_reads = 0;
  ASSERT_OK(rig.start());
  EXPECT_NO_FATAL_FAILURE(expect_frames(rig));
}

// --- MTU ---

TEST(Mtu, DecidesHowLargeBuffersMustBe) {
  RigConfig config = device_with(0);
  config.device.features &= ~feature(VIRTIO_NET_F_MRG_RXBUF);
  config.device.registers.mtu = 9000;
  Rig rig(config);
  ASSERT_OK(rig.open());
  EXPECT_FAILS(rig.start(), Errc::kBadArgument, "9018 bytes");
  auto settings = rig.port_config();
  settings.mtu = 1500;
  ASSERT_OK(rig.port->start(settings));
  EXPECT_FALSE(rig.device.negotiated(VIRTIO_NET_F_MTU)) << "5.1.4.2: it promises buffers for the whole MTU";
  EXPECT_NO_FATAL_FAILURE(expect_frames(rig));
  rig.port->stop();
  settings.mtu = 3000;
  EXPECT_FAILS(rig.port->start(settings), Errc::kBadArgument, "3018 bytes");
}

TEST(Mtu, IsWithinWhatTheDeviceTakes) {
  RigConfig config = device_with(0);
  config.device.registers.mtu = 2000;
  Rig rig(config);
  ASSERT_OK(rig.open());
  auto settings = rig.port_config();
  settings.mtu = 2001;
  EXPECT_FAILS(rig.port->start(settings), Errc::kBadArgument, "68 to 2000");
  settings.mtu = 67;
  EXPECT_FAILS(rig.port->start(settings), Errc::kBadArgument, "MTU of 67");
  settings.mtu = 2000;
  ASSERT_OK(rig.port->start(settings));
  EXPECT_TRUE(rig.device.negotiated(VIRTIO_NET_F_MTU));
}

TEST(Mtu, OfADeviceThatNamesNoneIsTheCallers) {
  RigConfig config;
  config.device = without(feature(VIRTIO_NET_F_MTU) | feature(VIRTIO_NET_F_MRG_RXBUF));
  config.buffer_length = 9400;
  config.packets = 64;
  config.ring_size = 16;
  Rig rig(config);
  ASSERT_OK(rig.open());
  auto settings = rig.port_config();
  settings.mtu = 9000;
  ASSERT_OK(rig.port->start(settings));
  const Bytes frame = make_frame(1, 9014);
  ASSERT_TRUE(rig.device.deliver(frame));
  EXPECT_EQ(rig.receive(), Frames{frame});
}

// --- recovery ---

TEST(Recovery, AfterDeviceNeedsResetAllIsSetUpAgain) {
  RigConfig config = device_with(
      kGuest | feature(VIRTIO_NET_F_CSUM) | feature(VIRTIO_NET_F_RSS) | feature(VIRTIO_NET_F_HASH_REPORT), 2);
  config.offloads = Offload::kRxChecksum | Offload::kTxChecksum | Offload::kRss | Offload::kRxHash;
  Rig rig(config);
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  for (int round = 0; round < 3; ++round) {
    ASSERT_NO_FATAL_FAILURE(expect_frames(rig, 1));
    rig.device.ask_for_reset();
    EXPECT_FAILS(rig.port->check(), Errc::kDeviceFault, "DEVICE_NEEDS_RESET");
    ASSERT_TRUE(rig.send(rig.packet(make_frame(9, 100)), 1)) << "taken, and freed by the restart";
    rig.port->stop();
    ASSERT_OK(rig.start());
    EXPECT_TRUE(rig.port->check().has_value());
    ASSERT_TRUE(rig.device.control().hash);
    EXPECT_EQ(rig.device.control().active_pairs, 2);
  }
  ASSERT_NO_FATAL_FAILURE(expect_frames(rig, 1));
}

}  // namespace
}  // namespace spinring::pmd
