// A device that writes what it must not into the used ring and the RX header. Whatever it does: no access
// outside the packet's buffer, every drop counted, every packet found again, and the driver goes on or says
// through check() that it cannot.

#include <array>

#include "tests/unit/pmd/virtio_rig.hpp"

namespace spinring::pmd {
namespace {

using mempool::Packet;
using sim::DeliverOptions;
using sim::feature;

constexpr std::uint32_t kHeaderBytes = sim::SimVirtioNet::kHeaderBytes;

class HostileRing : public ::testing::TestWithParam<bool> {
 protected:
  HostileRing() : rig(config()) { rig.forgive_device(); }
  void SetUp() override { ASSERT_NO_FATAL_FAILURE(rig.open_and_start()); }

  [[nodiscard]] static RigConfig config() {
    RigConfig rig;
    rig.ring_size = 32;
    if (!GetParam()) rig.device = without(feature(VIRTIO_NET_F_MRG_RXBUF));
    return rig;
  }
  [[nodiscard]] RxStats rx() const { return rig.port->rx_stats(0); }
  [[nodiscard]] TxStats tx() const { return rig.port->tx_stats(0); }
  /// The driver still receives and sends.
  void expect_works() {
    for (std::uint32_t i = 0; i < 100; ++i) {
      const Bytes frame = make_frame(i, 100);
      ASSERT_TRUE(rig.device.deliver(frame));
      ASSERT_EQ(rig.receive(), Frames{frame});
      ASSERT_TRUE(rig.send(rig.packet(frame)));
      ASSERT_EQ(rig.sent(), Frames{frame});
    }
    ASSERT_OK(rig.port->check());
  }
  /// It does not, says so, and a restart mends it.
  void expect_fault_and_recovery() {
    EXPECT_FAILS(rig.port->check(), Errc::kDeviceFault, "Restart the port");
    EXPECT_TRUE(rig.receive().empty());
    rig.port->stop();
    rig.cache->flush();
    EXPECT_EQ(rig.pool->available(), rig.pool->capacity());
    ASSERT_OK(rig.start());
    ASSERT_NO_FATAL_FAILURE(expect_works());
  }

  Rig rig;
};

INSTANTIATE_TEST_SUITE_P(RxPaths, HostileRing, ::testing::Bool(),
                         [](const auto& path) { return path.param ? "mergeable" : "single"; });

// --- ids ---

TEST_P(HostileRing, RxIdsOutsideTheRing) {
  const std::array<std::uint32_t, 6> ids{32, 33, 0xffff, 0x10000, 0x7fffffff, 0xffffffff};
  for (const std::uint32_t id : ids) {
    ASSERT_TRUE(rig.device.deliver(make_frame(id, 60), 0, {.used_id = id}));
    EXPECT_TRUE(rig.receive().empty());
  }
  EXPECT_EQ(rx().bad_completions, ids.size());
  ASSERT_NO_FATAL_FAILURE(expect_works());
}

TEST_P(HostileRing, AnRxIdTwice) {
  // The device completes one buffer, and then the same once more for another: in the same burst.
  auto& ring = rig.device.rx_ring();
  const auto chain = ring.pop();
  ASSERT_TRUE(chain.has_value());
  ring.push(*chain, kHeaderBytes + 60);
  ring.push_raw(chain->id, kHeaderBytes + 60);
  ring.publish();
  EXPECT_LE(rig.receive().size(), 1U);
  EXPECT_EQ(rx().bad_completions, 1U);
  ASSERT_NO_FATAL_FAILURE(expect_works());
}

TEST_P(HostileRing, AnRxIdThatWasCompletedBefore) {
  // With nothing refilled in between, the id is nobody's.
  auto& ring = rig.device.rx_ring();
  const auto first = ring.pop();
  ring.push(*first, kHeaderBytes + 60);
  ring.publish();
  EXPECT_EQ(rig.receive().size(), GetParam() ? 0U : 1U) << "mergeable: num_buffers is 0 in a buffer of zeros";
  const std::uint64_t bad = rx().bad_completions;
  ring.push_raw(first->id, kHeaderBytes + 60);
  ring.publish();
  EXPECT_TRUE(rig.receive().empty());
  EXPECT_EQ(rx().bad_completions, bad + 1);
  ASSERT_NO_FATAL_FAILURE(expect_works());
}

TEST_P(HostileRing, TxIdsThatAreNotOutstanding) {
  ASSERT_TRUE(rig.send(rig.packet(make_frame(1, 60))));
  const auto frame = rig.device.fetch();
  ASSERT_TRUE(frame.has_value());
  const std::array<std::uint32_t, 4> ids{static_cast<std::uint32_t>(frame->chain.id) ^ 1U, 32, 0xffff,
                                         0xffffffff};
  auto& ring = rig.device.tx_ring();
  for (const std::uint32_t id : ids) {
    // The driver has one in flight: more than one entry at a time would be too many.
    ring.push_raw(id, 0);
    ring.publish();
    rig.reclaim();
    ASSERT_OK(rig.port->check());
  }
  EXPECT_EQ(tx().bad_completions, ids.size());
  rig.device.complete(*frame);
  rig.reclaim();
  EXPECT_EQ(tx().bad_completions, ids.size());
  ASSERT_NO_FATAL_FAILURE(expect_works());
}

TEST_P(HostileRing, ATxIdTwice) {
  for (std::uint32_t i = 0; i < 4; ++i) ASSERT_TRUE(rig.send(rig.packet(make_frame(i, 60))));
  const auto frame = rig.device.fetch();
  auto& ring = rig.device.tx_ring();
  rig.device.complete(*frame);
  ring.push_raw(frame->chain.id, 0);
  ring.push_raw(frame->chain.id, 0);
  ring.publish();
  rig.reclaim();
  EXPECT_EQ(tx().bad_completions, 2U);
  EXPECT_EQ(rig.sent().size(), 3U);
  ASSERT_NO_FATAL_FAILURE(expect_works());
}

TEST_P(HostileRing, TheMiddleOfATxChainIsNoId) {
  const Bytes frame = make_frame(1, 300);
  ASSERT_TRUE(rig.send(rig.chain(frame, std::array<std::size_t, 3>{100, 100, 100})));
  auto sent = rig.device.fetch();
  ASSERT_TRUE(sent.has_value());
  auto& ring = rig.device.tx_ring();
  for (std::uint32_t id = 0; id < 3; ++id) {
    if (id != sent->chain.id) ring.push_raw(id, 0);
  }
  ring.publish();
  rig.reclaim();
  EXPECT_EQ(tx().bad_completions, 2U);
  rig.device.complete(*sent);
  ASSERT_NO_FATAL_FAILURE(expect_works());
}

TEST_P(HostileRing, DescriptorsThatTheDeviceRewritesAreNotReadBack) {
  const Bytes frame = make_frame(1, 300);
  ASSERT_TRUE(rig.send(rig.chain(frame, std::array<std::size_t, 3>{100, 100, 100})));
  auto sent = rig.device.fetch();
  ASSERT_TRUE(sent.has_value());
  auto& ring = rig.device.tx_ring();
  std::array<vring_desc, 32> kept{};
  for (std::uint16_t i = 0; i < 32; ++i) {
    kept[i] = ring.descriptor(i);
    ring.scribble_descriptor(i, {0xdeadbeef, 0xffffffff, 0xffff, 0xffff});
  }
  rig.device.complete(*sent);
  rig.reclaim();
  // The driver does not write again what it believes to be there: put it back before going on.
  for (std::uint16_t i = 0; i < 32; ++i) ring.scribble_descriptor(i, kept[i]);
  ASSERT_NO_FATAL_FAILURE(expect_works());
  EXPECT_EQ(tx().bad_completions, 0U);
}

// --- lengths ---

TEST_P(HostileRing, RxLengthsThatNoFrameCanHave) {
  const std::uint32_t room = 2304 - Packet::kHeadroom;
  const std::array<std::uint32_t, 10> lengths{
      0,        1,       kHeaderBytes - 1, kHeaderBytes, kHeaderBytes + 13,
      room + 1, 0x10000, 0x1000c,          0x80000000,   0xffffffff};
  for (const std::uint32_t length : lengths) {
    ASSERT_TRUE(rig.device.deliver(make_frame(1, 60), 0, {.used_length = length}));
    EXPECT_TRUE(rig.receive().empty()) << length;
  }
  EXPECT_EQ(rx().bad_completions, lengths.size());
  EXPECT_EQ(rx().packets, 0U);
  ASSERT_NO_FATAL_FAILURE(expect_works());
}

TEST_P(HostileRing, RxLengthsAtTheLimitsAreTaken) {
  const std::uint32_t room = 2304 - Packet::kHeadroom;
  for (const std::uint32_t length : {kHeaderBytes + 14, room}) {
    ASSERT_TRUE(rig.device.deliver(make_frame(1, 60), 0, {.used_length = length}));
    const Frames frames = rig.receive();
    ASSERT_EQ(frames.size(), 1U);
    EXPECT_EQ(frames[0].size(), length - kHeaderBytes);
  }
  EXPECT_EQ(rx().bad_completions, 0U);
}

TEST_P(HostileRing, TxLengthsAreIgnored) {
  for (const std::uint32_t length : {0U, 1U, 0xffffffffU}) {
    ASSERT_TRUE(rig.send(rig.packet(make_frame(1, 60))));
    auto frame = rig.device.fetch();
    rig.device.complete(*frame, 0, length);
    rig.reclaim();
  }
  EXPECT_EQ(tx().bad_completions, 0U);
  ASSERT_NO_FATAL_FAILURE(expect_works());
}

// --- the index ---

TEST_P(HostileRing, AnRxIndexThatJumpsAhead) {
  for (const std::uint16_t jump : std::array<std::uint16_t, 4>{33, 100, 0x7fff, 0x8000}) {
    auto& ring = rig.device.rx_ring();
    ring.store_used_index(static_cast<std::uint16_t>(ring.used_index() + jump));
    EXPECT_TRUE(rig.receive().empty());
    ASSERT_NO_FATAL_FAILURE(expect_fault_and_recovery()) << jump;
  }
}

TEST_P(HostileRing, AnRxIndexThatGoesBack) {
  ASSERT_TRUE(rig.device.deliver(make_frame(1, 60)));
  EXPECT_EQ(rig.receive().size(), 1U);
  auto& ring = rig.device.rx_ring();
  ring.store_used_index(static_cast<std::uint16_t>(ring.used_index() - 1));
  EXPECT_TRUE(rig.receive().empty());
  ASSERT_NO_FATAL_FAILURE(expect_fault_and_recovery());
}

TEST_P(HostileRing, AnRxIndexWithinTheRingOverStaleEntries) {
  // 32 buffers are in flight and the index says that all are complete; no entry was written: they all name
  // id 0 with length 0.
  rig.device.rx_ring().store_used_index(32);
  EXPECT_TRUE(rig.receive().empty());
  EXPECT_EQ(rx().bad_completions, 32U);
  ASSERT_OK(rig.port->check());
}

TEST_P(HostileRing, ATxIndexThatJumpsAhead) {
  ASSERT_TRUE(rig.send(rig.packet(make_frame(1, 60))));
  auto& ring = rig.device.tx_ring();
  ring.store_used_index(2);  // one is in flight
  rig.reclaim();
  EXPECT_FAILS(rig.port->check(), Errc::kDeviceFault, "tx queue");
  Packet* const packet = rig.packet(make_frame(2, 60));
  EXPECT_FALSE(rig.send(packet)) << "nothing goes out on a broken queue; the caller keeps its packet";
  rig.cache->put_chain(packet);
  ASSERT_NO_FATAL_FAILURE(expect_fault_and_recovery());
}

TEST_P(HostileRing, ATxIndexThatGoesBack) {
  ASSERT_TRUE(rig.send(rig.packet(make_frame(1, 60))));
  rig.device.tx_ring().store_used_index(0xffff);
  rig.reclaim();
  ASSERT_NO_FATAL_FAILURE(expect_fault_and_recovery());
}

TEST_P(HostileRing, TheOtherQueueGoesOnWhenOneIsBroken) {
  rig.device.rx_ring().store_used_index(100);
  EXPECT_TRUE(rig.receive().empty());
  EXPECT_FAILS(rig.port->check(), Errc::kDeviceFault, "rx queue");
  ASSERT_TRUE(rig.send(rig.packet(make_frame(2, 60))));
  EXPECT_EQ(rig.sent(), Frames{make_frame(2, 60)});
}

// --- the device as a whole ---

TEST_P(HostileRing, ADeviceThatAsksForAResetIsReportedAndMended) {
  ASSERT_TRUE(rig.send(rig.packet(make_frame(1, 60))));
  rig.device.ask_for_reset();
  EXPECT_FALSE(rig.device.deliver(make_frame(1, 60)));
  ASSERT_NO_FATAL_FAILURE(expect_fault_and_recovery());
}

TEST_P(HostileRing, ADeviceThatWasResetBySomebodyElseIsReported) {
  rig.device.function_reset();
  EXPECT_FAILS(rig.port->check(), Errc::kDeviceFault, "reset by somebody else");
  EXPECT_TRUE(rig.receive().empty());
}

TEST_P(HostileRing, DmaThatTheIommuRefusesEndsInAResetRequest) {
  // The IOMMU forgets the mapping under the running device.
  for (const MemoryRegion& region : rig.memory->regions()) rig.device.iommu().remove(region);
  EXPECT_FALSE(rig.device.deliver(make_frame(1, 60)));
  EXPECT_FALSE(rig.device.iommu().faults().empty());
  EXPECT_TRUE(rig.device.needs_reset());
  EXPECT_FAILS(rig.port->check(), Errc::kDeviceFault, "DEVICE_NEEDS_RESET");
  rig.port->stop();
  for (const MemoryRegion& region : rig.memory->regions()) ASSERT_OK(rig.device.iommu().add(region));
  ASSERT_OK(rig.start());
  ASSERT_NO_FATAL_FAILURE(expect_works());
}

// --- mergeable buffers ---

class HostileMerge : public ::testing::Test {
 protected:
  HostileMerge() : rig({.buffer_length = 512, .ring_size = 32}) {}
  void SetUp() override { ASSERT_NO_FATAL_FAILURE(rig.open_and_start()); }
  void expect_works() {
    for (std::uint32_t i = 0; i < 50; ++i) {
      const Bytes frame = make_frame(i, 1000);
      ASSERT_TRUE(rig.device.deliver(frame));
      ASSERT_EQ(rig.receive(), Frames{frame});
    }
    ASSERT_OK(rig.port->check());
  }
  Rig rig;
};

TEST_F(HostileMerge, NoBuffersAtAll) {
  ASSERT_TRUE(rig.device.deliver(make_frame(1, 60), 0, {.num_buffers = 0}));
  EXPECT_TRUE(rig.receive().empty());
  EXPECT_EQ(rig.port->rx_stats(0).truncated, 1U);
  expect_works();
}

TEST_F(HostileMerge, MoreBuffersThanArrived) {
  for (const std::uint16_t buffers : std::array<std::uint16_t, 5>{2, 3, 33, 0x8000, 0xffff}) {
    ASSERT_TRUE(rig.device.deliver(make_frame(1, 60), 0, {.num_buffers = buffers}));
    EXPECT_TRUE(rig.receive().empty()) << buffers;
  }
  EXPECT_EQ(rig.port->rx_stats(0).truncated, 5U);
  EXPECT_EQ(rig.port->rx_stats(0).packets, 0U);
  expect_works();
}

TEST_F(HostileMerge, FewerBuffersThanArrived) {
  // Three buffers, said to be two: the third is taken for a frame of its own, whose header is payload.
  ASSERT_TRUE(rig.device.deliver(Bytes(1000, std::byte{0}), 0, {.num_buffers = 2}));
  const Frames frames = rig.receive();
  EXPECT_EQ(frames.size(), 1U);
  EXPECT_EQ(rig.port->rx_stats(0).truncated, 1U) << "a num_buffers of 0 in the third";
  expect_works();
}

TEST_F(HostileMerge, ABadSegmentTakesItsFrameAlongAndNothingElse) {
  sim::DeliverOptions wait{.publish = false};
  ASSERT_TRUE(rig.device.deliver(make_frame(1, 1000), 0, wait));
  // The second of the three entries gets a length that does not fit its buffer.
  auto& ring = rig.device.rx_ring();
  ASSERT_EQ(ring.used_index(), 3);
  ring.set_used_index(1);
  ring.push_raw(1, 100000);
  ring.set_used_index(3);
  ASSERT_TRUE(rig.device.deliver(make_frame(2, 60)));
  EXPECT_EQ(rig.receive(), Frames{make_frame(2, 60)});
  EXPECT_EQ(rig.port->rx_stats(0).truncated, 1U);
  EXPECT_EQ(rig.port->rx_stats(0).bad_completions, 1U);
  expect_works();
}

TEST_F(HostileMerge, AFrameInHalvesIsDroppedAsTruncated) {
  // virtio 1.2, 5.1.6.4.1: the device makes all buffers of a frame used at once. One that does not is not
  // waited for.
  ASSERT_TRUE(rig.device.deliver(make_frame(1, 1000), 0, {.buffers_pushed = 1}));
  EXPECT_TRUE(rig.receive().empty());
  EXPECT_EQ(rig.port->rx_stats(0).truncated, 1U);
  ASSERT_TRUE(rig.device.deliver(make_frame(2, 60)));
  EXPECT_EQ(rig.receive(), Frames{make_frame(2, 60)});
}

TEST_F(HostileMerge, HeaderFieldsThatWereNotNegotiatedAreIgnored) {
  virtio_net_hdr_v1 header{};
  header.flags = 0xff;
  header.gso_type = 0xff;
  header.hdr_len = 0xffff;
  header.gso_size = 0xffff;
  header.csum_start = 0xffff;
  header.csum_offset = 0xffff;
  ASSERT_TRUE(rig.device.deliver(make_frame(2, 60), 0, {.header = header}));
  std::array<Packet*, 2> packets{};
  ASSERT_EQ(rig.port->rx(0).burst(packets), 1);
  EXPECT_EQ(packets[0]->offloads, 0U);
  rig.cache->put_chain(packets[0]);
}

}  // namespace
}  // namespace spinring::pmd
