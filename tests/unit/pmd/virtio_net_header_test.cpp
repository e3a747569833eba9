// What a packet asks for against the header that is sent; what a header says against what is believed of it.

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <vector>

#include "pmd/virtio/net_header.hpp"

namespace spinring::pmd::virtio {
namespace {

using namespace mempool;

constexpr FeatureSet kAll = FeatureSet(~0ULL);
constexpr HeaderRules kEverything = header_rules(kAll);
constexpr HeaderRules kNothing = header_rules(FeatureSet().with(Feature::kVersion1));

/// The start of a frame with an EtherType behind `tags` VLAN tags; zeros behind it.
std::vector<std::byte> frame_of(std::uint16_t type, unsigned tags = 0, std::size_t length = 2000) {
  std::vector<std::byte> frame(length);
  std::size_t at = 12;
  for (; tags > 0; --tags, at += 4) frame[at] = std::byte{0x81};
  frame[at] = static_cast<std::byte>(type >> 8);
  frame[at + 1] = static_cast<std::byte>(type);
  return frame;
}

TxRequest checksum_request() { return {.offloads = kTxChecksum, .csum_start = 34, .csum_offset = 16}; }
TxRequest segment_request() {
  return {
      .offloads = kTxSegment, .csum_start = 34, .csum_offset = 16, .segment_size = 1000, .header_length = 54};
}

/// Whether the request may be sent, and the header for it.
struct Described {
  bool good = false;
  NetHeader header{};
};
Described describe(const TxRequest& request, const std::vector<std::byte>& frame,
                   const HeaderRules& rules = kEverything) {
  Described result;
  result.good =
      describe_request(request, frame, static_cast<std::uint32_t>(frame.size()), rules, result.header);
  return result;
}

TEST(Rules, FollowTheFeatures) {
  EXPECT_EQ(kNothing, HeaderRules{});
  EXPECT_EQ(kEverything.tx_offloads, kTxChecksum | kTxSegment | kTxSegmentUdp) << "no VLAN, no IP checksum";
  EXPECT_TRUE(kEverything.checksum && kEverything.tcp4 && kEverything.tcp6 && kEverything.udp);
  const HeaderRules one = header_rules(FeatureSet().with(Feature::kChecksum).with(Feature::kHostTso4));
  EXPECT_EQ(one.tx_offloads, kTxChecksum) << "a packet does not say which IP it is: both or none";
  EXPECT_TRUE(header_rules(FeatureSet().with(Feature::kGuestTso6)).tcp6);
  EXPECT_FALSE(header_rules(FeatureSet().with(Feature::kGuestTso6)).tcp4);
  EXPECT_TRUE(header_rules(FeatureSet().with(Feature::kGuestUso6)).udp);
}

TEST(Request, NothingIsAnEmptyHeader) {
  const Described plain = describe({}, frame_of(0x0800), kNothing);
  EXPECT_TRUE(plain.good);
  EXPECT_EQ(plain.header.flags, 0);
  EXPECT_EQ(plain.header.gso_type, net_header::kGsoNone);
}

TEST(Request, AChecksum) {
  const Described sent = describe(checksum_request(), frame_of(0x0800));
  ASSERT_TRUE(sent.good);
  EXPECT_EQ(sent.header.flags, net_header::kNeedsChecksum);
  EXPECT_EQ(sent.header.csum_start, 34);
  EXPECT_EQ(sent.header.csum_offset, 16);
  EXPECT_EQ(sent.header.gso_type, net_header::kGsoNone);
  EXPECT_EQ(sent.header.header_length, 0);
  EXPECT_EQ(sent.header.num_buffers, 0) << "5.1.6.2.1";
}

TEST(Request, AChecksumOutsideTheFrameIsRefused) {
  EXPECT_TRUE(describe(checksum_request(), frame_of(0x0800, 0, 52)).good);
  EXPECT_FALSE(describe(checksum_request(), frame_of(0x0800, 0, 51)).good) << "one byte of the field is out";
  TxRequest early = checksum_request();
  early.csum_start = 13;
  EXPECT_FALSE(describe(early, frame_of(0x0800)).good) << "inside the Ethernet header";
  TxRequest far = checksum_request();
  far.csum_offset = 0xFFFF;
  EXPECT_FALSE(describe(far, frame_of(0x0800)).good);
}

TEST(Request, WhatWasNotNegotiatedIsRefused) {
  EXPECT_FALSE(describe(checksum_request(), frame_of(0x0800), kNothing).good);
  const HeaderRules checksums = header_rules(FeatureSet().with(Feature::kChecksum));
  EXPECT_TRUE(describe(checksum_request(), frame_of(0x0800), checksums).good);
  EXPECT_FALSE(describe(segment_request(), frame_of(0x0800), checksums).good);
  for (const std::uint32_t never : {kTxVlanInsert, kTxIpChecksum}) {
    TxRequest request = checksum_request();
    request.offloads |= never;
    EXPECT_FALSE(describe(request, frame_of(0x0800)).good) << never;
  }
}

TEST(Request, SegmentsByTheKindOfFrame) {
  const struct {
    std::uint16_t type;
    unsigned tags;
    std::uint32_t offload;
    std::uint8_t gso;
  } cases[] = {
      {0x0800, 0, kTxSegment, net_header::kGsoTcp4},   {0x86DD, 0, kTxSegment, net_header::kGsoTcp6},
      {0x0800, 2, kTxSegment, net_header::kGsoTcp4},   {0x86DD, 1, kTxSegment, net_header::kGsoTcp6},
      {0x0800, 0, kTxSegmentUdp, net_header::kGsoUdp}, {0x86DD, 0, kTxSegmentUdp, net_header::kGsoUdp}};
  for (const auto& one : cases) {
    TxRequest request = segment_request();
    request.offloads = one.offload;
    const Described sent = describe(request, frame_of(one.type, one.tags));
    ASSERT_TRUE(sent.good) << one.type;
    EXPECT_EQ(sent.header.gso_type, one.gso);
    EXPECT_EQ(sent.header.gso_size, 1000);
    EXPECT_EQ(sent.header.header_length, 54);
    EXPECT_EQ(sent.header.flags, net_header::kNeedsChecksum) << "5.1.6.2.1: gso_type needs it";
  }
}

TEST(Request, SegmentsThatCannotBeAreRefused) {
  EXPECT_FALSE(describe(segment_request(), frame_of(0x0806)).good) << "ARP";
  EXPECT_FALSE(describe(segment_request(), frame_of(0x0800, 3)).good) << "three tags";
  const auto refused = [](auto change) {
    TxRequest request = segment_request();
    change(request);
    return !describe(request, frame_of(0x0800)).good;
  };
  EXPECT_TRUE(refused([](TxRequest& r) { r.segment_size = 0; }));
  EXPECT_TRUE(refused([](TxRequest& r) { r.header_length = 51; })) << "ends inside the checksum";
  EXPECT_TRUE(refused([](TxRequest& r) { r.header_length = 2000; })) << "no payload";
  EXPECT_TRUE(refused([](TxRequest& r) { r.header_length = 0; }));
  EXPECT_TRUE(refused([](TxRequest& r) { r.offloads |= kTxSegmentUdp; })) << "TCP and UDP";
  NetHeader header{};
  const auto frame = frame_of(0x0800);
  EXPECT_FALSE(describe_request(segment_request(), std::span(frame).first(53), 2000, kEverything, header))
      << "the headers are not in the first segment";
}

TEST(Request, WhatFitsOneSegmentIsNotCut) {
  const Described small = describe(segment_request(), frame_of(0x0800, 0, 1054));
  ASSERT_TRUE(small.good);
  EXPECT_EQ(small.header.gso_type, net_header::kGsoNone);
  EXPECT_EQ(small.header.flags, net_header::kNeedsChecksum);
  EXPECT_EQ(describe(segment_request(), frame_of(0x0800, 0, 1055)).header.gso_type, net_header::kGsoTcp4);
}

TEST(PseudoHeader, GetsItsLengthForSegmentsAlone) {
  const auto sum_after = [](const TxRequest& request, std::uint16_t before, std::uint32_t length) {
    auto frame = frame_of(0x0800, 0, 100);
    frame[50] = static_cast<std::byte>(before >> 8);
    frame[51] = static_cast<std::byte>(before);
    complete_pseudo_header(request, frame.data(), length);
    return detail::read_big16(frame.data() + 50);
  };
  EXPECT_EQ(sum_after(segment_request(), 0x1234, 1034), 0x1234 + 1000);
  EXPECT_EQ(sum_after(checksum_request(), 0x1234, 1034), 0x1234) << "the caller's own is whole";
  EXPECT_EQ(sum_after(segment_request(), 0xFFFF, 36), 0x0002) << "the carry comes back in";
  EXPECT_EQ(sum_after(segment_request(), 0x0000, 34 + 0x12345), 0x2346) << "over 64 KiB";
}

// --- received ---

struct Read {
  bool good = false;
  RxNotes notes;
};
Read read(const NetHeader& header, std::uint32_t length, const HeaderRules& rules = kEverything) {
  Read result;
  result.good = read_notes(header, length, rules, result.notes);
  return result;
}
NetHeader header_with(std::uint8_t flags, std::uint8_t type = 0) {
  NetHeader header{};
  header.flags = flags;
  header.gso_type = type;
  header.csum_start = 34;
  header.csum_offset = 16;
  header.gso_size = 1448;
  header.header_length = 54;
  return header;
}

TEST(Notes, NothingSaidIsNothingKnown) {
  const Read plain = read(NetHeader{}, 60);
  EXPECT_TRUE(plain.good);
  EXPECT_EQ(plain.notes.offloads, 0U);
}

TEST(Notes, AChecksumThatWasVerified) {
  EXPECT_EQ(read(header_with(net_header::kDataValid), 60).notes.offloads, kRxChecksumGood);
}

TEST(Notes, AChecksumThatIsStillToBeFilledIn) {
  const Read partial = read(header_with(net_header::kNeedsChecksum | net_header::kDataValid), 60);
  ASSERT_TRUE(partial.good);
  EXPECT_EQ(partial.notes.offloads, kRxChecksumPartial) << "it is not in the frame, whatever else is said";
  EXPECT_EQ(partial.notes.csum_start, 34);
  EXPECT_EQ(partial.notes.csum_offset, 16);
}

TEST(Notes, AChecksumOutsideTheFrameIsRefused) {
  const NetHeader good = header_with(net_header::kNeedsChecksum);
  EXPECT_TRUE(read(good, 52).good);
  EXPECT_FALSE(read(good, 51).good);
  NetHeader far = good;
  far.csum_start = 0xFFFF;
  far.csum_offset = 0xFFFF;
  EXPECT_FALSE(read(far, 65550).good) << "the sum does not wrap";
  NetHeader early = good;
  early.csum_start = 0;
  EXPECT_FALSE(read(early, 1500).good);
}

TEST(Notes, FlagsMeanNothingWithoutTheFeatureAndUnknownOnesNever) {
  EXPECT_EQ(read(header_with(0xFF), 20, kNothing).notes.offloads, 0U);
  EXPECT_TRUE(read(header_with(0xFF), 20, kNothing).good);
  EXPECT_EQ(read(header_with(0xF8), 60).notes.offloads, 0U) << "5.1.6.4.2: flags it does not know";
}

TEST(Notes, CoalescedFrames) {
  for (const std::uint8_t type : {net_header::kGsoTcp4, net_header::kGsoTcp6, net_header::kGsoUdp}) {
    const Read read_one = read(header_with(net_header::kNeedsChecksum, type), 9000);
    ASSERT_TRUE(read_one.good) << int{type};
    EXPECT_EQ(read_one.notes.offloads, kRxCoalesced | kRxChecksumPartial);
    EXPECT_EQ(read_one.notes.segment_size, 1448);
    EXPECT_EQ(read_one.notes.header_length, 54);
    EXPECT_FALSE(read(header_with(0, type), 9000, kNothing).good) << "not negotiated";
  }
  EXPECT_FALSE(
      read(header_with(0, net_header::kGsoTcp6), 9000, header_rules(FeatureSet().with(Feature::kGuestTso4)))
          .good);
}

TEST(Notes, TypesThatNobodyKnowsAreRefused) {
  for (unsigned type = 1; type < 256; ++type) {
    const bool known =
        type == net_header::kGsoTcp4 || type == net_header::kGsoTcp6 || type == net_header::kGsoUdp;
    EXPECT_EQ(read(header_with(0, static_cast<std::uint8_t>(type)), 9000).good, known) << type;
  }
}

TEST(Notes, CoalescedFramesWithoutASegmentSizeAreRefused) {
  NetHeader header = header_with(0, net_header::kGsoTcp4);
  header.gso_size = 0;
  EXPECT_FALSE(read(header, 9000).good);
}

TEST(Notes, AHeaderLengthThatCannotBeIsNotKnown) {
  NetHeader header = header_with(net_header::kNeedsChecksum, net_header::kGsoTcp4);
  for (const int value : {0, 13, 51, 9001, 0xFFFF}) {
    const auto wrong = static_cast<std::uint16_t>(value);
    header.header_length = wrong;
    const Read hint = read(header, 9000);
    EXPECT_TRUE(hint.good) << "it is a hint";
    EXPECT_EQ(hint.notes.header_length, 0) << wrong;
  }
}

TEST(Notes, TheHash) {
  HashHeader header{};
  header.hash_value = 0xDEADBEEFU;
  for (unsigned report = 0; report < 20; ++report) {
    header.hash_report = static_cast<std::uint16_t>(report);
    RxNotes notes;
    read_hash(header, notes);
    const bool known = report >= 1 && report <= 9;
    EXPECT_EQ(notes.offloads, known ? kRxHashValid : 0U) << report;
    EXPECT_EQ(notes.rss_hash, known ? 0xDEADBEEFU : 0U);
  }
}

}  // namespace
}  // namespace spinring::pmd::virtio
