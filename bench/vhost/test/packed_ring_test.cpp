#include "bench/vhost/packed_ring.hpp"

#include <gtest/gtest.h>

#include "bench/vhost/test/shared_ring_memory.hpp"

namespace spinring::bench::vhost {
namespace {

constexpr std::uint16_t kRingSize = 7;  // a packed ring need not be a power of two

class PackedRingTest : public testing::Test {
 protected:
  PackedRing ring(Direction direction, bool one_entry = false, std::uint32_t base = 0x8000) {
    RingPlace place = memory_.place(kRingSize, direction);
    place.in_order = one_entry;
    place.one_entry_per_batch = one_entry;
    place.base = base;
    return {place, table_, violations_};
  }

  SharedRingMemory memory_;
  MemoryTable table_ = memory_.table();
  PackedDriver driver_{memory_, kRingSize};
  Violations violations_;
  Batch batch_;
  const std::array<std::uint32_t, Batch::kMost> lengths_{60, 61, 62, 63, 64, 65, 66};
};

TEST_F(PackedRingTest, TellsTheDriverNotToKick) {
  [[maybe_unused]] const PackedRing device = ring(Direction::kDeviceWrites);
  const auto* event = reinterpret_cast<vring_packed_desc_event*>(memory_.at(SharedRingMemory::used(0)));
  EXPECT_EQ(event->flags, VRING_PACKED_EVENT_FLAG_DISABLE);
}

TEST_F(PackedRingTest, AnEmptyRingIsEmptyInBothRounds) {
  PackedRing device = ring(Direction::kDeviceWrites);
  device.take(batch_, Batch::kMost);
  EXPECT_EQ(batch_.count, 0U);
  PackedRing wrapped = ring(Direction::kDeviceWrites, false, 0);
  wrapped.take(batch_, Batch::kMost);
  EXPECT_EQ(batch_.count, 0U) << "all-zero flags are used ones when the wrap counter is 0";
}

TEST_F(PackedRingTest, GivesBuffersBackOverManyRounds) {
  PackedRing device = ring(Direction::kDeviceWrites);
  bool wrap = true;
  for (unsigned round = 0; round < 1000; ++round) {
    std::array<std::uint16_t, 5> slots{};
    for (std::uint16_t i = 0; i < 5; ++i) {
      slots[i] = driver_.publish(SharedRingMemory::buffer(i), 2048, static_cast<std::uint16_t>(6 - i),
                                 VRING_DESC_F_WRITE);
    }
    device.take(batch_, Batch::kMost);
    ASSERT_EQ(batch_.count, 5U) << round;
    device.complete(batch_, 5, lengths_);
    for (std::uint16_t i = 0; i < 5; ++i) {
      if (i > 0 && slots[i] < slots[i - 1]) wrap = !wrap;
      ASSERT_TRUE(driver_.is_used(slots[i], wrap)) << round << " " << i;
      ASSERT_EQ(driver_.descriptor(slots[i]).id, 6 - i);
      ASSERT_EQ(driver_.descriptor(slots[i]).len, lengths_[i]);
      ASSERT_NE(driver_.descriptor(slots[i]).flags & VRING_DESC_F_WRITE, 0);
    }
    if (slots[4] == kRingSize - 1) wrap = !wrap;
  }
  EXPECT_EQ(violations_.total(), 0U);
}

TEST_F(PackedRingTest, AChainTakesOneUsedDescriptorAndAllItsSlots) {
  PackedRing device = ring(Direction::kDeviceReads);
  driver_.publish(SharedRingMemory::buffer(0), 12, 0, VRING_DESC_F_NEXT);
  driver_.publish(SharedRingMemory::buffer(1), 60, 3, 0);
  driver_.publish(SharedRingMemory::buffer(2), 72, 5, 0);
  device.take(batch_, Batch::kMost);
  ASSERT_EQ(batch_.count, 2U);
  EXPECT_EQ(batch_.chains[0].id, 3) << "2.8.6: the id of the last descriptor";
  EXPECT_EQ(batch_.slots(batch_.chains[0]), 2U);
  EXPECT_EQ(batch_.length(batch_.chains[0]), 72U);
  device.complete(batch_, 2, lengths_);
  EXPECT_TRUE(driver_.is_used(0, true));
  EXPECT_EQ(driver_.descriptor(0).id, 3);
  EXPECT_TRUE(driver_.is_used(2, true));
  EXPECT_EQ(device.base(), 0x80038003U);
}

TEST_F(PackedRingTest, OneDescriptorStandsForABatch) {
  PackedRing device = ring(Direction::kDeviceReads, true);
  for (std::uint16_t i = 0; i < 4; ++i) driver_.publish(SharedRingMemory::buffer(i), 72, i, 0);
  device.take(batch_, Batch::kMost);
  device.complete(batch_, 4, lengths_);
  EXPECT_TRUE(driver_.is_used(0, true));
  EXPECT_EQ(driver_.descriptor(0).id, 3);
  EXPECT_FALSE(driver_.is_used(1, true));
  EXPECT_FALSE(driver_.is_used(3, true));
  EXPECT_EQ(device.base() & 0xffffU, 0x8004U);
}

TEST_F(PackedRingTest, ReadsAnIndirectTableByItsLength) {
  PackedRing device = ring(Direction::kDeviceReads);
  auto* table = reinterpret_cast<vring_packed_desc*>(memory_.at(SharedRingMemory::buffer(9)));
  table[0] = {SharedRingMemory::kGuest + SharedRingMemory::buffer(0), 12, 0, 0};
  table[1] = {SharedRingMemory::kGuest + SharedRingMemory::buffer(1), 60, 0, 0};
  driver_.publish(SharedRingMemory::buffer(9), 32, 1, VRING_DESC_F_INDIRECT);
  driver_.publish(SharedRingMemory::buffer(9), 0, 2, VRING_DESC_F_INDIRECT);
  device.take(batch_, Batch::kMost);
  ASSERT_EQ(batch_.count, 2U);
  EXPECT_EQ(batch_.length(batch_.chains[0]), 72U);
  EXPECT_EQ(batch_.chains[0].id, 1);
  EXPECT_EQ(batch_.chains[1].data, nullptr);
  EXPECT_EQ(violations_.of(Violation::kIndirect), 1U);
}

TEST_F(PackedRingTest, NotesBadIdsAddressesAndBrokenChains) {
  PackedRing device = ring(Direction::kDeviceReads);
  driver_.publish(SharedRingMemory::buffer(0), 72, kRingSize, 0);
  driver_.publish(SharedRingMemory::kSize, 72, 0, 0);
  driver_.publish(SharedRingMemory::buffer(0), 72, 1, VRING_DESC_F_NEXT);  // and nothing after it
  device.take(batch_, Batch::kMost);
  ASSERT_EQ(batch_.count, 3U);
  EXPECT_EQ(violations_.of(Violation::kBufferId), 1U);
  EXPECT_EQ(violations_.of(Violation::kAddress), 1U);
  EXPECT_EQ(violations_.of(Violation::kChain), 1U);
}

TEST_F(PackedRingTest, AskedForInterruptsGivesThem) {
  PackedRing device = ring(Direction::kDeviceReads);
  auto* event = reinterpret_cast<vring_packed_desc_event*>(memory_.at(SharedRingMemory::available(0)));
  EXPECT_TRUE(device.wants_interrupt());
  event->flags = VRING_PACKED_EVENT_FLAG_DISABLE;
  EXPECT_FALSE(device.wants_interrupt());
}

}  // namespace
}  // namespace spinring::bench::vhost
