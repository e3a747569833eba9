#include "bench/vhost/split_ring.hpp"

#include <gtest/gtest.h>

#include "bench/vhost/test/shared_ring_memory.hpp"

namespace spinring::bench::vhost {
namespace {

constexpr std::uint16_t kEntries = 8;

class SplitRingTest : public testing::Test {
 protected:
  SplitRing ring(Direction direction, bool in_order = false, bool one_entry = false, std::uint32_t base = 0) {
    RingPlace place = memory_.place(kEntries, direction);
    place.in_order = in_order;
    place.one_entry_per_batch = one_entry;
    place.base = base;
    return {place, table_, violations_};
  }

  SharedRingMemory memory_;
  MemoryTable table_ = memory_.table();
  SplitDriver driver_{memory_, kEntries};
  Violations violations_;
  Batch batch_;
  const std::array<std::uint32_t, Batch::kMost> lengths_{72, 72, 72, 72, 72, 72, 72, 72};
};

TEST_F(SplitRingTest, TellsTheDriverNotToKick) {
  [[maybe_unused]] const SplitRing device = ring(Direction::kDeviceWrites);
  EXPECT_EQ(driver_.used().flags, VRING_USED_F_NO_NOTIFY);
}

TEST_F(SplitRingTest, GivesBuffersBackInOrderRoundAndRound) {
  SplitRing device = ring(Direction::kDeviceWrites);
  for (std::uint16_t round = 0; round < 10000; ++round) {  // past the wrap of the 16-bit index: 70000 buffers
    for (std::uint16_t i = 0; i < 7; ++i) {
      const auto head = static_cast<std::uint16_t>((round + i * 3) % kEntries);
      driver_.describe(head, SharedRingMemory::buffer(i), 2048, VRING_DESC_F_WRITE);
      driver_.publish(head);
    }
    device.take(batch_, Batch::kMost);
    ASSERT_EQ(batch_.count, 7U);
    EXPECT_EQ(batch_.chains[3].length, 2048U);
    device.complete(batch_, 7, lengths_);
    ASSERT_EQ(driver_.used().idx, static_cast<std::uint16_t>((round + 1) * 7));
    const auto& last = driver_.used().ring[static_cast<std::uint16_t>(driver_.used().idx - 1) % kEntries];
    ASSERT_EQ(last.id, static_cast<std::uint32_t>((round + 18) % kEntries));
    ASSERT_EQ(last.len, 72U);
  }
  EXPECT_EQ(violations_.total(), 0U);
}

TEST_F(SplitRingTest, WhatWasNotCompletedIsTakenAgain) {
  SplitRing device = ring(Direction::kDeviceWrites, true);
  for (std::uint16_t i = 0; i < 4; ++i) {
    driver_.describe(i, SharedRingMemory::buffer(i), 2048, VRING_DESC_F_WRITE);
    driver_.publish(i);
  }
  device.take(batch_, 4);
  device.complete(batch_, 1, lengths_);
  device.take(batch_, 2);
  ASSERT_EQ(batch_.count, 2U);
  EXPECT_EQ(batch_.chains[0].id, 1);
  EXPECT_EQ(violations_.total(), 0U);
  EXPECT_EQ(device.base(), 1U);
}

TEST_F(SplitRingTest, OneEntryStandsForABatch) {
  SplitRing device = ring(Direction::kDeviceReads, true, true);
  for (std::uint16_t i = 0; i < 5; ++i) {
    driver_.describe(i, SharedRingMemory::buffer(i), 72, 0);
    driver_.publish(i);
    driver_.used().ring[i].id = 99;
  }
  device.take(batch_, Batch::kMost);
  device.complete(batch_, 5, lengths_);
  EXPECT_EQ(driver_.used().idx, 5);
  EXPECT_EQ(driver_.used().ring[0].id, 4U);
  EXPECT_EQ(driver_.used().ring[1].id, 99U) << "2.7.9: the skipped entries are not written";
}

TEST_F(SplitRingTest, FollowsChains) {
  SplitRing device = ring(Direction::kDeviceReads);
  driver_.describe(5, SharedRingMemory::buffer(0), 12, VRING_DESC_F_NEXT, 2);
  driver_.describe(2, SharedRingMemory::buffer(1), 100, VRING_DESC_F_NEXT, 7);
  driver_.describe(7, SharedRingMemory::buffer(2), 200, 0);
  driver_.publish(5);
  device.take(batch_, Batch::kMost);
  ASSERT_EQ(batch_.count, 1U);
  EXPECT_EQ(batch_.length(batch_.chains[0]), 312U);
  ASSERT_EQ(batch_.rest(batch_.chains[0]).size(), 2U);
  EXPECT_EQ(batch_.rest(batch_.chains[0])[1].length, 200U);
  EXPECT_EQ(violations_.total(), 0U);
}

TEST_F(SplitRingTest, FollowsAnIndirectTable) {
  SplitRing device = ring(Direction::kDeviceReads);
  auto* table = reinterpret_cast<vring_desc*>(memory_.at(SharedRingMemory::buffer(9)));
  table[0] = {SharedRingMemory::kGuest + SharedRingMemory::buffer(0), 12, VRING_DESC_F_NEXT, 1};
  table[1] = {SharedRingMemory::kGuest + SharedRingMemory::buffer(1), 60, 0, 0};
  driver_.describe(0, SharedRingMemory::buffer(9), 32, VRING_DESC_F_INDIRECT);
  driver_.publish(0);
  driver_.describe(1, SharedRingMemory::buffer(9), 33, VRING_DESC_F_INDIRECT);  // not a whole table
  driver_.publish(1);
  device.take(batch_, Batch::kMost);
  EXPECT_EQ(batch_.length(batch_.chains[0]), 72U);
  EXPECT_EQ(batch_.chains[1].data, nullptr);
  EXPECT_EQ(violations_.of(Violation::kIndirect), 1U);
}

TEST_F(SplitRingTest, NotesBuffersThatBreakARule) {
  SplitRing device = ring(Direction::kDeviceWrites);
  driver_.descriptor(0) = {SharedRingMemory::kGuest + SharedRingMemory::kSize - 100, 101, VRING_DESC_F_WRITE,
                           0};
  driver_.descriptor(1) = {SharedRingMemory::kGuest - 1, 10, VRING_DESC_F_WRITE, 0};
  driver_.describe(2, SharedRingMemory::buffer(0), 0, VRING_DESC_F_WRITE);
  driver_.describe(3, SharedRingMemory::buffer(0), 2048, 0);
  for (const std::uint16_t head : std::initializer_list<std::uint16_t>{0, 1, 2, 3, 8}) driver_.publish(head);
  device.take(batch_, Batch::kMost);
  ASSERT_EQ(batch_.count, 5U);
  for (unsigned i = 0; i < 5; ++i) EXPECT_EQ(batch_.chains[i].data, nullptr) << i;
  EXPECT_EQ(violations_.of(Violation::kAddress), 2U);
  EXPECT_EQ(violations_.of(Violation::kEmptyBuffer), 1U);
  EXPECT_EQ(violations_.of(Violation::kDirection), 1U);
  EXPECT_EQ(violations_.of(Violation::kHead), 1U);
  EXPECT_EQ(violations_.first, Violation::kAddress);
  EXPECT_EQ(violations_.first_b, 101U);
}

TEST_F(SplitRingTest, NotesALoopOfDescriptors) {
  SplitRing device = ring(Direction::kDeviceReads);
  driver_.describe(0, SharedRingMemory::buffer(0), 10, VRING_DESC_F_NEXT, 1);
  driver_.describe(1, SharedRingMemory::buffer(0), 10, VRING_DESC_F_NEXT, 0);
  driver_.publish(0);
  device.take(batch_, Batch::kMost);
  EXPECT_EQ(batch_.chains[0].data, nullptr);
  EXPECT_EQ(violations_.of(Violation::kChain), 1U);
}

TEST_F(SplitRingTest, StopsAtAnIndexThatIsTooFarAhead) {
  SplitRing device = ring(Direction::kDeviceReads);
  driver_.available().idx = kEntries + 1;
  device.take(batch_, Batch::kMost);
  EXPECT_EQ(batch_.count, 0U);
  driver_.available().idx = 1;
  device.take(batch_, Batch::kMost);
  EXPECT_EQ(batch_.count, 0U) << "a ring that lost its index is not read again";
  EXPECT_EQ(violations_.of(Violation::kAvailableIndex), 1U);
}

TEST_F(SplitRingTest, NotesBuffersOutOfOrder) {
  SplitRing device = ring(Direction::kDeviceReads, true);
  for (const std::uint16_t head : std::initializer_list<std::uint16_t>{0, 1, 3}) {
    driver_.describe(head, SharedRingMemory::buffer(head), 72, 0);
    driver_.publish(head);
  }
  device.take(batch_, Batch::kMost);
  EXPECT_EQ(violations_.of(Violation::kOrder), 1U);
  EXPECT_EQ(violations_.first_a, 3U);
  EXPECT_EQ(violations_.first_b, 2U);
}

TEST_F(SplitRingTest, GoesOnFromItsBaseAndHonoursInterruptSuppression) {
  driver_.available().idx = 0xfffe;
  SplitRing device = ring(Direction::kDeviceReads, false, false, 0xfffe);
  device.take(batch_, Batch::kMost);
  EXPECT_EQ(batch_.count, 0U);
  for (std::uint16_t i = 0; i < 3; ++i) {
    driver_.describe(i, SharedRingMemory::buffer(i), 72, 0);
    driver_.publish(i);
  }
  device.take(batch_, Batch::kMost);
  EXPECT_EQ(batch_.count, 3U);
  device.complete(batch_, 3, lengths_);
  EXPECT_EQ(driver_.used().idx, 1);
  EXPECT_TRUE(device.wants_interrupt());
  driver_.available().flags = VRING_AVAIL_F_NO_INTERRUPT;
  EXPECT_FALSE(device.wants_interrupt());
}

}  // namespace
}  // namespace spinring::bench::vhost
