// EVENT_IDX and NOTIFICATION_DATA on every kind of ring: a device that sleeps is woken, one that does not is
// left alone, and neither is forgotten while the indexes wrap. The simulated device notes a doorbell whose
// width or data are wrong.

#include <algorithm>

#include "pmd/virtio/notify.hpp"
#include "tests/quick_mode.hpp"
#include "tests/unit/pmd/virtio_rig.hpp"

namespace spinring::pmd {
namespace {

using mempool::Packet;
using sim::feature;

constexpr std::uint64_t kPackedRing = feature(VIRTIO_F_RING_PACKED);
constexpr std::uint64_t kOrdered = feature(VIRTIO_F_IN_ORDER);
constexpr std::uint64_t kData = feature(VIRTIO_F_NOTIFICATION_DATA);
constexpr std::uint16_t kEntries = 32;
/// More than 16 bits of positions, by packets or by the ring's laps. The short form has laps of the ring
/// alone.
const std::uint32_t kManyFrames = test::quick_mode() ? 14'000 : 140'000;

class Doorbells : public ::testing::TestWithParam<std::uint64_t> {
 protected:
  explicit Doorbells(std::uint64_t features) : rig(config(features)) {}

  static RigConfig config(std::uint64_t features) {
    RigConfig config;
    config.device = with(GetParam() | features);
    config.ring_size = kEntries;
    return config;
  }
  /// Sends `count` packets in one burst.
  void send(std::uint16_t count, More more) {
    std::vector<Packet*> packets;
    while (packets.size() < count) packets.push_back(rig.packet(frame));
    ASSERT_EQ(rig.port->tx(0).burst(packets, more), count);
  }
  [[nodiscard]] std::uint64_t told() { return rig.device.tx_queue().notifications; }

  Rig rig;
  const Bytes frame = make_frame(1, 60);
};
std::string name_of(const ::testing::TestParamInfo<std::uint64_t>& ring) {
  return std::string((ring.param & kPackedRing) != 0 ? "packed" : "split") +
         ((ring.param & kOrdered) != 0 ? "InOrder" : "") + ((ring.param & kData) != 0 ? "WithData" : "");
}

class Events : public Doorbells {
 protected:
  Events() : Doorbells(feature(VIRTIO_RING_F_EVENT_IDX)) {}
};
INSTANTIATE_TEST_SUITE_P(Rings, Events,
                         ::testing::Values(0, kPackedRing, kOrdered, kPackedRing | kOrdered, kData,
                                           kData | kPackedRing, kData | kOrdered,
                                           kData | kPackedRing | kOrdered),
                         name_of);

TEST_P(Events, ADeviceThatSleepsIsToldOnce) {
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  std::uint64_t slept = 0;
  for (std::uint32_t sent = 0; sent < kManyFrames; sent += 5) {
    const bool asleep = rig.device.tx_waiting() == 0;
    slept += asleep ? 1 : 0;
    ASSERT_NO_FATAL_FAILURE(send(5, More::kNo));
    ASSERT_EQ(told(), slept) << sent;
    // Every third time the device takes only a part, and goes on when it is not told.
    const std::size_t taken = sent % 3 == 0 ? 3 : 64;
    ASSERT_FALSE(rig.device.collect(0, taken).empty());
  }
  EXPECT_LT(slept, kManyFrames / 5);
}

TEST_P(Events, ADeviceThatSleptLongIsToldWhenNoMoreComes) {
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  for (std::uint16_t lap = 0; lap < 4; ++lap) {
    rig.device.any_tx_ring().suppress_notifications(true);
    const std::uint64_t before = told();
    for (std::uint32_t sent = 0; sent < kManyFrames / 4 + 7U * lap; ++sent) {
      ASSERT_NO_FATAL_FAILURE(send(1, More::kSoon));
      (void)rig.device.collect();
    }
    ASSERT_EQ(told(), before) << "it did not ask";
    ASSERT_NO_FATAL_FAILURE(send(0, More::kNo));
    (void)rig.device.collect();
    rig.device.any_tx_ring().suppress_notifications(false);
    ASSERT_NO_FATAL_FAILURE(send(static_cast<std::uint16_t>(1 + lap), More::kSoon));
    ASSERT_NO_FATAL_FAILURE(send(0, More::kNo));
    ASSERT_EQ(told(), before + 1);
    ASSERT_EQ(rig.sent().size(), 1U + lap);
  }
}

TEST_P(Events, ReceiveBuffersAreAnnouncedToWhoWaitsForThem) {
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  const std::uint64_t before = rig.device.rx_queue().notifications;
  std::uint64_t empty = 0;
  for (std::uint32_t round = 0; round < 3000; ++round) {
    const auto count = std::min<std::uint32_t>(rig.device.rx_buffers(), round % 4 == 0 ? kEntries : 9);
    for (std::uint32_t i = 0; i < count; ++i) ASSERT_TRUE(rig.device.deliver(frame));
    empty += rig.device.rx_buffers() == 0 ? 1 : 0;
    ASSERT_EQ(rig.receive().size(), count);
    ASSERT_TRUE(rig.receive().empty());  // an idle poll tells at the latest
    ASSERT_NE(rig.device.rx_buffers(), 0);
    ASSERT_EQ(rig.device.rx_queue().notifications, before + empty) << round;
  }
  EXPECT_GT(empty, 500U);
  EXPECT_LT(empty, 2000U);
}

TEST_P(Events, NoInterruptComes) {
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  for (std::uint32_t i = 0; i < kManyFrames; i += 8) {
    for (int n = 0; n < 8; ++n) ASSERT_TRUE(rig.device.deliver(frame));
    ASSERT_NO_FATAL_FAILURE(send(8, More::kNo));
    ASSERT_EQ(rig.sent().size(), 8U);
    ASSERT_EQ(rig.receive().size(), 8U);
  }
  EXPECT_EQ(rig.device.rx_queue().interrupts, 0U);
  EXPECT_EQ(rig.device.tx_queue().interrupts, 0U);
}

TEST_P(Events, SurviveARestartAndAQueueThatIsRenewed) {
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  ASSERT_NO_FATAL_FAILURE(send(3, More::kNo));
  ASSERT_EQ(rig.sent().size(), 3U);
  rig.reclaim();
  rig.port->stop();
  ASSERT_OK(rig.start());
  const std::uint64_t before = told();
  ASSERT_NO_FATAL_FAILURE(send(3, More::kNo));
  EXPECT_EQ(told(), before + 1);
  ASSERT_EQ(rig.sent().size(), 3U);
}

/// A device that says by its flags alone whether it asks.
class Flags : public Doorbells {
 protected:
  Flags() : Doorbells(0) {}

  void let_device_sleep(bool asleep) { rig.device.any_tx_ring().suppress_notifications(!asleep); }
};
INSTANTIATE_TEST_SUITE_P(Rings, Flags, ::testing::Values(0, kPackedRing, kOrdered, kPackedRing | kOrdered),
                         name_of);

TEST_P(Flags, ADeviceThatFallsAsleepIsToldBeforeTheRingIsFullThoughMoreComes) {
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  for (int round = 0; round < 50; ++round) {
    let_device_sleep(false);
    const std::uint64_t before = told();
    for (int i = 0; i < 10 + round % 7; ++i) {
      ASSERT_NO_FATAL_FAILURE(send(4, More::kSoon));
      (void)rig.device.collect();
    }
    ASSERT_NO_FATAL_FAILURE(send(0, More::kNo));
    (void)rig.device.collect();
    ASSERT_EQ(told(), before) << "it did not ask";
    let_device_sleep(true);
    for (int i = 0; i < kEntries / 4; ++i) ASSERT_NO_FATAL_FAILURE(send(4, More::kSoon));
    ASSERT_GT(told(), before) << round;
    ASSERT_EQ(rig.device.collect().size(), kEntries);

    let_device_sleep(false);
    rig.reclaim();
    let_device_sleep(true);
    const std::uint64_t asleep = told();
    ASSERT_NO_FATAL_FAILURE(send(1, More::kNo));
    ASSERT_EQ(told(), asleep + 1) << "the last of all, at once";
    ASSERT_EQ(rig.device.collect().size(), 1U);
    rig.reclaim();
  }
}

/// The specification's own formula (2.7.10.1), as the kernel has it.
TEST(EventFormula, IsTheSpecificationsForEveryPlace) {
  for (const std::uint32_t told_at : {0U, 5U, 32760U, 65530U, 65535U}) {
    for (std::uint16_t ahead = 0; ahead <= kEntries; ++ahead) {
      for (std::uint32_t event = 0; event < 65536;
           event += event % 4096 < 64 || event % 4096 > 4032 ? 1 : 7) {
        virtio::Told told;
        told.set(static_cast<std::uint16_t>(told_at));
        const auto now = static_cast<std::uint16_t>(told_at + ahead);
        ASSERT_EQ(told.passed(static_cast<std::uint16_t>(event), 1U << 16, now, kEntries),
                  vring_need_event(static_cast<std::uint16_t>(event), now,
                                   static_cast<std::uint16_t>(told_at)) != 0)
            << told_at << " " << ahead << " " << event;
      }
    }
  }
}

TEST(EventFormula, LooksBackOneRingHoweverLongAgoItWasTold) {
  virtio::Told told;
  constexpr std::uint16_t kNow = 3;  // 65539 positions later
  EXPECT_TRUE(told.passed(60000, 1U << 16, 60001, kEntries));
  told.set(0);
  EXPECT_FALSE(told.passed(40000, 1U << 16, 30000, kEntries));
  EXPECT_FALSE(told.passed(10, 1U << 16, 60000, kEntries)) << "taken long ago";
  EXPECT_TRUE(told.passed(static_cast<std::uint16_t>(kNow - 4), 1U << 16, kNow, kEntries));
}

}  // namespace
}  // namespace spinring::pmd
