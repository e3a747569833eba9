#include "mempool/pool.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "base/log.hpp"
#include "mempool/errors.hpp"
#include "tests/unit/mempool/memory_fixture.hpp"

namespace spinring::mempool {
namespace {

std::unique_ptr<Pool> make_pool(Memory& memory, std::uint32_t packets, std::uint16_t buffer_length = 256) {
  auto pool = Pool::create(memory, {.name = "test", .packets = packets, .buffer_length = buffer_length});
  EXPECT_TRUE(pool) << pool.error().message();
  return pool ? std::move(*pool) : nullptr;
}

std::span<Packet* const> const_span(const std::vector<Packet*>& packets) { return {packets}; }

/// Takes everything that the pool has.
std::vector<Packet*> drain(Pool& pool) {
  std::vector<Packet*> packets(pool.capacity() + 1);
  packets.resize(pool.get(packets));
  return packets;
}

RegionId packet_region(const Pool& pool) { return pool.packet(0)->region; }

class PoolTest : public InMemory {
 protected:
  void SetUp() override {
    InMemory::SetUp();
    if (IsSkipped()) return;
    memory_ = make();
    ASSERT_NE(memory_, nullptr);
  }
  std::unique_ptr<Memory> memory_;
};
INSTANTIATE_TEST_SUITE_P(, PoolTest, testing::Bool(), page_kind);

TEST_P(PoolTest, PacketsLieApartInDmaMemoryWithTheirBuffersBehindThem) {
  auto pool = make_pool(*memory_, 100, 300);
  ASSERT_NE(pool, nullptr);
  EXPECT_EQ(pool->buffer_length(), 320);
  const MemoryRegion region = memory_->regions()[0];
  std::vector<Packet*> packets = drain(*pool);
  ASSERT_EQ(packets.size(), 100U);
  std::sort(packets.begin(), packets.end());
  for (std::size_t i = 0; i < packets.size(); ++i) {
    const Packet& packet = *packets[i];
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&packet) % kCacheLine, 0U);
    EXPECT_GE(reinterpret_cast<const std::byte*>(&packet), region.va);
    EXPECT_LE(packet.buffer() + packet.buffer_length, region.va + region.length);
    if (i != 0) {
      EXPECT_GE(reinterpret_cast<const std::byte*>(&packet),
                packets[i - 1]->buffer() + packets[i - 1]->buffer_length);
    }
    EXPECT_EQ(packet.pool, pool.get());
    EXPECT_EQ(packet.region, region.id);
    EXPECT_EQ(packet.buffer_length, 320);
    EXPECT_EQ(pool->packet(static_cast<std::uint32_t>(i)), &packet);
    EXPECT_EQ(pool->index_of(&packet), i);
  }
  pool->put(const_span(packets));
}

TEST_P(PoolTest, NoPacketCrossesTheEndOfAHugepage) {
  const bool huge = GetParam();
  if (huge) {
    if (const std::string reason = reason_for_no_hugepages(3); !reason.empty()) GTEST_SKIP() << reason;
    ASSERT_TRUE(memory_->grow({.bytes = 3 * kTwoMiB}));
  }
  const auto before = memory_->allocate(1000 * kCacheLine, kCacheLine);  // so that a pool begins in mid-page
  ASSERT_TRUE(before);
  auto pool = make_pool(*memory_, huge ? 2000 : 500, 2304);
  ASSERT_NE(pool, nullptr);
  std::uintptr_t last_end = 0;
  std::size_t across = 0;
  for (std::uint32_t i = 0; i < pool->capacity(); ++i) {
    Packet* const packet = pool->packet(i);
    const auto start = reinterpret_cast<std::uintptr_t>(packet);
    const auto end = reinterpret_cast<std::uintptr_t>(packet->buffer() + packet->buffer_length);
    ASSERT_GE(start, last_end) << i;
    last_end = end;
    if (start / kTwoMiB != (end - 1) / kTwoMiB) ++across;
    ASSERT_EQ(pool->index_of(packet), i);
    ASSERT_TRUE(pool->owns(packet));
    ASSERT_FALSE(pool->owns(reinterpret_cast<Packet*>(start + kCacheLine)));
  }
  const MemoryRegion region = memory_->regions()[packet_region(*pool)];
  EXPECT_LE(last_end, reinterpret_cast<std::uintptr_t>(region.va + region.length));
  if (huge) {
    EXPECT_EQ(across, 0U);
  }
}

TEST(PacketLayout, PacketsAreFoundByTheirAddressesWhereverThePagesEnd) {
  constexpr std::size_t kStride = 192;
  for (const std::uintptr_t first : {0x10000UL, 0x10040UL, 0x10F00UL, 0x10FC0UL}) {
    for (const std::size_t page : {0UL, 128UL, 256UL, 4096UL, 8192UL}) {
      const PacketLayout layout(first, kStride, page);
      std::uintptr_t end = first;
      for (std::size_t i = 0; i < 200; ++i) {
        const std::uintptr_t address = layout.address(i);
        ASSERT_GE(address, end);
        ASSERT_LT(address - end, kStride) << "no more is left free than must be";
        end = address + kStride;
        ASSERT_EQ(layout.index(address), i);
        ASSERT_TRUE(page < kStride || address / page == (end - 1) / page);
        ASSERT_LE(end - first, PacketLayout::bytes(i + 1, kStride, page));
      }
    }
  }
}

TEST_P(PoolTest, MetadataSpreadsOverTheCacheSets) {
  // 1984 + 64 bytes: without care every packet's metadata would fall into two of an L1's 64 sets.
  auto pool = make_pool(*memory_, 64, 1984);
  ASSERT_NE(pool, nullptr);
  std::set<std::uintptr_t> sets;
  for (std::uint32_t i = 0; i < 64; ++i) {
    sets.insert(reinterpret_cast<std::uintptr_t>(pool->packet(i)) / kCacheLine % 64);
  }
  EXPECT_EQ(sets.size(), 64U);
}

TEST_P(PoolTest, ExhaustionReturnsFewerAndIsCounted) {
  auto pool = make_pool(*memory_, 10);
  ASSERT_NE(pool, nullptr);
  std::vector<Packet*> packets(16);
  EXPECT_EQ(pool->get(std::span(packets).first(10)), 10U);
  EXPECT_EQ(pool->exhausted(), 0U);
  EXPECT_EQ(pool->get(std::span(packets).last(6)), 0U);
  EXPECT_EQ(pool->exhausted(), 1U);
  pool->put(std::span<Packet* const>(packets.data(), 4));
  EXPECT_EQ(pool->get(std::span(packets).first(5)), 4U);
  EXPECT_EQ(pool->exhausted(), 2U);
  EXPECT_EQ(pool->available(), 0U);
  pool->put(std::span<Packet* const>(packets.data(), 10));
  EXPECT_EQ(pool->available(), 10U);
}

TEST_P(PoolTest, RefusesWhatCannotBe) {
  for (const PoolConfig& config :
       {PoolConfig{.packets = 0}, PoolConfig{.packets = 1, .buffer_length = Packet::kDefaultDataOffset},
        PoolConfig{.packets = 1, .buffer_length = 65535}, PoolConfig{.packets = UINT32_MAX}}) {
    const auto pool = Pool::create(*memory_, config);
    ASSERT_FALSE(pool);
    EXPECT_EQ(pool.error().code, make_error_code(Errc::kBadArgument));
  }
  const auto large = Pool::create(*memory_, {.name = "huge one", .packets = 100000});
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().code, make_error_code(Errc::kOutOfMemory));
  EXPECT_NE(large.error().message().find("pool 'huge one' (100000 packets)"), std::string::npos);
  EXPECT_TRUE(memory_->allocate(kTwoMiB, 64)) << "a refused pool keeps nothing";
}

TEST_P(PoolTest, GivesItsMemoryBack) {
  make_pool(*memory_, 1000).reset();
  EXPECT_TRUE(memory_->allocate(kTwoMiB, 64));
}

#ifndef SPINRING_POOL_DEBUG  // a debug build aborts on a leak: pool_debug_test
std::string last_warning;

TEST_P(PoolTest, MissingPacketsAreLoggedWhenThePoolGoes) {
  set_log_sink([](LogLevel, std::string_view text) { last_warning = text; });
  auto pool = make_pool(*memory_, 10);
  ASSERT_NE(pool, nullptr);
  std::array<Packet*, 3> kept{};
  ASSERT_EQ(pool->get(kept), 3U);
  pool.reset();
  set_log_sink([](LogLevel, std::string_view) {});
  EXPECT_EQ(last_warning, "pool 'test' goes while 3 of its 10 packets are not in it");
}
#endif

/// Bursts of every size around the cache's limits.
class PoolCacheBurst : public testing::TestWithParam<std::size_t> {};
INSTANTIATE_TEST_SUITE_P(, PoolCacheBurst,
                         testing::Values(1, 2, 3, 4, 5, 7, 8, 9, 15, 31, 32, 33, 63, 64, 100, 255, 256, 383,
                                         384, 385, 500, 767, 768, 769, 1000, 3072, 4000));

TEST_P(PoolCacheBurst, TakesDistinctPacketsAndLosesNone) {
  auto memory = Memory::create({.bytes = kTwoMiB, .hugepages = false});
  ASSERT_TRUE(memory) << memory.error().message();
  auto pool = make_pool(**memory, 4000);
  ASSERT_NE(pool, nullptr);
  {
    PoolCache cache(*pool);
    EXPECT_EQ(cache.limit(), PoolCache::kMostPackets);
    std::vector<Packet*> packets(GetParam());
    for (int round = 0; round < 20; ++round) {
      ASSERT_EQ(cache.get(packets), packets.size());
      ASSERT_EQ(std::set<Packet*>(packets.begin(), packets.end()).size(), packets.size());
      ASSERT_TRUE(std::all_of(packets.begin(), packets.end(), [&](Packet* p) { return pool->owns(p); }));
      ASSERT_EQ(cache.count() + pool->available() + packets.size(), 4000U);
      cache.put(const_span(packets));
      ASSERT_LE(cache.count(), cache.limit());
      ASSERT_EQ(cache.count() + pool->available(), 4000U);
    }
  }
  EXPECT_EQ(pool->available(), 4000U) << "a cache that goes gives everything back";
  EXPECT_EQ(pool->exhausted(), 0U);
}

TEST_P(PoolTest, CacheReturnsABurstInItsOrder) {
  auto pool = make_pool(*memory_, 1000);
  ASSERT_NE(pool, nullptr);
  PoolCache cache(*pool);
  std::array<Packet*, 32> first{};
  std::array<Packet*, 32> second{};
  ASSERT_EQ(cache.get(first), 32U);
  cache.put(std::span<Packet* const>(first));
  ASSERT_EQ(cache.get(second), 32U);
  EXPECT_EQ(first, second);
  cache.put(std::span<Packet* const>(second));
}

TEST_P(PoolTest, CacheTakesTheLastPacketAndCountsExhaustionOnce) {
  for (const std::uint32_t packets : {1U, 3U, 40U, 1000U}) {
    auto pool = make_pool(*memory_, packets);
    ASSERT_NE(pool, nullptr);
    PoolCache cache(*pool);
    std::vector<Packet*> all(packets + 1);
    EXPECT_EQ(cache.get(all), packets);
    EXPECT_EQ(pool->exhausted(), 1U);
    EXPECT_EQ(cache.get(), nullptr);
    EXPECT_EQ(pool->exhausted(), 2U);
    all.pop_back();
    cache.put(const_span(all));
    EXPECT_NE(all[0] = cache.get(), nullptr);
    cache.put(std::span<Packet* const>(all.data(), 1));
    cache.flush();
    EXPECT_EQ(pool->available(), packets);
    EXPECT_EQ(cache.count(), 0U);
  }
}

TEST_P(PoolTest, SingleGetResetsThePacket) {
  auto pool = make_pool(*memory_, 8);
  ASSERT_NE(pool, nullptr);
  PoolCache cache(*pool);
  for (int round = 0; round < 16; ++round) {
    Packet* packet = cache.get();
    ASSERT_NE(packet, nullptr);
    EXPECT_EQ(packet->next, nullptr);
    EXPECT_EQ(packet->segments, 1);
    EXPECT_EQ(packet->packet_length, 0U);
    EXPECT_EQ(packet->data_length, 0);
    EXPECT_EQ(packet->data_offset, Packet::kDefaultDataOffset);
    EXPECT_EQ(packet->offloads, 0U);
    packet->next = packet;
    packet->segments = 9;
    packet->packet_length = packet->data_length = 77;
    packet->data_offset = 1;
    packet->offloads = kTxChecksum;
    cache.put(std::span<Packet* const>(&packet, 1));
  }
}

TEST_P(PoolTest, PacketsOfOtherPoolsGoHome) {
  auto mine = make_pool(*memory_, 400);
  auto other = make_pool(*memory_, 400);
  auto third = make_pool(*memory_, 400);
  ASSERT_TRUE(mine && other && third);
  PoolCache cache(*mine);
  std::mt19937 random(1);
  for (const std::size_t each : {1U, 3U, 10U, 32U, 200U, 400U}) {
    std::vector<Packet*> mixed;
    for (Pool* pool : {mine.get(), other.get(), third.get()}) {
      std::vector<Packet*> some(each);
      cache.flush();
      ASSERT_EQ(pool->get(some), each);
      mixed.insert(mixed.end(), some.begin(), some.end());
    }
    std::shuffle(mixed.begin(), mixed.end(), random);
    cache.put(const_span(mixed));
    EXPECT_EQ(other->available(), 400U);
    EXPECT_EQ(third->available(), 400U);
    EXPECT_EQ(mine->available() + cache.count(), 400U);
  }
}

TEST_P(PoolTest, FirstAndLastPacketCountAsOwn) {
  auto before = make_pool(*memory_, 64);
  auto mine = make_pool(*memory_, 64);
  auto after = make_pool(*memory_, 64);
  ASSERT_TRUE(before && mine && after);
  PoolCache cache(*mine);
  std::vector<Packet*> all = drain(*mine);
  std::vector<Packet*> below = drain(*before);
  std::vector<Packet*> above = drain(*after);
  for (Packet* packet : {mine->packet(0), mine->packet(63)}) {
    EXPECT_TRUE(mine->owns(packet));
    cache.put(std::span<Packet* const>(&packet, 1));
    std::erase(all, packet);
  }
  EXPECT_EQ(cache.count(), 2U);
  for (Packet* packet : {before->packet(63), after->packet(0)}) EXPECT_FALSE(mine->owns(packet));
  cache.put(const_span(below));
  cache.put(const_span(above));
  cache.put(const_span(all));
  cache.flush();
  for (const Pool* pool : {before.get(), mine.get(), after.get()}) EXPECT_EQ(pool->available(), 64U);
}

TEST_P(PoolTest, ChainsComeBackWhole) {
  auto pool = make_pool(*memory_, 400);
  auto other = make_pool(*memory_, 400);
  ASSERT_TRUE(pool && other);
  PoolCache cache(*pool);
  PoolCache other_cache(*other);
  for (const std::size_t length : {1U, 2U, 31U, 32U, 33U, 100U}) {
    Packet* head = nullptr;
    for (std::size_t i = 0; i < length; ++i) {
      Packet* segment = (i % 3 == 0 ? other_cache : cache).get();
      ASSERT_NE(segment, nullptr);
      segment->next = head;
      head = segment;
    }
    cache.put_chain(head);
    cache.flush();
    other_cache.flush();
    EXPECT_EQ(pool->available(), 400U);
    EXPECT_EQ(other->available(), 400U);
  }
  cache.put_chain(nullptr);
  EXPECT_EQ(cache.count(), 0U);
}

TEST_P(PoolTest, SmallPoolsAreNotKeptByOneCache) {
  auto pool = make_pool(*memory_, 256);
  ASSERT_NE(pool, nullptr);
  PoolCache cache(*pool);
  std::vector<Packet*> all(256);
  ASSERT_EQ(cache.get(all), 256U);
  for (std::size_t at = 0; at < 256; at += 32) cache.put(std::span<Packet* const>(&all[at], 32));
  EXPECT_LE(cache.count(), 64U);
  EXPECT_GE(pool->available(), 192U);
}

TEST(CopyPointers, CopiesEveryCountAndSeesEveryStranger) {
  std::array<int, 400> home{};
  const auto first = reinterpret_cast<std::uintptr_t>(home.data() + 1);
  const auto last = reinterpret_cast<std::uintptr_t>(home.data() + 398);
  for (std::size_t count = 0; count <= 300; ++count) {
    std::vector<int*> from(count);
    for (std::size_t i = 0; i < count; ++i) from[i] = &home[1 + i % 398];
    if (count != 0) from.back() = &home[398];
    std::vector<int*> to(count + 1, nullptr);
    ASSERT_TRUE(copy_pointers(to.data(), from.data(), count, RangeCheck(first, last))) << count;
    ASSERT_TRUE(std::equal(from.begin(), from.end(), to.begin()));
    ASSERT_EQ(to.back(), nullptr) << "one more than asked for";
    for (std::size_t stranger = 0; stranger < count; stranger += 1 + count / 16) {
      for (int* address : {&home[0], &home[399], static_cast<int*>(nullptr)}) {
        std::vector<int*> mixed = from;
        mixed[stranger] = address;
        ASSERT_FALSE(copy_pointers(to.data(), mixed.data(), count, RangeCheck(first, last)))
            << stranger << " of " << count;
      }
    }
  }
}

}  // namespace
}  // namespace spinring::mempool
