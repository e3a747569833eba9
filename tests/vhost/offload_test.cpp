// What is left to the other side over vhost-user: DPDK's vhost is told of it, and tells of it.

#include <array>

#include "tests/device/ip_frames.hpp"
#include "tests/vhost/vhost_rig.hpp"

namespace spinring::vhost_test {
namespace {

using pmd::Offload;
using test::IpFrame;
using test::kTcp;
using test::kUdp;
using test::L4Sum;

constexpr std::uint16_t kSegment = 1000;
constexpr std::uint16_t kEthernet = 14;

class Offloads : public ::testing::TestWithParam<unsigned> {
 protected:
  [[nodiscard]] static VhostConfig config() {
    return {
        .packed = (GetParam() & 1U) != 0,
        .in_order = (GetParam() & 2U) != 0,
        .offloads = Offload::kTxChecksum | Offload::kTxSegment | Offload::kRxChecksum | Offload::kRxCoalesce};
  }
};

INSTANTIATE_TEST_SUITE_P(Rings, Offloads, ::testing::Range(0U, 4U));

/// The packet of a frame that asks for its checksum, or for segments; a long one in several buffers.
mempool::Packet* asking(VhostRig& rig, const IpFrame& frame, std::uint32_t offload) {
  constexpr std::size_t kPiece = 2000;
  const Frame bytes = frame.bytes();
  const auto piece = [&](std::size_t at) {
    const auto part = std::span(bytes).subspan(at, std::min(kPiece, bytes.size() - at));
    return rig.packet(Frame(part.begin(), part.end()));
  };
  mempool::Packet* const head = piece(0);
  mempool::Packet* tail = head;
  for (std::size_t at = kPiece; at < bytes.size(); at += kPiece) {
    tail->next = piece(at);
    tail = tail->next;
    ++head->segments;
  }
  head->packet_length = static_cast<std::uint32_t>(bytes.size());
  head->offloads = offload;
  head->csum_start = frame.l4();
  head->csum_offset = frame.sum_offset();
  if (offload != mempool::kTxChecksum) {
    head->segment_size = kSegment;
    head->header_length = frame.header_length();
  }
  return head;
}

TEST_P(Offloads, ChecksumsThatTheSwitchIsToFillIn) {
  VhostRig rig(config());
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  for (const bool ipv6 : {false, true}) {
    for (const std::uint8_t protocol : {kTcp, kUdp}) {
      const IpFrame frame{.ipv6 = ipv6, .protocol = protocol, .sum = L4Sum::kPseudoHeader};
      std::array packets{asking(rig, frame, mempool::kTxChecksum), rig.packet(frame.bytes())};
      ASSERT_NO_FATAL_FAILURE(rig.send(packets));
      const auto sent = rig.collect(2);
      ASSERT_EQ(sent.size(), 2U);
      EXPECT_EQ(sent[0].bytes, frame.bytes());
      EXPECT_TRUE(sent[0].checksum) << ipv6 << ' ' << int{protocol};
      EXPECT_EQ(sent[0].segment_size, 0);
      EXPECT_EQ(sent[1].bytes, frame.bytes());
      EXPECT_FALSE(sent[1].checksum) << "it asked for nothing";
    }
  }
}

TEST_P(Offloads, FramesThatTheSwitchIsToCut) {
  VhostRig rig(config());
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  for (const bool ipv6 : {false, true}) {
    for (const std::size_t payload : {1001U, 4000U, 15000U}) {
      IpFrame frame{.ipv6 = ipv6, .payload = payload, .sum = L4Sum::kPseudoHeaderWithoutLength};
      std::array packets{asking(rig, frame, mempool::kTxSegment)};
      ASSERT_NO_FATAL_FAILURE(rig.send(packets));
      const auto sent = rig.collect(1);
      ASSERT_EQ(sent.size(), 1U);
      frame.sum = L4Sum::kPseudoHeader;  // 5.1.6.2: with the length of the whole
      EXPECT_EQ(sent[0].bytes, frame.bytes()) << ipv6 << ' ' << payload;
      EXPECT_EQ(sent[0].segment_size, kSegment);
    }
  }
}

TEST_P(Offloads, WhatTheSwitchSaysOfFrames) {
  VhostRig rig(config());
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  for (const bool ipv6 : {false, true}) {
    for (const std::uint16_t segment : std::array<std::uint16_t, 2>{0, kSegment}) {
      // QUIRK(DPDK 22.11): librte_vhost leaves the length out of the pseudo header's sum of frames to be cut.
      const IpFrame frame{.ipv6 = ipv6,
                          .payload = segment == 0 ? 500U : 8000U,
                          .sum = segment == 0 ? L4Sum::kPseudoHeader : L4Sum::kPseudoHeaderWithoutLength};
      const SwitchPacket given{frame.bytes(), true, segment, kEthernet, frame.l4()};
      ASSERT_EQ(rig.far->deliver(std::span(&given, 1)), 1U);
      auto packets = rig.receive(4);
      ASSERT_EQ(packets.size(), 1U);
      EXPECT_EQ(bytes_of(packets[0]), frame.bytes());
      EXPECT_EQ(packets[0]->offloads,
                mempool::kRxChecksumPartial | (segment == 0 ? 0U : mempool::kRxCoalesced));
      EXPECT_EQ(packets[0]->csum_start, frame.l4());
      EXPECT_EQ(packets[0]->csum_offset, frame.sum_offset());
      if (segment != 0) {
        EXPECT_EQ(packets[0]->segment_size, kSegment);
      }
      rig.cache->put_chain(packets[0]);
    }
  }
}

TEST_P(Offloads, RequestsThatAreSentAgainAreTheSame) {
  VhostRig rig(config());
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  IpFrame frame{.payload = 5000, .sum = L4Sum::kPseudoHeaderWithoutLength};
  std::array packets{asking(rig, frame, mempool::kTxSegment)};
  ASSERT_NO_FATAL_FAILURE(rig.send(packets));
  for (int round = 0; round < 3; ++round) {
    rig.plug();
    ASSERT_NO_FATAL_FAILURE(rig.restart());
  }
  const auto sent = rig.collect(1);
  ASSERT_EQ(sent.size(), 1U);
  frame.sum = L4Sum::kPseudoHeader;
  EXPECT_EQ(sent[0].bytes, frame.bytes());
  EXPECT_EQ(sent[0].segment_size, kSegment);
}

}  // namespace
}  // namespace spinring::vhost_test
