// Frames whose descriptors lie in tables of their own (INDIRECT_DESC), on every kind of ring.

#include <array>

#include "tests/unit/pmd/virtio_rig.hpp"

namespace spinring::pmd {
namespace {

using mempool::Packet;
using sim::feature;

constexpr std::uint64_t kPackedTables = feature(VIRTIO_F_RING_PACKED);
constexpr std::uint64_t kOrderedTables = feature(VIRTIO_F_IN_ORDER);
constexpr std::uint16_t kPlaces = 16;
constexpr std::array<std::size_t, 9> kSegments{50, 20, 30, 10, 40, 15, 25, 35, 45};

class Indirect : public ::testing::TestWithParam<std::uint64_t> {
 protected:
  static RigConfig config() {
    RigConfig config;
    config.device = with(GetParam() | feature(VIRTIO_RING_F_INDIRECT_DESC));
    config.ring_size = kPlaces;
    config.packets = 512;
    return config;
  }
  static Bytes frame_of(std::uint32_t seed, std::size_t segments) {
    std::size_t length = 0;
    for (std::size_t i = 0; i < segments; ++i) length += kSegments[i];
    return make_frame(seed, length);
  }
  Packet* packet_of(std::uint32_t seed, std::size_t segments) {
    return rig.chain(frame_of(seed, segments), std::span(kSegments).first(segments));
  }
  [[nodiscard]] bool completes_in_order() const { return (GetParam() & kOrderedTables) != 0; }

  Rig rig{config()};
};
INSTANTIATE_TEST_SUITE_P(Rings, Indirect,
                         ::testing::Values(0, kPackedTables, kOrderedTables, kPackedTables | kOrderedTables),
                         [](const auto& ring) {
                           return std::string((ring.param & kPackedTables) != 0 ? "packed" : "split") +
                                  ((ring.param & kOrderedTables) != 0 ? "InOrder" : "");
                         });

TEST_P(Indirect, AFrameTakesOnePlaceInTheRing) {
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  for (std::uint32_t lap = 0; lap < 20; ++lap) {
    for (std::uint32_t i = 0; i < kPlaces; ++i) ASSERT_TRUE(rig.send(packet_of(i, 2 + i % 7))) << i;
    Packet* const more = packet_of(99, 2);
    ASSERT_FALSE(rig.send(more)) << "the ring is full";
    rig.cache->put_chain(more);
    const Frames sent = rig.sent();
    ASSERT_EQ(sent.size(), kPlaces);
    for (std::uint32_t i = 0; i < kPlaces; ++i) ASSERT_EQ(sent[i], frame_of(i, 2 + i % 7)) << i;
  }
}

TEST_P(Indirect, LongerFramesAreChainsInTheRing) {
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  for (std::uint32_t lap = 0; lap < 50; ++lap) {
    ASSERT_TRUE(rig.send(packet_of(lap, 9)));
    ASSERT_TRUE(rig.send(packet_of(lap, 8)));
    ASSERT_TRUE(rig.send(packet_of(lap, 1)));
    Packet* const long_one = packet_of(lap, 9);
    ASSERT_FALSE(rig.send(long_one)) << "nine and two are taken of sixteen";
    ASSERT_EQ(rig.sent(), (Frames{frame_of(lap, 9), frame_of(lap, 8), frame_of(lap, 1)}));
    ASSERT_TRUE(rig.send(long_one));
    ASSERT_EQ(rig.sent(), Frames{frame_of(lap, 9)});
  }
}

TEST_P(Indirect, EachComesBackWholeWhateverTheOrder) {
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  for (std::uint32_t round = 0; round < 200; ++round) {
    for (std::size_t i = 0; i < 3; ++i) ASSERT_TRUE(rig.send(packet_of(round, 1 + (round + i) % 9)));
    std::vector<sim::SentFrame> frames;
    while (auto frame = rig.device.fetch()) frames.push_back(std::move(*frame));
    ASSERT_EQ(frames.size(), 3U);
    for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(frames[i].bytes, frame_of(round, 1 + (round + i) % 9));
    for (std::size_t i = 0; i < 3; ++i)
      rig.device.complete(frames[completes_in_order() ? i : (round + i) % 3]);
  }
  rig.reclaim();
  EXPECT_EQ(rig.port->tx_stats(0).packets, 600U);
  EXPECT_EQ(rig.port->tx_stats(0).bad_completions, 0U);
  rig.port->stop();
  rig.expect_whole();
}

TEST_P(Indirect, AHeaderOfItsOwnIsAPieceToo) {
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  const Bytes frame = make_frame(4, 200);
  Packet* const packet = rig.packet(frame);
  std::copy(frame.begin(), frame.end(), packet->buffer());
  packet->data_offset = 0;
  ASSERT_TRUE(rig.send(packet));
  EXPECT_EQ(rig.sent(), Frames{frame});
}

TEST_P(Indirect, AStopAndARestartReturnAll) {
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  for (std::uint32_t i = 0; i < 9; ++i) ASSERT_TRUE(rig.send(packet_of(i, 1 + i % 5)));
  ASSERT_EQ(rig.device.collect(0, 4).size(), 4U);
  rig.device.ask_for_reset();
  ASSERT_FALSE(rig.port->check().has_value());
  ASSERT_OK(rig.port->restart());
  const Frames again = rig.sent();
  ASSERT_EQ(again.size(), 5U);
  for (std::uint32_t i = 0; i < 5; ++i) EXPECT_EQ(again[i], frame_of(4 + i, 1 + (4 + i) % 5)) << i;
  for (std::uint32_t i = 0; i < 9; ++i) ASSERT_TRUE(rig.send(packet_of(i, 1 + i % 5)));
  rig.port->stop();
  rig.expect_whole();
}

}  // namespace
}  // namespace spinring::pmd
