// Built with SPINRING_POOL_DEBUG, and so is the copy of the pool that it is linked with.
#include "mempool/pool_debug.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "base/log.hpp"
#include "mempool/pool.hpp"

namespace spinring::mempool {
namespace {

static_assert(kPoolDebug);

struct Violation {
  PoolViolation kind;
  std::uint32_t packet;
  std::string text;
};
std::vector<Violation> violations;
std::vector<std::string> warnings;

class PoolDebug : public testing::Test {
 protected:
  void SetUp() override {
    violations.clear();
    warnings.clear();
    set_log_sink([](LogLevel level, std::string_view text) {
      if (level == LogLevel::kWarning) warnings.emplace_back(text);
    });
    set_pool_violation_handler(
        [](PoolViolation kind, const Pool&, std::uint32_t packet, std::string_view text) {
          violations.push_back({kind, packet, std::string(text)});
        });
    auto memory = Memory::create({.bytes = 2UL << 20, .hugepages = false});
    ASSERT_TRUE(memory) << memory.error().message();
    memory_ = std::move(*memory);
    pool_ = make("x");
    ASSERT_NE(pool_, nullptr);
  }
  void TearDown() override {
    pool_.reset();
    set_log_sink([](LogLevel, std::string_view) {});
    set_pool_violation_handler(nullptr);
  }
  std::unique_ptr<Pool> make(const std::string& name) {
    auto pool = Pool::create(*memory_, {.name = name, .packets = 64, .buffer_length = 256});
    return pool ? std::move(*pool) : nullptr;
  }
  /// Takes packets until it has the one with that index; the others go back.
  Packet* take(std::uint32_t index) {
    std::array<Packet*, 64> all{};
    EXPECT_EQ(pool_->get(all), 64U);
    Packet* wanted = pool_->packet(index);
    for (Packet* packet : all) {
      if (packet != wanted) pool_->put(std::span<Packet* const>(&packet, 1));
    }
    return wanted;
  }
  void take_and_put_all() {
    std::array<Packet*, 64> all{};
    ASSERT_EQ(pool_->get(all), 64U);
    pool_->put(std::span<Packet* const>(all));
  }
  static void expect_one(PoolViolation kind, std::uint32_t packet, const std::string& text) {
    ASSERT_EQ(violations.size(), 1U);
    EXPECT_EQ(violations[0].kind, kind);
    EXPECT_EQ(violations[0].packet, packet);
    EXPECT_EQ(violations[0].text, text);
    ASSERT_EQ(warnings.size(), 1U);
    EXPECT_EQ(warnings[0], text);
  }

  std::unique_ptr<Memory> memory_;
  std::unique_ptr<Pool> pool_;
};

TEST_F(PoolDebug, ProperUseIsSilent) {
  {
    PoolCache cache(*pool_);
    std::array<Packet*, 48> burst{};
    for (int round = 0; round < 10; ++round) {
      ASSERT_EQ(cache.get(burst), 48U);
      for (Packet* packet : burst) {
        packet->reset(100);
        packet->bytes()[99] = std::byte{1};
      }
      cache.put(std::span<Packet* const>(burst));
    }
    Packet* single = cache.get();
    ASSERT_NE(single, nullptr);
    cache.put_chain(single);
  }
  EXPECT_EQ(pool_->available(), 64U);
  EXPECT_TRUE(violations.empty());
}

TEST_F(PoolDebug, DoubleFreeNamesThePacketAndIsIgnored) {
  Packet* packet = take(17);
  const std::span<Packet* const> burst(&packet, 1);
  pool_->put(burst);
  pool_->put(burst);
  expect_one(PoolViolation::kDoubleFree, 17, "pool 'x' packet 17: put twice");
  EXPECT_EQ(pool_->available(), 64U);
}

TEST_F(PoolDebug, DoubleFreeWithinOneBurstAndThroughACache) {
  PoolCache cache(*pool_);
  Packet* packet = take(5);
  const std::array<Packet*, 2> twice{packet, packet};
  cache.put(std::span<Packet* const>(twice));
  expect_one(PoolViolation::kDoubleFree, 5, "pool 'x' packet 5: put twice");
  cache.flush();
  EXPECT_EQ(pool_->available(), 64U);
}

TEST_F(PoolDebug, OfTwoThreadsThatPutTheSamePacketOneIsFound) {
  static std::atomic<int> found;
  found = 0;
  set_pool_violation_handler([](PoolViolation kind, const Pool&, std::uint32_t, std::string_view) {
    found += kind == PoolViolation::kDoubleFree ? 1 : 0;
  });
  set_log_sink([](LogLevel, std::string_view) {});
  for (int round = 0; round < 50; ++round) {
    Packet* packet = take(9);
    const auto put = [&] { pool_->put(std::span<Packet* const>(&packet, 1)); };
    std::thread other(put);
    put();
    other.join();
  }
  EXPECT_EQ(found.load(), 50);
  EXPECT_EQ(pool_->available(), 64U);
}

TEST_F(PoolDebug, WritingToTheBufferAfterPutIsFoundByTheNextGet) {
  Packet* packet = take(33);
  std::byte* const data = packet->buffer();
  pool_->put(std::span<Packet* const>(&packet, 1));
  data[200] = std::byte{7};
  EXPECT_TRUE(violations.empty());
  take_and_put_all();
  expect_one(PoolViolation::kUseAfterFree, 33,
             "pool 'x' packet 33: byte 200 of its buffer was written to after it was put");
  violations.clear();
  take_and_put_all();
  EXPECT_TRUE(violations.empty()) << "reported once";
}

TEST_F(PoolDebug, WritingToTheMetadataAfterPutIsFoundByTheNextGet) {
  Packet* packet = take(0);
  pool_->put(std::span<Packet* const>(&packet, 1));
  packet->data_length = 60;
  PoolCache cache(*pool_);
  std::array<Packet*, 64> all{};
  ASSERT_EQ(cache.get(all), 64U);
  expect_one(PoolViolation::kUseAfterFree, 0,
             "pool 'x' packet 0: its metadata was written to after it was put");
  cache.put(std::span<Packet* const>(all));
}

TEST_F(PoolDebug, AnOverwrittenPoolPointerIsFoundAndMended) {
  Packet* packet = take(63);
  pool_->put(std::span<Packet* const>(&packet, 1));
  packet->pool = nullptr;
  take_and_put_all();
  expect_one(PoolViolation::kUseAfterFree, 63,
             "pool 'x' packet 63: its pool or buffer_length was overwritten");
  EXPECT_EQ(packet->pool, pool_.get());
}

TEST_F(PoolDebug, LeaksAreNamedWhenThePoolGoes) {
  Packet* first = take(2);
  Packet* second = nullptr;
  {
    PoolCache cache(*pool_);
    second = cache.get();
  }
  const std::uint32_t index = pool_->index_of(second);
  std::ignore = first;
  pool_.reset();
  ASSERT_EQ(violations.size(), 2U);
  EXPECT_EQ(violations[0].kind, PoolViolation::kLeak);
  std::vector<std::uint32_t> leaked{violations[0].packet, violations[1].packet};
  EXPECT_TRUE((leaked == std::vector<std::uint32_t>{2, index}) ||
              (leaked == std::vector<std::uint32_t>{index, 2}));
  EXPECT_EQ(violations[0].text,
            "pool 'x' packet " + std::to_string(leaked[0]) + ": not put back before its pool goes");
  EXPECT_EQ(warnings.size(), 3U) << "and the sum of them first";
}

TEST_F(PoolDebug, ForeignPacketsAreFoundByThePoolAndSentHomeByTheCache) {
  auto other = make("y");
  ASSERT_NE(other, nullptr);
  Packet* packet = take(4);
  other->put(std::span<Packet* const>(&packet, 1));
  ASSERT_EQ(violations.size(), 1U);
  EXPECT_EQ(violations[0].kind, PoolViolation::kForeign);
  EXPECT_EQ(other->available(), 64U);

  PoolCache cache(*other);
  cache.put(std::span<Packet* const>(&packet, 1));
  EXPECT_EQ(violations.size(), 1U);
  EXPECT_EQ(pool_->available(), 64U);
}

TEST_F(PoolDebug, WhatIsNoPacketIsRefused) {
  PoolCache cache(*pool_);
  Packet* middle = reinterpret_cast<Packet*>(reinterpret_cast<std::byte*>(pool_->packet(3)) + kCacheLine);
  const std::array<Packet*, 2> burst{nullptr, middle};
  cache.put(std::span<Packet* const>(burst));
  ASSERT_EQ(violations.size(), 2U);
  EXPECT_EQ(violations[0].kind, PoolViolation::kForeign);
  EXPECT_EQ(violations[1].kind, PoolViolation::kForeign);
  EXPECT_EQ(cache.count(), 0U);
}

using PoolDebugDeathTest = PoolDebug;

TEST_F(PoolDebugDeathTest, AbortsByDefaultAndSaysWhy) {
  Packet* packet = take(17);
  pool_->put(std::span<Packet* const>(&packet, 1));
  EXPECT_DEATH(
      {
        set_pool_violation_handler(nullptr);
        pool_->put(std::span<Packet* const>(&packet, 1));
      },
      "pool 'x' packet 17: put twice");
}

}  // namespace
}  // namespace spinring::mempool
