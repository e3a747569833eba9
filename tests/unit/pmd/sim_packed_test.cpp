// The simulated device's packed ring works, and notices: a bare driver written from the specification does it
// right, and then breaks one rule at a time.

#include <array>
#include <functional>
#include <string>

#include "tests/unit/pmd/bare_packed.hpp"

namespace spinring::sim {
namespace {

using Frame = std::vector<std::byte>;

class Packed : public ::testing::Test, public BarePacked {
 protected:
  void SetUp() override { ASSERT_NO_FATAL_FAILURE(run()); }
  /// The device takes nothing from the TX ring, and says why.
  void expect_refused(const std::string& text) {
    EXPECT_FALSE(device.fetch().has_value());
    expect_violation(text);
    EXPECT_TRUE(device.needs_reset()) << "as QEMU's does";
  }
};

// --- it works ---

class PackedSizes : public ::testing::TestWithParam<std::uint16_t>, public BarePacked {
 protected:
  PackedSizes() : BarePacked(0, GetParam()) {}
};

// Any size goes: only the split ring's are powers of two.
INSTANTIATE_TEST_SUITE_P(Sizes, PackedSizes, ::testing::Values(1, 2, 3, 7, 8, 100));

TEST_P(PackedSizes, FramesGoOutOverManyLaps) {
  ASSERT_NO_FATAL_FAILURE(run());
  for (std::uint16_t i = 0; i < 5U * GetParam() + 3; ++i) {
    const Frame frame = frame_at(kData, 60, i);
    offer_frame(static_cast<std::uint16_t>(i * 7));
    EXPECT_EQ(device.tx_waiting(), 1);
    const auto sent = device.collect();
    ASSERT_EQ(sent.size(), 1U) << i;
    EXPECT_EQ(sent[0].bytes, frame);
    const auto used = tx.completed();
    ASSERT_TRUE(used.has_value()) << i;
    EXPECT_EQ(used->id, i * 7);
    EXPECT_EQ(used->flags & VRING_DESC_F_WRITE, 0) << "nothing was written";
    EXPECT_FALSE(tx.completed().has_value());
  }
  expect_no_violation();
}

TEST_P(PackedSizes, FramesComeInOverManyLaps) {
  ASSERT_NO_FATAL_FAILURE(run());
  for (std::uint16_t i = 0; i < 3U * GetParam() + 3; ++i) {
    offer_buffer(i);
    EXPECT_EQ(device.rx_buffers(), 1);
    const Frame frame(60 + i % 100U, static_cast<std::byte>(i));
    ASSERT_TRUE(device.deliver(frame));
    EXPECT_FALSE(device.deliver(frame)) << "no buffer left";
    const auto used = rx.completed();
    ASSERT_TRUE(used.has_value());
    EXPECT_EQ(used->id, i);
    EXPECT_EQ(used->len, 12 + frame.size());
    EXPECT_NE(used->flags & VRING_DESC_F_WRITE, 0);
    EXPECT_EQ(std::memcmp(memory.get() + kData + 4096U * (i % 8U) + 12, frame.data(), frame.size()), 0);
  }
  expect_no_violation();
}

TEST_P(PackedSizes, AFullRingIsFullAndNoMore) {
  ASSERT_NO_FATAL_FAILURE(run());
  for (int lap = 0; lap < 3; ++lap) {
    for (std::uint16_t id = 0; id < GetParam(); ++id) offer_buffer(id);
    EXPECT_EQ(device.rx_buffers(), GetParam());
    for (std::uint16_t id = 0; id < GetParam(); ++id) ASSERT_TRUE(device.deliver(Frame(60)));
    EXPECT_EQ(device.rx_buffers(), 0);
    for (std::uint16_t id = 0; id < GetParam(); ++id) EXPECT_TRUE(rx.completed().has_value());
    EXPECT_FALSE(rx.completed().has_value());
  }
  expect_no_violation();
}

TEST_F(Packed, AListThatWrapsIsOneFrame) {
  for (std::uint16_t i = 0; i < 20; ++i) {
    const Frame frame = frame_at(kData, 300, i);
    tx.offer(i, {{iova(kData), 12, 0}, {iova(kData + 12), 100, 0}, {iova(kData + 112), 200, 0}});
    EXPECT_EQ(device.tx_waiting(), 1) << "lists, not descriptors";
    const auto sent = device.collect();
    ASSERT_EQ(sent.size(), 1U);
    EXPECT_EQ(sent[0].bytes, frame);
    EXPECT_EQ(sent[0].segments, 3U);
    EXPECT_EQ(tx.completed().value().id, i);
  }
  expect_no_violation();
}

TEST_F(Packed, AnotherOrderOfCompletion) {
  // One of three descriptors and two of one: the entries of the device follow each other all the same.
  for (std::uint16_t lap = 0; lap < 20; ++lap) {
    tx.offer(1, {{iova(kData), 12, 0}, {iova(kData + 12), 100, 0}, {iova(kData + 112), 200, 0}});
    offer_frame(2);
    offer_frame(3);
    std::array<SentFrame, 3> frames{device.fetch().value(), device.fetch().value(), device.fetch().value()};
    device.complete(frames[2]);
    EXPECT_EQ(tx.completed().value().id, 3);
    device.complete(frames[0]);
    EXPECT_EQ(tx.completed().value().id, 1);
    device.complete(frames[1]);
    EXPECT_EQ(tx.completed().value().id, 2);
    EXPECT_FALSE(tx.completed().has_value());
  }
  expect_no_violation();
}

TEST_F(Packed, AFrameInSeveralBuffersAppearsAtOnceAndItsFirstLast) {
  for (std::uint16_t id = 0; id < 3; ++id) offer_buffer(id, 50);
  ASSERT_TRUE(device.deliver(Frame(120, std::byte{1}), 0, {.publish = false}));
  EXPECT_FALSE(rx.completed().has_value());
  (void)device.any_rx_ring().publish();
  for (std::uint16_t id = 0; id < 3; ++id) EXPECT_EQ(rx.completed().value().id, id);
  virtio_net_hdr_v1 header{};
  std::memcpy(&header, memory.get() + kData, sizeof header);
  EXPECT_EQ(header.num_buffers, 3);
  expect_no_violation();
}

TEST_F(Packed, BuffersThatDoNotSufficeArePutBack) {
  offer_buffer(5, 50);
  offer_buffer(6, 50);
  EXPECT_FALSE(device.deliver(Frame(200)));
  EXPECT_EQ(device.rx_buffers(), 2);
  ASSERT_TRUE(device.deliver(Frame(60)));
  EXPECT_EQ(rx.completed().value().id, 5);
  EXPECT_EQ(rx.completed().value().id, 6);
  expect_no_violation();
}

// --- the ring when it is enabled ---

class PackedSetUp : public ::testing::Test, public BarePacked {
 protected:
  void SetUp() override {
    negotiate(features);
    ASSERT_TRUE(function->set_bus_master(true));
  }
};

TEST_F(PackedSetUp, BuffersMayBeThereAlready) {
  for (std::uint16_t id = 0; id < 8; ++id) offer_buffer(id);
  set_up(0);
  set_up(1);
  status(15);
  EXPECT_EQ(device.rx_buffers(), 8);
  expect_no_violation();
}
TEST_F(PackedSetUp, ARingThatWasNotZeroed) {
  tx.at(3).flags = kAvailBit | kUsedBit;
  set_up(1);
  expect_violation("descriptor 3 has AVAIL 1 USED 1");
}
TEST_F(PackedSetUp, AvailableDescriptorsFromAnotherLife) {
  tx.at(3).flags = kAvailBit;
  set_up(1);
  expect_violation("descriptor 3 has AVAIL 1 USED 0");
}
TEST_F(PackedSetUp, MisalignedDescriptors) {
  set_up_queue(1, 8, 4104, 6144, 6148);
  expect_violation("descriptor ring is not aligned to 16");
}
TEST_F(PackedSetUp, MisalignedDriverEvents) {
  set_up_queue(1, 8, 4096, 6146, 6148);
  expect_violation("driver event suppression is not aligned to 4");
}
TEST_F(PackedSetUp, MisalignedDeviceEvents) {
  set_up_queue(1, 8, 4096, 6144, 6150);
  expect_violation("device event suppression is not aligned to 4");
}
TEST_F(PackedSetUp, RingsOutsideTheMemory) {
  set_up_queue(1, 8, kBytes - 64, 6144, 6148);
  EXPECT_EQ(device.iommu().faults().size(), 1U);
  EXPECT_TRUE(device.needs_reset());
}
TEST_F(PackedSetUp, MoreEntriesThanARingCanHave) {
  device.queue_size_max = 0xffff;
  common->write16(VIRTIO_PCI_COMMON_Q_SIZE, 0x8001);
  expect_violation("queue_size 32769");
}
TEST_F(Packed, WrapCountersThatOutliveAReset) {
  for (std::uint16_t i = 0; i < 9; ++i) {
    offer_frame(i);
    ASSERT_EQ(device.collect().size(), 1U);
  }
  negotiate(features);
  std::memset(&tx.at(0), 0, sizeof(vring_packed_desc) * 8);
  set_up(1);
  status(15);
  expect_no_violation();
  offer_frame(1);  // in the second lap, and at descriptor 1, as before the reset
  tx.at(0) = tx.at(1);
  expect_refused("descriptor 0: flags 0x8000 in a lap with wrap counter 1");
}

// --- bits ---

TEST_F(Packed, TheWrongLap) {
  tx.at(0) = {iova(kData), 72, 0, kUsedBit};
  expect_refused("descriptor 0: flags 0x8000 in a lap with wrap counter 1");
}
TEST_F(Packed, ADescriptorThatIsMarkedUsed) {
  tx.at(0) = {iova(kData), 72, 0, kAvailBit | kUsedBit};
  expect_refused("descriptor 0: flags 0x8080");
}
TEST_F(Packed, TheSecondLapWithTheBitsOfTheFirst) {
  for (std::uint16_t i = 0; i < 8; ++i) offer_frame(i);
  ASSERT_EQ(device.collect().size(), 8U);
  tx.at(0).flags = kAvailBit;
  expect_refused("descriptor 0: flags 0x80 in a lap with wrap counter 0");
}
TEST_F(Packed, UsedBitNotInvertedInTheSecondLap) {
  for (std::uint16_t i = 0; i < 8; ++i) offer_frame(i);
  ASSERT_EQ(device.collect().size(), 8U);
  tx.at(0).flags = 0;
  expect_refused("descriptor 0: flags 0x0 in a lap with wrap counter 0");
}
TEST_F(Packed, ReservedFlags) {
  tx.offer(0, {{iova(kData), 72, 0x10}});
  expect_refused("reserved flags in 0x90");
}
TEST_F(Packed, AListWhoseTailIsNotAvailable) {
  tx.offer(0, {{iova(kData), 12, 0}, {iova(kData + 12), 60, 0}});
  tx.at(1).flags = 0;
  expect_refused("descriptor 1 of a list has flags 0x0");
}
TEST_F(Packed, AListWhoseTailHasTheBitsOfTheLapBefore) {
  for (std::uint16_t i = 0; i < 7; ++i) offer_frame(i);
  ASSERT_EQ(device.collect().size(), 7U);
  tx.offer(7, {{iova(kData), 12, 0}, {iova(kData + 12), 60, 0}});
  tx.at(0).flags = kAvailBit;
  expect_refused("descriptor 0 of a list has flags 0x80");
}

// --- lists and ids ---

TEST_F(Packed, AListLongerThanTheRing) {
  for (unsigned i = 0; i < 8; ++i) tx.at(i) = {iova(kData), 72, 0, kAvailBit | VRING_DESC_F_NEXT};
  expect_refused("more descriptors than the 8 of the ring");
}
TEST_F(Packed, MoreThanTheRingHolds) {
  for (std::uint16_t i = 0; i < 8; ++i) offer_frame(i);
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(device.fetch().has_value());
  EXPECT_FALSE(device.fetch().has_value());
  expect_no_violation();
  offer_frame(8);
  expect_refused("more descriptors than the 8 of the ring");
}
TEST_F(Packed, AnIdOfABufferInFlight) {
  offer_frame(7);
  ASSERT_TRUE(device.fetch().has_value());
  offer_frame(7);
  expect_refused("buffer id 7 is that of a buffer in flight");
}
TEST_F(Packed, AnIdAgainWhenItsBufferIsBack) {
  for (int i = 0; i < 20; ++i) {
    offer_frame(7);
    ASSERT_EQ(device.collect().size(), 1U);
  }
  expect_no_violation();
}
TEST_F(Packed, TheIdIsThatOfTheLastDescriptor) {
  tx.offer(7, {{iova(kData), 12, 0}, {iova(kData + 12), 60, 0}});
  tx.at(0).id = 1234;
  ASSERT_EQ(device.collect().size(), 1U);
  EXPECT_EQ(tx.completed().value().id, 7);
  expect_no_violation();
}
TEST_F(Packed, ADescriptorChangedWhileTheDeviceHasIt) {
  const std::array<std::function<void(vring_packed_desc&)>, 3> changes{
      [](auto& found) { found.addr += 1; },
      [](auto& found) { found.len += 1; },
      [](auto& found) { found.flags = VRING_DESC_F_WRITE; },
  };
  for (const auto& change : changes) {
    BarePacked other;
    ASSERT_NO_FATAL_FAILURE(other.run());
    other.tx.offer(0, {{other.iova(kData), 12, 0}, {other.iova(kData + 12), 60, 0}});
    const auto frame = other.device.fetch();
    ASSERT_TRUE(frame.has_value());
    change(other.tx.at(1));
    other.device.complete(*frame);
    other.expect_violation("descriptor 1 was changed while the device had it");
  }
}
TEST_F(Packed, ReadableAfterWritable) {
  tx.offer(0, {{iova(kData), 12, VRING_DESC_F_WRITE}, {iova(kData + 12), 60, 0}});
  expect_refused("device-readable descriptor follows");
}
TEST_F(Packed, DmaOutsideTheMemory) {
  tx.offer(0, {{iova(kBytes - 10), 72, 0}});
  EXPECT_FALSE(device.fetch().has_value());
  EXPECT_EQ(device.iommu().faults().size(), 1U);
  EXPECT_TRUE(device.needs_reset());
}

// --- events ---

TEST_F(Packed, InterruptsAreAskedForAndNot) {
  offer_frame(0);
  ASSERT_EQ(device.collect().size(), 1U);
  EXPECT_EQ(device.tx_queue().interrupts, 1U);
  tx.driver_event().flags = VRING_PACKED_EVENT_FLAG_DISABLE;
  offer_frame(1);
  ASSERT_EQ(device.collect().size(), 1U);
  EXPECT_EQ(device.tx_queue().interrupts, 1U);
  expect_no_violation();
}
TEST_F(Packed, EventsOfADescriptorWithoutEventIdx) {
  tx.driver_event().flags = VRING_PACKED_EVENT_FLAG_DESC;
  offer_frame(0);
  (void)device.collect();
  expect_violation("driver event suppression with flags 0x2");
}
TEST_F(Packed, ReservedEventFlags) {
  tx.driver_event().flags = 4;
  offer_frame(0);
  (void)device.collect();
  expect_violation("driver event suppression with flags 0x4");
}
TEST_F(Packed, TheDeviceSaysWhetherItWantsDoorbells) {
  EXPECT_EQ(tx.device_event().flags, VRING_PACKED_EVENT_FLAG_ENABLE);
  device.any_tx_ring().suppress_notifications(true);
  EXPECT_EQ(tx.device_event().flags, VRING_PACKED_EVENT_FLAG_DISABLE);
  ring_doorbell(1);
  EXPECT_EQ(device.tx_queue().unwanted_notifications, 1U);
  device.any_tx_ring().suppress_notifications(false);
  EXPECT_EQ(tx.device_event().flags, VRING_PACKED_EVENT_FLAG_ENABLE);
}

// --- a hostile device ---

TEST_F(Packed, ABadIdAndLengthAreWrittenAsTold) {
  offer_buffer(0);
  offer_buffer(1);
  ASSERT_TRUE(device.deliver(Frame(60), 0, {.used_id = 0xbeef, .used_length = 0xdeadbeef}));
  EXPECT_EQ(rx.at(0).id, 0xbeef);
  EXPECT_EQ(rx.at(0).len, 0xdeadbeefU);
  EXPECT_TRUE(rx.completed(1).has_value());
  ASSERT_TRUE(device.deliver(Frame(60)));
  EXPECT_EQ(rx.completed().value().id, 1) << "and it goes on behind it";
  EXPECT_EQ(device.any_rx_ring().outstanding(), 1U) << "the first was never given back";
  expect_no_violation();
}
TEST_F(Packed, MoreThanWasGiven) {
  auto& ring = device.packed_tx_ring();
  for (std::uint16_t id = 0; id < 20; ++id) {
    ring.push_raw(id, 0);
    ring.publish();
  }
  EXPECT_EQ(ring.used_step(), 4U) << "two laps of 8, and 4";
  EXPECT_EQ(tx.at(3).flags, kAvailBit | kUsedBit);
  EXPECT_EQ(tx.at(3).id, 19);
  EXPECT_EQ(tx.at(4).flags, 0) << "the second lap's";
  EXPECT_EQ(tx.at(4).id, 12);
  expect_no_violation();
}
TEST_F(Packed, AnythingAnywhere) {
  auto& ring = device.packed_tx_ring();
  ring.scribble_descriptor(5, {1, 2, 3, 0xffff});
  EXPECT_EQ(tx.at(5).flags, 0xffff);
  EXPECT_EQ(tx.at(5).len, 2U);
  ring.scribble_event({0xffff, 3});
  EXPECT_EQ(tx.device_event().flags, 3);
  ring.set_used_step(13);
  ring.push_raw(9, 0);
  ring.publish();
  EXPECT_EQ(tx.at(5).id, 9);
  EXPECT_EQ(tx.at(5).flags, 0);
}

}  // namespace
}  // namespace spinring::sim
