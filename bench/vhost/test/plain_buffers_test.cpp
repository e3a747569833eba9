#include "bench/vhost/plain_buffers.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "bench/vhost/packed_ring.hpp"
#include "bench/vhost/split_ring.hpp"
#include "bench/vhost/test/shared_ring_memory.hpp"
#include "bench/vhost/test/vector_widths.hpp"

namespace spinring::bench::vhost {
namespace {

constexpr std::uint16_t kRingEntries = 64;
constexpr std::uint32_t kLength = 72;

/// A ring of its own, with both its ends.
template <class Driver, class Device>
struct RingSide {
  [[nodiscard]] const std::byte* start() const { return table.guest(SharedRingMemory::kGuest, 1); }

  SharedRingMemory memory;
  MemoryTable table = memory.table();
  Driver driver{memory, kRingEntries};
  Violations violations;
  Batch batch;
  std::optional<Device> device;
};

class PlainBuffersTest : public testing::TestWithParam<unsigned> {};
class PlainLinesTest : public testing::TestWithParam<unsigned> {};
INSTANTIATE_TEST_SUITE_P(By, PlainBuffersTest, testing::ValuesIn(vector_widths()),
                         testing::PrintToStringParamName());
INSTANTIATE_TEST_SUITE_P(By, PlainLinesTest, testing::ValuesIn(vector_widths()),
                         testing::PrintToStringParamName());

/// A split ring, worked on by vectors of so many bits.
struct Side : RingSide<SplitDriver, SplitRing> {
  explicit Side(unsigned bits, Direction direction, bool in_order, std::uint16_t base)
      : wide(bits > kNoVectors) {
    RingPlace place = memory.place(kRingEntries, direction);
    place.vectors = bits;
    place.in_order = in_order;
    place.base = base;
    driver.available().idx = base;
    const auto writable =
        static_cast<std::uint16_t>(direction == Direction::kDeviceWrites ? VRING_DESC_F_WRITE : 0);
    for (std::uint16_t i = 0; i < kRingEntries; ++i) {
      driver.describe(i, SharedRingMemory::buffer(i), kLength, writable);
    }
    device.emplace(place, table, violations);
  }

  bool wide;
};

template <class Of>
void expect_same(const Of& a, const Of& b) {
  ASSERT_EQ(a.batch.count, b.batch.count);
  for (unsigned i = 0; i < a.batch.count; ++i) {
    const Chain& one = a.batch.chains[i];
    const Chain& other = b.batch.chains[i];
    ASSERT_EQ(one.data == nullptr, other.data == nullptr) << i;
    // Each side has the memory mapped for itself, at another address.
    if (one.data != nullptr) {
      ASSERT_EQ(one.data - a.start(), other.data - b.start()) << i;
    }
    ASSERT_EQ(one.length, other.length) << i;
    ASSERT_EQ(one.id, other.id) << i;
    ASSERT_EQ(a.batch.slots(one), b.batch.slots(other)) << i;
    ASSERT_EQ(a.batch.rest(one).size(), b.batch.rest(other).size()) << i;
  }
  ASSERT_EQ(a.batch.alike, b.batch.alike);
  ASSERT_EQ(a.violations.counts, b.violations.counts);
  ASSERT_EQ(a.violations.first_a, b.violations.first_a);
  ASSERT_EQ(a.violations.first_b, b.violations.first_b);
}

void expect_same_used(const Side& a, const Side& b) {
  ASSERT_EQ(std::memcmp(&a.driver.used(), &b.driver.used(), split_used_bytes(kRingEntries)), 0);
}

TEST_P(PlainBuffersTest, BatchesOfAnySizeGoRoundTheRing) {
  std::mt19937 random(1);
  for (const bool in_order : {false, true}) {
    for (const Direction direction : {Direction::kDeviceWrites, Direction::kDeviceReads}) {
      Side wide(GetParam(), direction, in_order, 0);
      Side narrow(kNoVectors, direction, in_order, 0);
      std::uint16_t head = 0;
      for (unsigned round = 0; round < 5000; ++round) {
        const auto count = static_cast<unsigned>(random() % (Batch::kMost + 1));
        for (unsigned i = 0; i < count; ++i, head = static_cast<std::uint16_t>((head + 1) % kRingEntries)) {
          wide.driver.publish(head);
          narrow.driver.publish(head);
        }
        for (Side* side : {&wide, &narrow}) side->device->take(side->batch, Batch::kMost);
        ASSERT_EQ(wide.batch.count, count);
        ASSERT_EQ(wide.batch.taken == Taken::kOneRun, wide.wide && count > 0);
        ASSERT_NO_FATAL_FAILURE(expect_same(wide, narrow));
        if (count == 0) continue;
        const unsigned done = 1 + static_cast<unsigned>(random() % count);
        for (Side* side : {&wide, &narrow}) {
          side->device->complete(side->batch, done, SameWritten{round});
          side->device->take(side->batch, Batch::kMost);  // what was not completed
          ASSERT_EQ(side->batch.count, count - done);
          if (done < count) side->device->complete(side->batch, count - done, SameWritten{round + 1});
        }
        ASSERT_NO_FATAL_FAILURE(expect_same_used(wide, narrow));
      }
      EXPECT_EQ(wide.violations.total(), 0U);
    }
  }
}

/// A driver whose buffers come back in another order offers runs of heads that lie anywhere in the table.
TEST_P(PlainBuffersTest, RunsOfHeadsMayLieAnywhere) {
  std::mt19937 random(3);
  for (const unsigned shortest : {1U, 4U, 8U}) {
    SCOPED_TRACE(shortest);
    Side wide(GetParam(), Direction::kDeviceReads, false, 0);
    Side narrow(kNoVectors, Direction::kDeviceReads, false, 0);
    unsigned by_vectors = 0;
    constexpr unsigned kRounds = 2000;
    for (unsigned round = 0; round < kRounds; ++round) {
      unsigned count = 0;
      while (count < Batch::kMost) {
        const unsigned length =
            std::min(shortest + static_cast<unsigned>(random() % 5), Batch::kMost - count);
        const auto head = static_cast<unsigned>(random() % kRingEntries);
        for (unsigned i = 0; i < length; ++i) {
          for (Side* side : {&wide, &narrow})
            side->driver.publish(static_cast<std::uint16_t>((head + i) % kRingEntries));
        }
        count += length;
      }
      for (Side* side : {&wide, &narrow}) side->device->take(side->batch, Batch::kMost);
      by_vectors += wide.batch.taken == Taken::kRuns ? 1 : 0;
      ASSERT_NO_FATAL_FAILURE(expect_same(wide, narrow));
      for (Side* side : {&wide, &narrow}) side->device->complete(side->batch, count, SameWritten{round});
      ASSERT_NO_FATAL_FAILURE(expect_same_used(wide, narrow));
    }
    EXPECT_EQ(wide.violations.total(), 0U);
    if (!wide.wide) {
      EXPECT_EQ(by_vectors, 0U);
    } else if (shortest == 8) {
      EXPECT_GT(by_vectors, kRounds / 2);
    }
  }
}

/// What makes a batch other than plain, at one place of it.
struct Flaw {
  const char* name;
  std::function<void(Side&, std::uint16_t head)> make;
};

TEST_P(PlainBuffersTest, AFlawAnywhereIsSeenByBothAlike) {
  const std::vector<Flaw> flaws = {
      {"longer", [](Side& side, std::uint16_t head) { side.driver.descriptor(head).len = kLength + 1; }},
      {"empty", [](Side& side, std::uint16_t head) { side.driver.descriptor(head).len = 0; }},
      {"direction",
       [](Side& side, std::uint16_t head) { side.driver.descriptor(head).flags ^= VRING_DESC_F_WRITE; }},
      {"chain",
       [](Side& side, std::uint16_t head) {
         side.driver.descriptor(head).flags |= VRING_DESC_F_NEXT;
         side.driver.descriptor(head).next = static_cast<std::uint16_t>((head + 1) % kRingEntries);
       }},
      {"below", [](Side& side,
                   std::uint16_t head) { side.driver.descriptor(head).addr = SharedRingMemory::kGuest - 1; }},
      {"one byte beyond",
       [](Side& side, std::uint16_t head) {
         side.driver.descriptor(head).addr = SharedRingMemory::kGuest + SharedRingMemory::kSize - kLength + 1;
       }},
      {"just within",
       [](Side& side, std::uint16_t head) {
         side.driver.descriptor(head).addr = SharedRingMemory::kGuest + SharedRingMemory::kSize - kLength;
       }},
      {"another head",
       [](Side& side, std::uint16_t head) {
         for (std::uint16_t i = 0; i < kRingEntries; ++i) {
           if (side.driver.available().ring[i] == head)
             side.driver.available().ring[i] = static_cast<std::uint16_t>((head + 5) % kRingEntries);
         }
       }},
      {"no head", [](Side& side, std::uint16_t head) {
         for (std::uint16_t i = 0; i < kRingEntries; ++i) {
           if (side.driver.available().ring[i] == head) side.driver.available().ring[i] = kRingEntries;
         }
       }}};
  for (const Flaw& flaw : flaws) {
    for (const bool in_order : {false, true}) {
      for (std::uint16_t place = 0; place < Batch::kMost; ++place) {
        SCOPED_TRACE(std::string(flaw.name) + " at " + std::to_string(place));
        constexpr std::uint16_t kBase = kRingEntries - 10;  // over the end of the rings
        Side wide(GetParam(), Direction::kDeviceReads, in_order, kBase);
        Side narrow(kNoVectors, Direction::kDeviceReads, in_order, kBase);
        for (Side* side : {&wide, &narrow}) {
          for (std::uint16_t i = 0; i < Batch::kMost; ++i) side->driver.publish(i);
          flaw.make(*side, place);
          side->device->take(side->batch, Batch::kMost);
        }
        ASSERT_NO_FATAL_FAILURE(expect_same(wide, narrow));
        for (Side* side : {&wide, &narrow}) side->device->complete(side->batch, Batch::kMost, SameWritten{});
        ASSERT_NO_FATAL_FAILURE(expect_same_used(wide, narrow));
      }
    }
  }
}

/// The same of a packed ring.
struct PackedSide : RingSide<PackedDriver, PackedRing> {
  PackedSide(unsigned bits, Direction direction) {
    RingPlace place = memory.place(kRingEntries, direction);
    place.vectors = bits;
    place.base = 0x8000;  // slot 0, first round
    device.emplace(place, table, violations);
  }
};

void expect_same_descriptors(const PackedSide& a, const PackedSide& b) {
  ASSERT_EQ(
      std::memcmp(&a.driver.descriptor(0), &b.driver.descriptor(0), kRingEntries * sizeof(vring_packed_desc)),
      0);
}

TEST_P(PlainLinesTest, BatchesOfAnySizeGoRoundTheRing) {
  std::mt19937 random(2);
  for (const Direction direction : {Direction::kDeviceWrites, Direction::kDeviceReads}) {
    PackedSide wide(GetParam(), direction);
    PackedSide narrow(kNoVectors, direction);
    const std::uint16_t writable = direction == Direction::kDeviceWrites ? VRING_DESC_F_WRITE : 0;
    for (unsigned round = 0; round < 5000; ++round) {
      const unsigned count = round % 3 == 0 ? Batch::kMost : static_cast<unsigned>(random() % Batch::kMost);
      for (unsigned i = 0; i < count; ++i) {
        const auto id = static_cast<std::uint16_t>(random() % kRingEntries);
        const std::uint32_t length = random() % 200 == 0 ? kLength + 1 : kLength;
        for (PackedSide* side : {&wide, &narrow})
          side->driver.publish(SharedRingMemory::buffer(id), length, id, writable);
      }
      for (PackedSide* side : {&wide, &narrow}) side->device->take(side->batch, Batch::kMost);
      ASSERT_EQ(wide.batch.count, count);
      ASSERT_NO_FATAL_FAILURE(expect_same(wide, narrow));
      for (PackedSide* side : {&wide, &narrow}) {
        if (count != 0) side->device->complete(side->batch, count, SameWritten{round});
      }
      ASSERT_NO_FATAL_FAILURE(expect_same_descriptors(wide, narrow));
    }
    EXPECT_EQ(wide.violations.total(), 0U);
  }
}

TEST_P(PlainLinesTest, AFlawAnywhereIsSeenByBothAlike) {
  using Make = void (*)(vring_packed_desc&);
  const std::vector<std::pair<const char*, Make>> flaws = {
      {"empty", [](vring_packed_desc& descriptor) { descriptor.len = 0; }},
      {"direction", [](vring_packed_desc& descriptor) { descriptor.flags ^= VRING_DESC_F_WRITE; }},
      {"next", [](vring_packed_desc& descriptor) { descriptor.flags ^= VRING_DESC_F_NEXT; }},
      {"not available", [](vring_packed_desc& descriptor) { descriptor.flags = 0; }},
      {"id", [](vring_packed_desc& descriptor) { descriptor.id = kRingEntries; }},
      {"below", [](vring_packed_desc& descriptor) { descriptor.addr = SharedRingMemory::kGuest - 1; }},
      {"one byte beyond",
       [](vring_packed_desc& descriptor) {
         descriptor.addr = SharedRingMemory::kGuest + SharedRingMemory::kSize - kLength + 1;
       }},
      {"just within", [](vring_packed_desc& descriptor) {
         descriptor.addr = SharedRingMemory::kGuest + SharedRingMemory::kSize - kLength;
       }}};
  for (const auto& [name, make] : flaws) {
    for (std::uint16_t place = 0; place < Batch::kMost; ++place) {
      SCOPED_TRACE(std::string(name) + " at " + std::to_string(place));
      PackedSide wide(GetParam(), Direction::kDeviceReads);
      PackedSide narrow(kNoVectors, Direction::kDeviceReads);
      for (PackedSide* side : {&wide, &narrow}) {
        for (std::uint16_t i = 0; i < Batch::kMost; ++i)
          side->driver.publish(SharedRingMemory::buffer(i), kLength, i, 0);
        make(side->driver.descriptor(place));
        side->device->take(side->batch, Batch::kMost);
        if (side->batch.count != 0) side->device->complete(side->batch, side->batch.count, SameWritten{});
      }
      ASSERT_NO_FATAL_FAILURE(expect_same(wide, narrow));
      ASSERT_NO_FATAL_FAILURE(expect_same_descriptors(wide, narrow));
    }
  }
}

}  // namespace
}  // namespace spinring::bench::vhost
