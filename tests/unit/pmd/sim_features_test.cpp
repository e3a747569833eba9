// What the simulated device does, and notices, once features of the rings were negotiated: the order of use,
// event indices, indirect tables, data in the doorbell, and the reset of one queue. Split and packed.

#include <array>
#include <string>

#include "tests/unit/pmd/bare_packed.hpp"
#include "tests/unit/pmd/bare_split.hpp"

namespace spinring::sim {
namespace {

using Frame = std::vector<std::byte>;

template <class Bare, unsigned Bit>
class With : public ::testing::Test, public Bare {
 protected:
  With() : Bare(feature(Bit)) {}
  void SetUp() override { ASSERT_NO_FATAL_FAILURE(this->run()); }
  void expect_refused(const std::string& text) {
    EXPECT_FALSE(this->device.fetch().has_value());
    this->expect_violation(text);
  }
};

// --- IN_ORDER (2.7.9, 2.8.8) ---

/// Under IN_ORDER, and the device gives a batch back by one entry.
template <class Bare>
class Batches : public With<Bare, VIRTIO_F_IN_ORDER> {
 protected:
  Batches() { this->device.knobs.batch_used = true; }
};

using SplitInOrder = With<BareSplit, VIRTIO_F_IN_ORDER>;
using SplitBatches = Batches<BareSplit>;
using PackedInOrder = With<BarePacked, VIRTIO_F_IN_ORDER>;
using PackedBatches = Batches<BarePacked>;

TEST_F(SplitInOrder, AnEntryForEachUnlessToldToBatch) {
  for (std::uint16_t i = 0; i < 3; ++i) offer_frame(i);
  ASSERT_EQ(device.collect().size(), 3U);
  EXPECT_EQ(used_index(1), 3);
  for (std::uint16_t i = 0; i < 3; ++i) EXPECT_EQ(used(1, i).id, i);
  device.any_tx_ring().batch_used(true);
  for (std::uint16_t i = 3; i < 6; ++i) offer_frame(i);
  ASSERT_EQ(device.collect().size(), 3U);
  EXPECT_EQ(used(1, 3).id, 5U);
  expect_no_violation();
}
TEST_F(SplitBatches, OneEntryAtThePlaceOfTheFirst) {
  for (std::uint16_t lap = 0; lap < 24; lap += 3) {
    for (std::uint16_t i = lap; i < lap + 3; ++i) offer_frame(i % 8U);
    ASSERT_EQ(device.collect().size(), 3U);
    EXPECT_EQ(used_index(1), lap + 3);
    EXPECT_EQ(used(1, lap % 8U).id, (lap + 2U) % 8U) << "the last of the batch";
  }
  EXPECT_EQ(device.any_tx_ring().outstanding(), 0U);
  expect_no_violation();
}
TEST_F(SplitBatches, ABufferThatWasNotFilledEndsItsBatch) {
  for (std::uint16_t i = 0; i < 6; ++i) offer_buffer(i, 50);
  ASSERT_TRUE(device.deliver(Frame(120), 0, {.publish = false}));  // 50, 50, 32
  ASSERT_TRUE(device.deliver(Frame(60)));                          // 50, 22
  EXPECT_EQ(used_index(0), 5);
  EXPECT_EQ(used(0, 0).id, 2U);
  EXPECT_EQ(used(0, 0).len, 32U);
  EXPECT_EQ(used(0, 3).id, 4U);
  EXPECT_EQ(used(0, 3).len, 22U);
  expect_no_violation();
}
TEST_F(SplitInOrder, ADeviceThatDoesNotKeepTheOrder) {
  for (std::uint16_t i = 0; i < 3; ++i) offer_frame(i);
  const std::array<SentFrame, 3> frames{device.fetch().value(), device.fetch().value(),
                                        device.fetch().value()};
  for (const std::size_t i : {2U, 0U, 1U}) device.complete(frames[i]);
  EXPECT_EQ(used(1, 0).id, 2U);
  EXPECT_EQ(used(1, 1).id, 0U);
  EXPECT_EQ(used(1, 2).id, 1U);
}
TEST_F(SplitInOrder, AHeadOutOfTheTablesOrder) {
  offer_frame(0);
  ASSERT_EQ(device.collect().size(), 1U);
  offer_frame(2);
  expect_refused("descriptor 2 out of the table's order");
}
TEST_F(SplitInOrder, ANextOutOfTheTablesOrder) {
  descriptor(1, 0, {iova(kData), 12, VRING_DESC_F_NEXT, 2});
  descriptor(1, 2, {iova(kData), 60, 0, 0});
  offer(1, 0);
  expect_refused("descriptor 2 out of the table's order");
}
TEST_F(SplitInOrder, ChainsThatWrapAreInOrder) {
  for (std::uint16_t i = 0; i < 30; i = static_cast<std::uint16_t>(i + 3)) {
    const auto at = [&](unsigned step) { return static_cast<std::uint16_t>((i + step) % 8U); };
    descriptor(1, at(0), {iova(kData), 12, VRING_DESC_F_NEXT, at(1)});
    descriptor(1, at(1), {iova(kData), 30, VRING_DESC_F_NEXT, at(2)});
    descriptor(1, at(2), {iova(kData), 30, 0, 0});
    offer(1, at(0));
    ASSERT_EQ(device.collect().size(), 1U);
  }
  expect_no_violation();
}
TEST_F(SplitInOrder, BuffersPutBackAreTakenInOrderAgain) {
  offer_buffer(0, 50);
  offer_buffer(1, 50);
  EXPECT_FALSE(device.deliver(Frame(200)));
  ASSERT_TRUE(device.deliver(Frame(60)));
  EXPECT_EQ(used_index(0), 2);
  expect_no_violation();
}

TEST_F(PackedBatches, OneEntryOverTheFirstAndAllDescriptorsSkipped) {
  // A list of two and two of one: four of the eight descriptors; then again, and around.
  for (std::uint16_t lap = 0; lap < 10; ++lap) {
    tx.offer(10, {{iova(kData), 12, 0}, {iova(kData), 60, 0}});
    offer_frame(11);
    offer_frame(12);
    ASSERT_EQ(device.collect().size(), 3U);
    const auto used = tx.completed(4);
    ASSERT_TRUE(used.has_value()) << lap;
    EXPECT_EQ(used->id, 12);
    EXPECT_FALSE(tx.completed().has_value());
  }
  EXPECT_EQ(device.any_tx_ring().outstanding(), 0U);
  expect_no_violation();
}
TEST_F(PackedBatches, ABufferThatWasNotFilledEndsItsBatch) {
  for (std::uint16_t i = 0; i < 6; ++i) offer_buffer(i, 50);
  ASSERT_TRUE(device.deliver(Frame(120), 0, {.publish = false}));
  ASSERT_TRUE(device.deliver(Frame(60)));
  const auto first = rx.completed(3);
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(first->id, 2);
  EXPECT_EQ(first->len, 32U);
  const auto second = rx.completed(2);
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(second->id, 4);
  EXPECT_EQ(second->len, 22U);
  expect_no_violation();
}
TEST_F(PackedBatches, ADescriptorInTheMiddleOfABatchChangedWhileTheDeviceHadIt) {
  for (std::uint16_t i = 0; i < 3; ++i) offer_frame(i);
  std::array<SentFrame, 3> frames{device.fetch().value(), device.fetch().value(), device.fetch().value()};
  tx.at(1).len = 1;
  for (const SentFrame& frame : frames) device.complete(frame, 0, 0, false);
  (void)device.any_tx_ring().publish();
  expect_violation("descriptor 1 was changed while the device had it");
}
TEST_F(PackedInOrder, AnEntryForEachUnlessToldToBatch) {
  for (std::uint16_t i = 0; i < 3; ++i) offer_frame(i);
  ASSERT_EQ(device.collect().size(), 3U);
  for (std::uint16_t i = 0; i < 3; ++i) EXPECT_EQ(tx.completed().value().id, i);
  expect_no_violation();
}
TEST_F(PackedInOrder, ADeviceThatDoesNotKeepTheOrder) {
  for (std::uint16_t i = 0; i < 3; ++i) offer_frame(i);
  const std::array<SentFrame, 3> frames{device.fetch().value(), device.fetch().value(),
                                        device.fetch().value()};
  for (const std::size_t i : {2U, 0U, 1U}) device.complete(frames[i]);
  for (const int id : {2, 0, 1}) EXPECT_EQ(tx.completed().value().id, id);
}
TEST_F(SplitInOrder, AChainGivenBackTwiceIsAMistakeOfTheTest) {
  offer_frame(0);
  const auto frame = device.fetch();
  device.complete(*frame);
  EXPECT_THROW(device.complete(*frame), std::logic_error);
}

// --- EVENT_IDX (2.7.7, 2.7.10, 2.8.10) ---

using SplitEvents = With<BareSplit, VIRTIO_RING_F_EVENT_IDX>;
using PackedEvents = With<BarePacked, VIRTIO_RING_F_EVENT_IDX>;

TEST_F(SplitEvents, AnInterruptAtTheIndexThatWasAskedFor) {
  ask_for_interrupt_at(1, 2);
  for (std::uint16_t i = 0; i < 5; ++i) {
    offer_frame(i);
    ASSERT_EQ(device.collect().size(), 1U);
    EXPECT_EQ(device.tx_queue().interrupts, i < 2 ? 0U : 1U) << i;
  }
  ask_for_interrupt_at(1, 6);
  for (std::uint16_t i = 5; i < 8; ++i) offer_frame(i);
  ASSERT_EQ(device.collect().size(), 3U);
  EXPECT_EQ(device.tx_queue().interrupts, 2U) << "also when a burst passes it";
  expect_no_violation();
}
TEST_F(SplitEvents, TheDeviceAsksForTheNextChain) {
  EXPECT_EQ(available_event(1), 0);
  for (std::uint16_t i = 0; i < 3; ++i) offer_frame(i);
  EXPECT_TRUE(device.any_tx_ring().doorbell_missing());
  ring_doorbell(1);
  EXPECT_FALSE(device.any_tx_ring().doorbell_missing());
  offer_frame(3);
  EXPECT_FALSE(device.any_tx_ring().doorbell_missing()) << "the event was the first: it has been passed";
  ASSERT_EQ(device.collect().size(), 4U);
  EXPECT_EQ(available_event(1), 4);
  device.any_tx_ring().suppress_notifications(true);
  EXPECT_EQ(used_flags(1), 0) << "with EVENT_IDX they stay zero";
  EXPECT_EQ(available_event(1), 0x8004);
  offer_frame(4);
  EXPECT_FALSE(device.any_tx_ring().doorbell_missing());
  expect_no_violation();
}
TEST_F(SplitEvents, FlagsOfTheAvailableRing) {
  available(1)[0] = VRING_AVAIL_F_NO_INTERRUPT;
  offer_frame();
  expect_refused("available flags are 1, EVENT_IDX true");
}

TEST_F(PackedEvents, AnInterruptAtTheDescriptorThatWasAskedFor) {
  // In each of three laps, at another descriptor.
  for (std::uint16_t lap = 0; lap < 3; ++lap) {
    const auto wanted = static_cast<std::uint16_t>(lap + 2);
    tx.driver_event() = {static_cast<std::uint16_t>(wanted | (lap % 2 == 0 ? 0x8000U : 0U)),
                         VRING_PACKED_EVENT_FLAG_DESC};
    const std::uint64_t before = device.tx_queue().interrupts;
    for (std::uint16_t i = 0; i < 8; ++i) {
      offer_frame(i);
      ASSERT_EQ(device.collect().size(), 1U);
      EXPECT_EQ(device.tx_queue().interrupts, before + (i < wanted ? 0 : 1)) << lap << " " << i;
    }
  }
  expect_no_violation();
}
TEST_F(PackedEvents, ABurstThatPassesTheDescriptor) {
  tx.driver_event() = {5 | 0x8000, VRING_PACKED_EVENT_FLAG_DESC};
  for (std::uint16_t i = 0; i < 5; ++i) offer_frame(i);
  ASSERT_EQ(device.collect().size(), 5U);
  EXPECT_EQ(device.tx_queue().interrupts, 0U);
  for (std::uint16_t i = 5; i < 12; ++i) offer_frame(i);
  ASSERT_EQ(device.collect().size(), 7U);
  EXPECT_EQ(device.tx_queue().interrupts, 1U);
}
TEST_F(PackedEvents, TheDeviceAsksForTheNextDescriptor) {
  EXPECT_EQ(tx.device_event().flags, VRING_PACKED_EVENT_FLAG_DESC);
  EXPECT_EQ(tx.device_event().off_wrap, 0x8000);
  for (std::uint16_t i = 0; i < 8; ++i) offer_frame(i);
  EXPECT_TRUE(device.any_tx_ring().doorbell_missing());
  ring_doorbell(1);
  EXPECT_FALSE(device.any_tx_ring().doorbell_missing());
  ASSERT_EQ(device.collect().size(), 8U);
  EXPECT_EQ(tx.device_event().off_wrap, 0) << "the second lap";
  offer_frame(1);
  EXPECT_TRUE(device.any_tx_ring().doorbell_missing());
  device.any_tx_ring().suppress_notifications(true);
  EXPECT_EQ(tx.device_event().flags, VRING_PACKED_EVENT_FLAG_DISABLE);
  EXPECT_FALSE(device.any_tx_ring().doorbell_missing());
  expect_no_violation();
}
TEST_F(PackedEvents, AnEventOutsideTheRing) {
  tx.driver_event() = {8, VRING_PACKED_EVENT_FLAG_DESC};
  offer_frame(0);
  (void)device.collect();
  expect_violation("descriptor 8");
}
TEST_F(PackedEvents, ReservedFlags) {
  tx.driver_event() = {0, 3};
  offer_frame(0);
  (void)device.collect();
  expect_violation("flags 0x3");
}

// --- INDIRECT_DESC (2.7.5.3, 2.8.7) ---

using SplitIndirect = With<BareSplit, VIRTIO_RING_F_INDIRECT_DESC>;
using PackedIndirect = With<BarePacked, VIRTIO_RING_F_INDIRECT_DESC>;

class PackedTables : public PackedIndirect {
 protected:
  static constexpr std::size_t kTable = 32768;
  void entry(unsigned index, const vring_packed_desc& value) {
    std::memcpy(memory.get() + kTable + sizeof value * index, &value, sizeof value);
  }
  void offer_table(std::uint32_t bytes, unsigned flags = 0) {
    tx.offer(3, {{iova(kTable), bytes, static_cast<std::uint16_t>(VRING_DESC_F_INDIRECT | flags)}});
  }
};

TEST_F(PackedTables, ATableIsOneFrameAndOneDescriptor) {
  const Frame frame = frame_at(kData, 100, 1);
  entry(0, {iova(kData), 12, 77, 0});
  entry(1, {iova(kData + 12), 40, 78, 0});
  entry(2, {iova(kData + 52), 60, 79, 0});
  // Whether the table may be written is not asked (2.8.7).
  for (int i = 0; i < 20; ++i) {
    offer_table(48, i % 2 == 0 ? 0 : VRING_DESC_F_WRITE);
    const auto sent = device.collect();
    ASSERT_EQ(sent.size(), 1U);
    EXPECT_EQ(sent[0].bytes, frame);
    EXPECT_EQ(sent[0].segments, 3U);
    EXPECT_EQ(sent[0].chain.descriptors, 1);
    EXPECT_TRUE(sent[0].chain.indirect);
    EXPECT_EQ(tx.completed().value().id, 3);
  }
  expect_no_violation();
}
TEST_F(PackedTables, LengthsThatAreNoTables) {
  for (const std::uint32_t bytes : {0U, 8U, 17U, 144U}) {
    BarePacked other(feature(VIRTIO_RING_F_INDIRECT_DESC));
    ASSERT_NO_FATAL_FAILURE(other.run());
    other.tx.offer(3, {{other.iova(kTable), bytes, VRING_DESC_F_INDIRECT}});
    EXPECT_FALSE(other.device.fetch().has_value());
    other.expect_violation("indirect table of " + std::to_string(bytes) + " bytes in a ring of 8");
  }
}
TEST_F(PackedTables, FlagsInATable) {
  entry(0, {iova(kData), 72, 0, VRING_DESC_F_NEXT});
  offer_table(16);
  expect_refused("flags 0x1 in an indirect table");
}
TEST_F(PackedTables, ATableWithNext) {
  entry(0, {iova(kData), 72, 0, 0});
  offer_table(16, VRING_DESC_F_NEXT);
  expect_refused("indirect descriptor in a list");
}
TEST_F(PackedTables, ATableBehindADirectDescriptor) {
  entry(0, {iova(kData), 72, 0, 0});
  tx.offer(3, {{iova(kData), 12, 0}, {iova(kTable), 16, VRING_DESC_F_INDIRECT}});
  expect_refused("indirect descriptor in a list");
}
TEST_F(PackedInOrder, ATableWithoutTheFeature) {
  tx.offer(3, {{iova(kData), 16, VRING_DESC_F_INDIRECT}});
  expect_refused("without VIRTIO_F_INDIRECT_DESC");
}
TEST_F(PackedTables, ATableOutsideTheMemory) {
  tx.offer(3, {{iova(kBytes - 16), 32, VRING_DESC_F_INDIRECT}});
  EXPECT_FALSE(device.fetch().has_value());
  EXPECT_EQ(device.iommu().faults().size(), 1U);
}

TEST_F(SplitIndirect, ATableIsOneFrame) {
  const std::array<vring_desc, 2> table{
      {{iova(kData), 12, VRING_DESC_F_NEXT, 1}, {iova(kData + 12), 60, 0, 0}}};
  std::memcpy(memory.get() + 32768, table.data(), sizeof table);
  descriptor(1, 0, {iova(32768), 32, VRING_DESC_F_INDIRECT, 0});
  offer(1, 0);
  const auto sent = device.collect();
  ASSERT_EQ(sent.size(), 1U);
  EXPECT_EQ(sent[0].segments, 2U);
  EXPECT_EQ(sent[0].chain.descriptors, 1);
  expect_no_violation();
}
TEST_F(SplitIndirect, ATableThatLeavesItself) {
  const vring_desc only{iova(kData), 12, VRING_DESC_F_NEXT, 1};
  std::memcpy(memory.get() + 32768, &only, sizeof only);
  descriptor(1, 0, {iova(32768), 16, VRING_DESC_F_INDIRECT, 0});
  offer(1, 0);
  expect_refused("leaves the table or loops");
}
TEST_F(SplitIndirect, ATableInATable) {
  const vring_desc only{iova(kData), 16, VRING_DESC_F_INDIRECT, 0};
  std::memcpy(memory.get() + 32768, &only, sizeof only);
  descriptor(1, 0, {iova(32768), 16, VRING_DESC_F_INDIRECT, 0});
  offer(1, 0);
  expect_refused("inside an indirect table");
}
TEST_F(SplitIndirect, ATableWithNext) {
  descriptor(1, 0, {iova(32768), 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, 1});
  offer(1, 0);
  expect_refused("indirect descriptor with F_NEXT");
}
TEST_F(SplitIndirect, ATableLongerThanTheRing) {
  descriptor(1, 0, {iova(32768), 144, VRING_DESC_F_INDIRECT, 0});
  offer(1, 0);
  expect_refused("indirect table of 144 bytes");
}

// --- NOTIFICATION_DATA (2.9) ---

using SplitData = With<BareSplit, VIRTIO_F_NOTIFICATION_DATA>;
using PackedData = With<BarePacked, VIRTIO_F_NOTIFICATION_DATA>;

TEST_F(SplitData, TheAvailableIndexAboveTheQueue) {
  for (std::uint16_t i = 0; i < 20; ++i) {
    offer_frame(i % 8U);
    ring_doorbell_with(1, available(1)[1]);
    ASSERT_EQ(device.collect().size(), 1U);
  }
  EXPECT_EQ(device.tx_queue().notifications, 20U);
  expect_no_violation();
}
TEST_F(SplitData, AnotherIndex) {
  offer_frame();
  ring_doorbell_with(1, 0);
  expect_violation("doorbell of queue 1 says 0x0, the next is 0x1");
}
TEST_F(SplitData, ADoorbellWithoutData) {
  ring_doorbell(1);
  expect_violation("doorbell of 2 bytes");
}
TEST_F(PackedData, OffsetAndWrapCounterAboveTheQueue) {
  for (std::uint16_t i = 0; i < 20; ++i) {
    tx.offer(i, {{iova(kData), 12, 0}, {iova(kData), 30, 0}, {iova(kData), 30, 0}});
    ring_doorbell_with(1, tx.next_and_wrap());
    ASSERT_EQ(device.collect().size(), 1U);
  }
  for (std::uint16_t i = 0; i < 8; ++i) offer_frame(i);
  ring_doorbell_with(1, tx.next_and_wrap());  // a full ring: the same place, the other lap
  expect_no_violation();
}
TEST_F(PackedData, TheWrongWrapCounter) {
  offer_frame(0);
  ring_doorbell_with(1, 1);
  expect_violation("doorbell of queue 1 says 0x1, the next is 0x8001");
}

// --- RING_RESET (2.6.1, 4.1.4.3) ---

template <class Bare>
class Resets : public With<Bare, VIRTIO_F_RING_RESET> {
 protected:
  /// Writes queue_reset of the TX queue; the reads that show 1 before it is done.
  int reset_tx() {
    this->common->write16(VIRTIO_PCI_COMMON_Q_SELECT, 1);
    this->common->write16(VIRTIO_PCI_COMMON_Q_RESET, 1);
    int reads = 0;
    while (this->common->read16(VIRTIO_PCI_COMMON_Q_RESET) != 0 && reads < 100) ++reads;
    return reads;
  }
};
using SplitResets = Resets<BareSplit>;
using PackedResets = Resets<BarePacked>;

TEST_F(SplitResets, OneQueueIsResetAndTheOtherGoesOn) {
  device.knobs.queue_reset_reads = 3;
  offer_frame(0);
  const auto held = device.fetch();
  ASSERT_TRUE(held.has_value());
  EXPECT_EQ(reset_tx(), 3);
  EXPECT_EQ(common->read16(VIRTIO_PCI_COMMON_Q_ENABLE), 0);
  EXPECT_EQ(common->read16(VIRTIO_PCI_COMMON_Q_SIZE), 256) << "its default again";
  device.complete(*held);
  EXPECT_EQ(used_index(1), 0) << "the queue is silent";
  offer_buffer(3);  // not where the sent frame lies
  EXPECT_TRUE(device.deliver(Frame(60)));
  std::memset(memory.get() + 4096, 0, 1024);
  set_up_queue(1, 4096);
  offer_frame(5);
  EXPECT_EQ(device.collect().size(), 1U);
  EXPECT_EQ(device.tx_queue().resets, 1U);
  expect_no_violation();
}
TEST_F(PackedResets, TheWrapCountersBeginAgain) {
  for (std::uint16_t i = 0; i < 11; ++i) {
    offer_frame(i);
    ASSERT_EQ(device.collect().size(), 1U);
  }
  EXPECT_EQ(reset_tx(), 0);
  std::memset(&tx.at(0), 0, sizeof(vring_packed_desc) * 8);
  tx = BarePackedRing(memory.get() + 4096, memory.get() + 6144, memory.get() + 6148, 8);
  set_up(1);
  offer_frame(1);
  EXPECT_EQ(device.collect().size(), 1U);
  EXPECT_EQ(tx.completed().value().id, 1);
  expect_no_violation();
}
TEST_F(SplitResets, AResetThatNeverEnds) {
  device.knobs.queue_reset_reads = -1;
  EXPECT_EQ(reset_tx(), 100);
}
TEST_F(SplitResets, SetUpBeforeTheResetWasSeenToEnd) {
  common->write16(VIRTIO_PCI_COMMON_Q_SELECT, 1);
  common->write16(VIRTIO_PCI_COMMON_Q_RESET, 1);
  set_up_queue(1, 4096);
  expect_violation("queue 1 set up before its reset was read to be complete");
}
TEST_F(SplitResets, AQueueThatIsNotEnabled) {
  common->write16(VIRTIO_PCI_COMMON_Q_SELECT, 2);
  common->write16(VIRTIO_PCI_COMMON_Q_RESET, 1);
  expect_violation("queue 2 reset, and it is not enabled");
}
TEST_F(SplitResets, AnotherValue) {
  common->write16(VIRTIO_PCI_COMMON_Q_SELECT, 1);
  common->write16(VIRTIO_PCI_COMMON_Q_RESET, 0);
  expect_violation("0 written to queue_reset");
}
TEST_F(SplitResets, ADoorbellOfAQueueThatWasReset) {
  (void)reset_tx();
  ring_doorbell(1);
  expect_violation("which is not enabled");
}
TEST_F(SplitInOrder, AResetWithoutTheFeature) {
  common->write16(VIRTIO_PCI_COMMON_Q_SELECT, 1);
  common->write16(VIRTIO_PCI_COMMON_Q_RESET, 1);
  expect_violation("queue_reset written without RING_RESET");
}

}  // namespace
}  // namespace spinring::sim
