// Several threads on one ring and one pool. Run it in a -Db_sanitize=thread build as well.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <random>
#include <thread>
#include <vector>

#include "base/time.hpp"
#include "mempool/depot.hpp"
#include "mempool/pool.hpp"
#include "mempool/shared_ring.hpp"

namespace spinring::mempool {
namespace {

using namespace std::chrono_literals;

TEST(SharedRing, IsFifoAndBounded) {
  SharedRing<int> ring(5);
  std::array<int, 12> values{};
  std::vector<int*> in;
  for (int& value : values) in.push_back(&value);
  EXPECT_EQ(ring.enqueue(in.data(), 12), 8U) << "five rounded up";
  EXPECT_EQ(ring.enqueue(in.data(), 1), 0U);
  EXPECT_EQ(ring.count(), 8U);
  std::vector<int*> out(12);
  for (int round = 0; round < 100; ++round) {
    ASSERT_EQ(ring.dequeue(out.data(), 5), 5U);
    for (std::size_t i = 0; i < 5; ++i) ASSERT_EQ(out[i], in[(static_cast<std::size_t>(round) * 5 + i) % 8]);
    ASSERT_EQ(ring.enqueue(out.data(), 5), 5U);
  }
  EXPECT_EQ(ring.dequeue(out.data(), 12), 8U);
  EXPECT_EQ(ring.dequeue(out.data(), 12), 0U);
}

/// Every number that went in comes out once, and what one producer put in comes out in its order.
TEST(SharedRing, LosesAndDoublesNothingBetweenManyThreads) {
  constexpr std::size_t kProducers = 2;
  constexpr std::size_t kConsumers = 2;
  constexpr std::uint32_t kEach = 40000;
  struct Item {
    std::size_t producer;
    std::uint32_t number;
  };
  std::vector<Item> items(kProducers * kEach);
  SharedRing<Item> ring(256);
  std::atomic<std::uint32_t> left = kProducers * kEach;
  std::array<std::vector<Item*>, kConsumers> received;
  const Deadline deadline(30s);

  std::vector<std::thread> threads;
  for (std::size_t p = 0; p < kProducers; ++p) {
    threads.emplace_back([&, p] {
      std::mt19937 random(static_cast<unsigned>(p));
      std::vector<Item*> burst;
      for (std::uint32_t next = 0; next < kEach && !deadline.passed();) {
        burst.clear();
        for (std::uint32_t i = 0; i < 1 + random() % 48 && next + i < kEach; ++i) {
          Item& item = items[p * kEach + next + i];
          item = {p, next + i};
          burst.push_back(&item);
        }
        const std::size_t added = ring.enqueue(burst.data(), burst.size());
        if (added == 0) std::this_thread::yield();
        next += static_cast<std::uint32_t>(added);
      }
    });
  }
  for (std::size_t c = 0; c < kConsumers; ++c) {
    threads.emplace_back([&, c] {
      std::mt19937 random(static_cast<unsigned>(100 + c));
      std::array<Item*, 48> burst{};
      while (left.load() != 0 && !deadline.passed()) {
        const std::size_t got = ring.dequeue(burst.data(), 1 + random() % 48);
        if (got == 0) std::this_thread::yield();
        received[c].insert(received[c].end(), burst.begin(),
                           burst.begin() + static_cast<std::ptrdiff_t>(got));
        left -= static_cast<std::uint32_t>(got);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  ASSERT_EQ(left.load(), 0U);
  std::vector<unsigned> seen(kProducers * kEach);
  for (const auto& list : received) {
    std::array<std::int64_t, kProducers> last{-1, -1};
    for (const Item* item : list) {
      ++seen[item->producer * kEach + item->number];
      EXPECT_GT(std::int64_t{item->number}, last[item->producer]);
      last[item->producer] = item->number;
    }
  }
  EXPECT_TRUE(std::all_of(seen.begin(), seen.end(), [](unsigned times) { return times == 1; }));
}

/// A depot takes from whichever ring has something, its own first, and knows what it holds.
TEST(Depot, FindsWhatOtherThreadsPut) {
  constexpr std::size_t kThreads = 3;
  Depot<int> depot(30);
  std::array<int, 30> values{};
  for (std::size_t t = 0; t < kThreads; ++t) {
    std::thread([&, t] {
      for (std::size_t i = 0; i < 10; ++i) {
        int* value = &values[t * 10 + i];
        depot.put(&value, 1);
      }
    }).join();
    EXPECT_EQ(depot.count(), (t + 1) * 10);
  }
  std::array<int*, 40> out{};
  std::size_t taken = 0;
  std::thread([&] { taken = depot.take(out.data(), 25); }).join();
  EXPECT_EQ(taken, 25U);
  EXPECT_EQ(depot.count(), 5U);
  taken += depot.take(out.data() + taken, 15);
  EXPECT_EQ(taken, 30U) << "no more than there are";
  EXPECT_EQ(depot.take(out.data() + taken, 1), 0U);
  std::sort(out.begin(), out.begin() + 30);
  for (std::size_t i = 0; i < values.size(); ++i) EXPECT_EQ(out[i], &values[i]);
}

/// What one thread put it gets again before anything of others.
TEST(Depot, AThreadsOwnComesFirst) {
  Depot<int> depot(2);
  std::array<int, 2> values{};
  int* mine = &values[0];
  depot.put(&mine, 1);
  std::thread([&] {
    int* theirs = &values[1];
    depot.put(&theirs, 1);
    EXPECT_EQ(depot.take(&theirs, 1), 1U);
    EXPECT_EQ(theirs, &values[1]);
    depot.put(&theirs, 1);
  }).join();
  EXPECT_EQ(depot.take(&mine, 1), 1U);
  EXPECT_EQ(mine, &values[0]);
}

/// Threads take packets, sign them, hand some to each other, and find their signature again.
TEST(PoolStress, EveryPacketHasOneOwner) {
  constexpr std::size_t kThreads = 4;
  constexpr int kRounds = 4000;
  auto memory = Memory::create({.bytes = 2UL << 20, .hugepages = false});
  ASSERT_TRUE(memory) << memory.error().message();
  auto pool = Pool::create(**memory, {.packets = 2000, .buffer_length = 256});
  ASSERT_TRUE(pool) << pool.error().message();
  SharedRing<Packet> handover(64);
  std::atomic<std::uint64_t> stolen = 0;
  std::atomic<std::uint64_t> taken = 0;

  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      PoolCache cache(**pool);
      std::mt19937 random(static_cast<unsigned>(t));
      std::array<Packet*, 400> burst{};
      for (int round = 0; round < kRounds; ++round) {
        const std::size_t want = 1 + random() % (round % 16 == 0 ? 400 : 40);
        const bool through_cache = random() % 4 != 0;
        const std::span<Packet*> out(burst.data(), want);
        const std::size_t got = through_cache ? cache.get(out) : (*pool)->get(out);
        taken += got;
        for (std::size_t i = 0; i < got; ++i) burst[i]->rss_hash = static_cast<std::uint32_t>(t + 1);
        for (std::size_t i = 0; i < got; ++i) stolen += burst[i]->rss_hash != t + 1 ? 1 : 0;
        const std::size_t handed = handover.enqueue(burst.data(), random() % (got + 1));
        cache.put(std::span<Packet* const>(&burst[handed], got - handed));
        const std::size_t received = handover.dequeue(burst.data(), random() % 32);
        cache.put(std::span<Packet* const>(burst.data(), received));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::array<Packet*, 64> rest{};
  const std::size_t left = handover.dequeue(rest.data(), rest.size());
  (*pool)->put(std::span<Packet* const>(rest.data(), left));

  EXPECT_EQ(stolen.load(), 0U);
  EXPECT_GT(taken.load(), 10000U);
  EXPECT_EQ((*pool)->available(), 2000U);
  std::vector<Packet*> all(2000);
  ASSERT_EQ((*pool)->get(all), 2000U);
  std::sort(all.begin(), all.end());
  EXPECT_EQ(std::unique(all.begin(), all.end()), all.end());
  (*pool)->put(std::span<Packet* const>(all));
}

}  // namespace
}  // namespace spinring::mempool
