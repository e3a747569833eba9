#include <gtest/gtest.h>

#include <array>
#include <cstring>

#include "apps/testpmd/engines/io.hpp"
#include "apps/testpmd/engines/mac.hpp"
#include "apps/testpmd/engines/macswap.hpp"
#include "apps/testpmd/engines/noisy.hpp"
#include "apps/testpmd/engines/rxonly.hpp"
#include "apps/testpmd/engines/txonly.hpp"
#include "tests/unit/apps/loopback_port.hpp"

namespace spinring::testpmd {
namespace {

/// One stream through one uncabled port: frames are put into its RX queue, copies of what it sends are read
/// back.
class EngineTest : public testing::Test {
 protected:
  static constexpr std::uint32_t kPackets = 256;

  EngineTest() {
    pool_ = mempool::Pool::create(*memory_, {.packets = kPackets}).value();
    cache_ = std::make_unique<mempool::PoolCache>(*pool_);
    const pmd::QueueConfig<pmd::SpinringPackets> queue{128, cache_.get()};
    EXPECT_TRUE(port_.start({{queue}, {queue}}));
    stream_.rx = port_.rx(0);
    stream_.tx = port_.tx(0);
    stream_.source = {0x52, 0x54, 0, 0, 0, 0xaa};
    stream_.peer = {2, 0, 0, 0, 0, 7};
    stream_.tx_length = 64;
  }
  ~EngineTest() override {
    port_.stop();
    cache_->flush();
    EXPECT_EQ(pool_->available(), kPackets) << "the pool is whole";
  }

  /// A frame whose bytes are 0, 1, 2, ...
  static std::vector<std::byte> counting_frame(std::size_t length = 64) {
    std::vector<std::byte> frame(length);
    for (std::size_t i = 0; i < length; ++i) frame[i] = static_cast<std::byte>(i);
    return frame;
  }

  template <Engine E>
  std::uint16_t poll() {
    E engine(stream_);
    return poll_stream(stream_, engine, *cache_, Packets(room_));
  }

  std::unique_ptr<mempool::Memory> memory_ =
      mempool::Memory::create({.bytes = 2UL << 20, .hugepages = false}).value();
  std::unique_ptr<mempool::Pool> pool_;
  std::unique_ptr<mempool::PoolCache> cache_;
  LoopbackPort port_{"loop"};
  Stream stream_;
  std::array<mempool::Packet*, 32> room_{};
};

TEST_F(EngineTest, IoSendsWhatCameUntouched) {
  for (int i = 0; i < 40; ++i) port_.receive(0, counting_frame());
  EXPECT_EQ(poll<IoEngine>(), 32);
  EXPECT_EQ(poll<IoEngine>(), 8);
  EXPECT_EQ(poll<IoEngine>(), 0);
  EXPECT_EQ(port_.sent_frames(0), std::vector<std::vector<std::byte>>(40, counting_frame()));
  EXPECT_EQ(stream_.counters.received.value(), 40U);
  EXPECT_EQ(stream_.counters.sent.value(), 40U);
  EXPECT_EQ(stream_.counters.tx_dropped.value(), 0U);
}

TEST_F(EngineTest, MacSwapSwapsTheAddressesAndNothingElse) {
  for (int i = 0; i < 20; ++i) port_.receive(0, counting_frame());
  EXPECT_EQ(poll<MacSwapEngine>(), 20);
  auto expected = counting_frame();
  for (std::size_t i = 0; i < 6; ++i) std::swap(expected[i], expected[6 + i]);
  const auto sent = port_.sent_frames(0);
  ASSERT_EQ(sent.size(), 20U);
  for (const auto& frame : sent) EXPECT_EQ(frame, expected);
}

TEST_F(EngineTest, MacWritesPeerAndPortAddress) {
  port_.receive(0, counting_frame());
  EXPECT_EQ(poll<MacEngine>(), 1);
  const auto frame = port_.sent_frames(0).at(0);
  EXPECT_EQ(std::memcmp(frame.data(), stream_.peer.data(), 6), 0);
  EXPECT_EQ(std::memcmp(frame.data() + 6, stream_.source.data(), 6), 0);
  EXPECT_TRUE(std::equal(frame.begin() + 12, frame.end(), counting_frame().begin() + 12));
}

TEST_F(EngineTest, FramesTooShortForAddressesAreSentAsTheyAre) {
  port_.receive(0, counting_frame(11));
  EXPECT_EQ(poll<MacSwapEngine>(), 1);
  port_.receive(0, counting_frame(11));
  EXPECT_EQ(poll<MacEngine>(), 1);
  EXPECT_EQ(port_.sent_frames(0), std::vector<std::vector<std::byte>>(2, counting_frame(11)));
}

TEST_F(EngineTest, RxOnlyFreesFramesAndChains) {
  for (int i = 0; i < 5; ++i) port_.receive(0, counting_frame());
  for (int i = 0; i < 5; ++i) port_.receive(0, counting_frame(), 3);
  EXPECT_EQ(poll<RxOnlyEngine>(), 10);
  EXPECT_EQ(stream_.counters.received.value(), 10U);
  EXPECT_EQ(stream_.counters.consumed.value(), 10U);
  EXPECT_TRUE(port_.sent_frames(0).empty());
  cache_->flush();
  EXPECT_EQ(pool_->available(), kPackets) << "all segments of the chains are back";
}

TEST_F(EngineTest, NoisyKeepsSomeForAWhileAndDropsSome) {
  const auto frame_of = [](unsigned number) { return std::vector<std::byte>(64, std::byte(number)); };
  stream_.noise = {.keep = 2, .keep_every = 3, .drop_every = 5};
  for (unsigned i = 1; i <= 16; ++i) port_.receive(0, frame_of(i));
  NoisyEngine engine(stream_);
  EXPECT_EQ(poll_stream(stream_, engine, *cache_, Packets(room_)), 16);
  // 5, 10 and 15 are dropped; of the others each third is kept: 3 and 7, until 11 and 14 take their places.
  std::vector<std::vector<std::byte>> expected;
  for (const unsigned number : {1U, 2U, 4U, 6U, 8U, 9U, 3U, 12U, 13U, 7U, 16U})
    expected.push_back(frame_of(number));
  EXPECT_EQ(port_.sent_frames(0), expected);
  EXPECT_EQ(stream_.counters.sent.value(), 11U);
  EXPECT_EQ(stream_.counters.consumed.value(), 3U);
  auto kept = engine.release();
  ASSERT_EQ(kept.size(), 2U);
  EXPECT_EQ(*kept[0]->data(), std::byte{11}) << "the oldest first";
  EXPECT_EQ(*kept[1]->data(), std::byte{14});
  EXPECT_TRUE(engine.release().empty());
  cache_->put(kept);
}

TEST_F(EngineTest, WhatTheTxQueueDoesNotTakeIsCountedAndFreed) {
  port_.tx_room = 10;
  for (int i = 0; i < 15; ++i) port_.receive(0, counting_frame());
  for (int i = 0; i < 15; ++i) port_.receive(0, counting_frame(), 2);
  EXPECT_EQ(poll<IoEngine>(), 30);
  EXPECT_EQ(stream_.counters.received.value(), 30U);
  EXPECT_EQ(stream_.counters.sent.value(), 10U);
  EXPECT_EQ(stream_.counters.tx_dropped.value(), 20U);
  EXPECT_EQ(port_.tx_stats(0).ring_full, 20U);
}

TEST_F(EngineTest, TheRestOfABurstIsOfferedAgainAsOftenAsWasAskedFor) {
  port_.tx_room = 10;
  port_.tx_drains = 7;
  stream_.tx_retries = 2;
  for (int i = 0; i < 20; ++i) port_.receive(0, counting_frame());
  EXPECT_EQ(poll<IoEngine>(), 20);
  EXPECT_EQ(stream_.counters.sent.value(), 20U);
  EXPECT_EQ(stream_.counters.tx_dropped.value(), 0U);
  port_.tx_room = 1;
  for (int i = 0; i < 20; ++i) port_.receive(0, counting_frame());
  EXPECT_EQ(poll<IoEngine>(), 20);
  EXPECT_EQ(stream_.counters.sent.value(), 20U + 1 + 7 + 7);
  EXPECT_EQ(stream_.counters.tx_dropped.value(), 5U);
}

TEST_F(EngineTest, TxOnlyMakesFramesThatParse) {
  stream_.tx_length = 200;
  EXPECT_EQ(poll<TxOnlyEngine>(), 32);
  const auto sent = port_.sent_frames(0);
  ASSERT_EQ(sent.size(), 32U);
  for (const auto& frame : sent) {
    ASSERT_EQ(frame.size(), 200U);
    const auto u16 = [&](std::size_t at) {
      return (std::to_integer<unsigned>(frame[at]) << 8) | std::to_integer<unsigned>(frame[at + 1]);
    };
    EXPECT_EQ(std::memcmp(frame.data(), stream_.peer.data(), 6), 0);
    EXPECT_EQ(std::memcmp(frame.data() + 6, stream_.source.data(), 6), 0);
    EXPECT_EQ(u16(12), 0x0800U);           // IPv4
    EXPECT_EQ(u16(14), 0x4500U);           // version 4, 20 bytes of header
    EXPECT_EQ(u16(16), 186U);              // all but Ethernet's 14
    EXPECT_EQ(u16(22), (64U << 8) | 17U);  // TTL, UDP
    EXPECT_EQ(internet_checksum(frame.data() + 14, 20), 0) << "the header's checksum makes the sum zero";
    EXPECT_NE(u16(24), 0U);
    EXPECT_EQ(u16(26), (198U << 8) | 18U);
    EXPECT_EQ(u16(34), 9U);    // discard
    EXPECT_EQ(u16(38), 166U);  // UDP header and payload
    EXPECT_EQ(u16(40), 0U);    // no checksum
    for (std::size_t i = 42; i < frame.size(); ++i)
      ASSERT_EQ(frame[i], std::byte{0}) << "an old packet's byte " << i;
  }
  EXPECT_EQ(stream_.counters.generated.value(), 32U);
}

TEST_F(EngineTest, TxOnlyOnAFullRingDoesNoWorkAndLosesNoPacket) {
  port_.tx_room = 5;
  EXPECT_EQ(poll<TxOnlyEngine>(), 5);
  EXPECT_EQ(poll<TxOnlyEngine>(), 0);
  EXPECT_EQ(stream_.counters.generated.value(), 64U);
  EXPECT_EQ(stream_.counters.sent.value(), 5U);
  EXPECT_EQ(stream_.counters.tx_dropped.value(), 59U);
}

TEST_F(EngineTest, TxOnlyWithAnEmptyPoolSendsNothing) {
  std::vector<mempool::Packet*> all(kPackets);
  ASSERT_EQ(cache_->get(all), kPackets);
  EXPECT_EQ(poll<TxOnlyEngine>(), 0);
  EXPECT_EQ(stream_.counters.generated.value(), 0U);
  cache_->put(all);
}

TEST(InternetChecksum, IsThatOfRfc1071) {
  // The example of RFC 1071, section 3: the sum is ddf2.
  constexpr std::array<std::byte, 8> kBytes{std::byte{0x00}, std::byte{0x01}, std::byte{0xf2},
                                            std::byte{0x03}, std::byte{0xf4}, std::byte{0xf5},
                                            std::byte{0xf6}, std::byte{0xf7}};
  EXPECT_EQ(internet_checksum(kBytes.data(), kBytes.size()), 0x220d);
}

}  // namespace
}  // namespace spinring::testpmd
