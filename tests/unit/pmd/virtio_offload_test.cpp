// Offloads: what is offered and asked for, what a sent packet asks of the device, what a received one
// carries.

#include <algorithm>
#include <array>
#include <utility>

#include "tests/unit/pmd/virtio_rig.hpp"

namespace spinring::pmd {
namespace {

using namespace mempool;
using sim::feature;

constexpr std::uint64_t kGuest = feature(VIRTIO_NET_F_GUEST_CSUM) | feature(VIRTIO_NET_F_GUEST_TSO4) |
                                 feature(VIRTIO_NET_F_GUEST_TSO6) | feature(VIRTIO_NET_F_GUEST_USO4) |
                                 feature(VIRTIO_NET_F_GUEST_USO6);
constexpr std::uint64_t kHost = feature(VIRTIO_NET_F_CSUM) | feature(VIRTIO_NET_F_HOST_TSO4) |
                                feature(VIRTIO_NET_F_HOST_TSO6) | feature(VIRTIO_NET_F_HOST_USO);
constexpr Offloads kReceived = Offload::kRxChecksum | Offload::kRxCoalesce | Offload::kRxCoalesceUdp;
constexpr Offloads kSent = Offload::kTxChecksum | Offload::kTxSegment | Offload::kTxSegmentUdp;

constexpr std::array<std::uint64_t, 4> kRingKinds{0, feature(VIRTIO_F_RING_PACKED),
                                                  feature(VIRTIO_F_IN_ORDER),
                                                  feature(VIRTIO_F_RING_PACKED) | feature(VIRTIO_F_IN_ORDER)};

RigConfig offloading(Offloads offloads, std::uint64_t more = 0) {
  RigConfig config;
  config.device = with(kGuest | kHost | feature(VIRTIO_NET_F_HASH_REPORT) | more);
  config.ring_size = 64;
  config.offloads = offloads;
  return config;
}

/// A frame of that EtherType.
Bytes ip_frame(std::uint16_t type, std::size_t length) {
  Bytes frame = make_frame(type, length);
  frame[12] = static_cast<std::byte>(type >> 8);
  frame[13] = static_cast<std::byte>(type);
  return frame;
}
/// A packet that asks for its checksum.
Packet* asks_checksum(Packet* packet) {
  packet->offloads = kTxChecksum;
  packet->csum_start = 34;
  packet->csum_offset = 16;
  return packet;
}
/// A packet that asks for segments of 1000 bytes.
Packet* asks_segments(Packet* packet, std::uint32_t offload = kTxSegment) {
  asks_checksum(packet)->offloads = offload;
  packet->segment_size = 1000;
  packet->header_length = 54;
  return packet;
}

// --- what is offered, and what is asked for ---

TEST(Offload, WhatIsOfferedFollowsTheFeaturesAndTheirDependencies) {
  const std::uint64_t merged = feature(VIRTIO_NET_F_MRG_RXBUF);
  const std::uint64_t control = feature(VIRTIO_NET_F_CTRL_VQ);
  const struct {
    std::uint64_t features;
    Offloads offloads;
  } cases[] = {
      {0, {}},
      {kHost, kSent},
      {kHost & ~feature(VIRTIO_NET_F_CSUM), {}},
      {feature(VIRTIO_NET_F_CSUM) | feature(VIRTIO_NET_F_HOST_TSO4), Offload::kTxChecksum},
      {kGuest, Offload::kRxChecksum},
      {kGuest | merged, kReceived},
      {merged | (kGuest & ~feature(VIRTIO_NET_F_GUEST_CSUM)), {}},
      {merged | feature(VIRTIO_NET_F_GUEST_CSUM) | feature(VIRTIO_NET_F_GUEST_TSO6),
       Offload::kRxChecksum | Offload::kRxCoalesce},
      {feature(VIRTIO_NET_F_HASH_REPORT), {}},
      {feature(VIRTIO_NET_F_HASH_REPORT) | control, Offload::kRxHash},
      {feature(VIRTIO_NET_F_RSS) | control, {}},
      {feature(VIRTIO_NET_F_RSS) | feature(VIRTIO_NET_F_MQ) | control, Offload::kRss},
  };
  for (const auto& one : cases) {
    RigConfig config;
    config.device.features = one.features | feature(VIRTIO_F_VERSION_1);
    Rig rig(config);
    ASSERT_OK(rig.open());
    EXPECT_EQ(to_string(rig.port->info().offloads), to_string(one.offloads)) << std::hex << one.features;
  }
}

TEST(Offload, WhatIsNotAskedForIsNotNegotiated) {
  Rig rig(offloading({}));
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  EXPECT_EQ(rig.device.accepted() & (kGuest | kHost | feature(VIRTIO_NET_F_HASH_REPORT)), 0U);
  EXPECT_EQ(rig.port->rx_path(), "virtio split rx mergeable");
  EXPECT_EQ(rig.port->tx_path(), "virtio split tx");
}

TEST(Offload, EachIsNegotiatedWithWhatItNeedsAndNoMore) {
  const std::pair<Offload, std::uint64_t> cases[] = {
      {Offload::kRxChecksum, feature(VIRTIO_NET_F_GUEST_CSUM)},
      {Offload::kRxCoalesce, feature(VIRTIO_NET_F_GUEST_CSUM) | feature(VIRTIO_NET_F_GUEST_TSO4) |
                                 feature(VIRTIO_NET_F_GUEST_TSO6)},
      {Offload::kRxCoalesceUdp, feature(VIRTIO_NET_F_GUEST_CSUM) | feature(VIRTIO_NET_F_GUEST_USO4) |
                                    feature(VIRTIO_NET_F_GUEST_USO6)},
      {Offload::kTxChecksum, feature(VIRTIO_NET_F_CSUM)},
      {Offload::kTxSegment,
       feature(VIRTIO_NET_F_CSUM) | feature(VIRTIO_NET_F_HOST_TSO4) | feature(VIRTIO_NET_F_HOST_TSO6)},
      {Offload::kTxSegmentUdp, feature(VIRTIO_NET_F_CSUM) | feature(VIRTIO_NET_F_HOST_USO)}};
  for (const auto& [offload, features] : cases) {
    Rig rig(offloading(offload));
    ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
    EXPECT_EQ(rig.device.accepted() & (kGuest | kHost), features) << to_string(offload);
  }
}

TEST(Offload, WhatIsNotOfferedIsRefusedByName) {
  RigConfig config;
  config.offloads = Offload::kTxSegment | Offload::kRxVlanStrip;
  Rig rig(config);
  ASSERT_OK(rig.open());
  EXPECT_FAILS(rig.start(), Errc::kUnsupported, "rx-vlan-strip tx-segment");
  EXPECT_EQ(rig.device.status(), 0) << "nothing was begun";
}

TEST(Offload, WhatIsNoLongerOfferedIsRefused) {
  Rig rig(offloading(Offload::kTxChecksum));
  ASSERT_OK(rig.open());
  rig.device.knobs.withdrawn_features = feature(VIRTIO_NET_F_CSUM);
  EXPECT_FAILS(rig.start(), Errc::kFeature, "tx-checksum");
}

/// Each subset of what is offered, on each ring, with buffers merged and not: traffic of plain frames flows.
TEST(Offload, EverySubsetWorksOnEveryRing) {
  const auto memory = take_memory(256U << 10);
  const Offload all[] = {Offload::kRxChecksum, Offload::kRxCoalesce, Offload::kRxCoalesceUdp,
                         Offload::kTxChecksum, Offload::kTxSegment,  Offload::kTxSegmentUdp,
                         Offload::kRxHash,     Offload::kRss};
  for (const std::uint64_t ring : kRingKinds) {
    for (std::uint32_t subset = 0; subset < 2 * (1U << std::size(all)); ++subset) {
      RigConfig config = offloading({}, ring | feature(VIRTIO_NET_F_RSS));
      config.ring_size = 16;
      config.packets = 48;
      config.memory = memory;
      if (subset >= 1U << std::size(all)) config.device.features &= ~feature(VIRTIO_NET_F_MRG_RXBUF);
      Rig rig(config);
      ASSERT_OK(rig.open());
      Offloads offloads;
      for (std::size_t i = 0; i < std::size(all); ++i) {
        if (((subset >> i) & 1U) != 0) offloads = offloads | all[i];
      }
      rig.set_offloads(offloads & rig.port->info().offloads);
      ASSERT_OK(rig.start());
      const Bytes frame = make_frame(subset, 500);
      ASSERT_TRUE(rig.device.deliver(frame));
      ASSERT_EQ(rig.receive(), Frames{frame}) << to_string(offloads);
      ASSERT_TRUE(rig.send(rig.packet(frame)));
      ASSERT_EQ(rig.sent(), Frames{frame}) << to_string(offloads);
    }
  }
}

// --- sent ---

TEST(OffloadTx, AChecksumIsAskedForInTheHeader) {
  for (const std::uint64_t ring : kRingKinds) {
    Rig rig(offloading(kSent, ring));
    ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
    const Bytes frame = ip_frame(0x0800, 200);
    ASSERT_TRUE(rig.send(asks_checksum(rig.packet(frame))));
    ASSERT_TRUE(rig.send(rig.packet(frame)));
    const auto sent = rig.device.collect();
    ASSERT_EQ(sent.size(), 2U);
    EXPECT_EQ(sent[0].header.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
    EXPECT_EQ(sent[0].header.csum_start, 34);
    EXPECT_EQ(sent[0].header.csum_offset, 16);
    EXPECT_EQ(sent[0].bytes, frame) << "the pseudo header's sum is the sender's";
    EXPECT_EQ(sent[0].segments, 1U) << "header and frame in one descriptor";
    EXPECT_EQ(sent[1].header.flags, 0) << "the next packet asks for nothing";
    EXPECT_EQ(sent[1].bytes, frame);
    rig.reclaim();
    EXPECT_EQ(rig.port->tx_stats(0).packets, 2U);
    EXPECT_EQ(rig.port->tx_stats(0).rejected, 0U);
  }
}

TEST(OffloadTx, SegmentsOfAChain) {
  const std::array<std::size_t, 3> lengths{100, 2000, 1500};
  for (const std::uint64_t ring : kRingKinds) {
    for (const std::uint16_t type : {std::uint16_t{0x0800}, std::uint16_t{0x86DD}}) {
      Rig rig(offloading(kSent, ring));
      ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
      Bytes frame = ip_frame(type, 3600);
      frame[50] = std::byte{0x01};
      frame[51] = std::byte{0x02};
      ASSERT_TRUE(rig.send(asks_segments(rig.chain(frame, lengths))));
      const auto sent = rig.device.collect();
      ASSERT_EQ(sent.size(), 1U);
      EXPECT_EQ(sent[0].header.gso_type,
                type == 0x0800 ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_TCPV6);
      EXPECT_EQ(sent[0].header.gso_size, 1000);
      EXPECT_EQ(sent[0].header.hdr_len, 54);
      const unsigned sum = 0x0102 + (3600 - 34);
      frame[50] = static_cast<std::byte>(sum >> 8);
      frame[51] = static_cast<std::byte>(sum & 0xFFU);
      EXPECT_EQ(sent[0].bytes, frame) << "the length of the whole is in the pseudo header's sum";
      EXPECT_EQ(sent[0].segments, 3U);
    }
  }
}

TEST(OffloadTx, UdpSegments) {
  Rig rig(offloading(kSent));
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  Packet* const packet = asks_segments(rig.packet(ip_frame(0x0800, 2000)), kTxSegmentUdp);
  packet->csum_offset = 6;
  packet->header_length = 42;
  ASSERT_TRUE(rig.send(packet));
  const auto sent = rig.device.collect();
  ASSERT_EQ(sent.size(), 1U);
  EXPECT_EQ(sent[0].header.gso_type, VIRTIO_NET_HDR_GSO_UDP_L4);
  EXPECT_EQ(sent[0].header.hdr_len, 42);
}

TEST(OffloadTx, WhatWasNotNegotiatedIsRejectedAndCounted) {
  for (const Offloads offloads : {Offloads(), Offloads(Offload::kTxChecksum)}) {
    Rig rig(offloading(offloads));
    ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
    const Bytes frame = ip_frame(0x0800, 2000);
    ASSERT_TRUE(rig.send(asks_segments(rig.packet(frame))));
    Packet* const vlan = asks_checksum(rig.packet(frame));
    vlan->offloads |= kTxVlanInsert;
    ASSERT_TRUE(rig.send(vlan));
    ASSERT_TRUE(rig.send(rig.packet(frame)));
    EXPECT_EQ(rig.sent(), Frames{frame});
    EXPECT_EQ(rig.port->tx_stats(0).rejected, 2U);
    EXPECT_EQ(rig.port->tx_stats(0).packets, 1U);
  }
}

TEST(OffloadTx, RequestsThatContradictTheFrameAreRejected) {
  Rig rig(offloading(kSent));
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  Packet* const outside = asks_checksum(rig.packet(ip_frame(0x0800, 60)));
  outside->csum_start = 59;
  ASSERT_TRUE(rig.send(outside));
  ASSERT_TRUE(rig.send(asks_segments(rig.packet(ip_frame(0x0806, 2000)))));
  EXPECT_EQ(rig.sent(), Frames{});
  EXPECT_EQ(rig.port->tx_stats(0).rejected, 2U);
}

TEST(OffloadTx, AHeaderThatDoesNotFitInFrontGoesBehindOrIsRejected) {
  for (const Offloads offloads : {kSent, kSent | Offload::kRxHash}) {
    Rig rig(offloading(offloads));
    ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
    const Bytes frame = ip_frame(0x0800, 200);
    Packet* const packet = asks_checksum(rig.packet(frame));
    std::copy(frame.begin(), frame.end(), packet->buffer());
    packet->data_offset = 0;
    ASSERT_TRUE(rig.send(packet));
    const auto sent = rig.device.collect();
    ASSERT_EQ(sent.size(), 1U);
    EXPECT_EQ(sent[0].header.csum_start, 34);
    EXPECT_EQ(sent[0].bytes, frame);
    EXPECT_EQ(sent[0].segments, 2U);
    const Bytes whole = ip_frame(0x0800, 2300);  // four bytes are left of 2304
    Packet* const full = rig.cache->get();
    full->reset(100);
    std::copy(whole.begin(), whole.end(), full->buffer());
    full->data_offset = 0;
    full->data_length = 2300;
    full->packet_length = 2300;
    ASSERT_TRUE(rig.send(asks_checksum(full)));
    EXPECT_EQ(rig.port->tx_stats(0).rejected, 1U);
    EXPECT_EQ(rig.sent(), Frames{});
  }
}

TEST(OffloadTx, AFullRingTakesNothingAndChangesNothing) {
  RigConfig config = offloading(kSent);
  config.ring_size = 16;
  Rig rig(config);
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  const Bytes frame = ip_frame(0x0800, 1800);
  for (int i = 0; i < 16; ++i) ASSERT_TRUE(rig.send(rig.packet(frame)));
  Packet* const packet = asks_segments(rig.packet(frame));
  EXPECT_FALSE(rig.send(packet));
  EXPECT_EQ(bytes_of(packet), frame) << "the sum is not yet the device's";
  rig.cache->put_chain(packet);
}

// --- received ---

virtio_net_hdr_v1 header_of(std::uint8_t flags, std::uint8_t type = VIRTIO_NET_HDR_GSO_NONE) {
  virtio_net_hdr_v1 header{};
  header.flags = flags;
  header.gso_type = type;
  header.csum_start = 34;
  header.csum_offset = 16;
  header.gso_size = 1448;
  header.hdr_len = 54;
  return header;
}

TEST(OffloadRx, ChecksumsAreNoted) {
  for (const std::uint64_t ring : kRingKinds) {
    for (const bool merged : {true, false}) {
      RigConfig config = offloading(Offload::kRxChecksum, ring);
      if (!merged) config.device.features &= ~feature(VIRTIO_NET_F_MRG_RXBUF);
      Rig rig(config);
      ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
      const Bytes frame = make_frame(1, 300);
      for (const int flags : {VIRTIO_NET_HDR_F_DATA_VALID, VIRTIO_NET_HDR_F_NEEDS_CSUM, 0}) {
        ASSERT_TRUE(rig.device.deliver(frame, 0, {.header = header_of(static_cast<std::uint8_t>(flags))}));
      }
      const auto packets = rig.receive_packets();
      ASSERT_EQ(packets.size(), 3U);
      EXPECT_EQ(packets[0]->offloads, kRxChecksumGood);
      EXPECT_EQ(packets[1]->offloads, kRxChecksumPartial);
      EXPECT_EQ(packets[1]->csum_start, 34);
      EXPECT_EQ(packets[1]->csum_offset, 16);
      EXPECT_EQ(packets[2]->offloads, 0U);
      for (Packet* packet : packets) {
        EXPECT_EQ(bytes_of(packet), frame);
        rig.cache->put_chain(packet);
      }
    }
  }
}

TEST(OffloadRx, CoalescedFramesComeAsChains) {
  for (const std::uint64_t ring : kRingKinds) {
    Rig rig(offloading(kReceived, ring));
    ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
    const Bytes frame = make_frame(1, 40000);
    ASSERT_TRUE(rig.device.deliver(
        frame, 0, {.header = header_of(VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_TCPV6)}));
    const auto packets = rig.receive_packets();
    ASSERT_EQ(packets.size(), 1U);
    EXPECT_EQ(packets[0]->offloads, kRxCoalesced | kRxChecksumPartial);
    EXPECT_EQ(packets[0]->segment_size, 1448);
    EXPECT_EQ(packets[0]->header_length, 54);
    EXPECT_GT(packets[0]->segments, 15);
    EXPECT_EQ(bytes_of(packets[0]), frame);
    rig.cache->put_chain(packets[0]);
  }
}

TEST(OffloadRx, HeadersThatCannotBeAreDroppedAndCounted) {
  for (const std::uint64_t ring : kRingKinds) {
    Rig rig(offloading(Offload::kRxChecksum | Offload::kRxCoalesce, ring));
    ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
    std::vector<virtio_net_hdr_v1> bad;
    bad.push_back(header_of(VIRTIO_NET_HDR_F_NEEDS_CSUM));
    bad.back().csum_start = 299;
    bad.push_back(header_of(VIRTIO_NET_HDR_F_NEEDS_CSUM));
    bad.back().csum_offset = 0xFFFF;
    bad.push_back(header_of(0, VIRTIO_NET_HDR_GSO_UDP));
    bad.push_back(header_of(0, VIRTIO_NET_HDR_GSO_UDP_L4));  // not asked for
    bad.push_back(header_of(0, VIRTIO_NET_HDR_GSO_TCPV4));
    bad.back().gso_size = 0;
    for (const virtio_net_hdr_v1& header : bad) {
      ASSERT_TRUE(rig.device.deliver(make_frame(1, 300), 0, {.header = header}));
      ASSERT_TRUE(rig.device.deliver(make_frame(1, 5000), 0, {.header = header_of(0, 0x7F)}));
    }
    const Bytes frame = make_frame(2, 300);
    ASSERT_TRUE(rig.device.deliver(frame));
    EXPECT_EQ(rig.receive(), Frames{frame});
    EXPECT_EQ(rig.port->rx_stats(0).bad_completions, 2 * bad.size());
    EXPECT_EQ(rig.port->rx_stats(0).packets, 1U);
  }
}

TEST(OffloadRx, WithoutOffloadsTheHeaderSaysNothing) {
  Rig rig(offloading({}));
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  const Bytes frame = make_frame(1, 300);
  ASSERT_TRUE(rig.device.deliver(frame, 0, {.header = header_of(0xFF, 0xFF)}));
  const auto packets = rig.receive_packets();
  ASSERT_EQ(packets.size(), 1U);
  EXPECT_EQ(packets[0]->offloads, 0U);
  rig.cache->put_chain(packets[0]);
}

TEST(OffloadRx, TheHashAndItsLongerHeader) {
  for (const std::uint64_t ring : kRingKinds) {
    Rig rig(offloading(Offload::kRxHash, ring));
    ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
    const Bytes frame = make_frame(1, 300);
    const Bytes long_frame = make_frame(2, 6000);
    ASSERT_TRUE(rig.device.deliver(frame, 0,
                                   {.hash_value = 0x12345678, .hash_report = VIRTIO_NET_HASH_REPORT_TCPv4}));
    ASSERT_TRUE(rig.device.deliver(long_frame, 0, {.hash_value = 5, .hash_report = 10}));
    const auto packets = rig.receive_packets();
    ASSERT_EQ(packets.size(), 2U);
    EXPECT_EQ(packets[0]->offloads, kRxHashValid);
    EXPECT_EQ(packets[0]->rss_hash, 0x12345678U);
    EXPECT_EQ(bytes_of(packets[0]), frame);
    EXPECT_EQ(packets[1]->offloads, 0U) << "no report of that number";
    EXPECT_EQ(bytes_of(packets[1]), long_frame);
    // Both go out again; the longer header fits in front of the one that came with it.
    ASSERT_TRUE(rig.send(packets[0]));
    ASSERT_TRUE(rig.send(packets[1]));
    EXPECT_EQ(rig.sent(), (Frames{frame, long_frame}));
    // A frame with room for the short header alone takes a descriptor more.
    Packet* const close = rig.packet(frame);
    std::copy(frame.begin(), frame.end(), close->buffer() + 16);
    close->data_offset = 16;
    ASSERT_TRUE(rig.send(close));
    const auto sent = rig.device.collect();
    ASSERT_EQ(sent.size(), 1U);
    EXPECT_EQ(sent[0].bytes, frame);
    EXPECT_EQ(sent[0].segments, 2U);
  }
}

TEST(OffloadRx, ALengthThatEndsInsideTheLongerHeaderIsBad) {
  Rig rig(offloading(Offload::kRxHash));
  rig.forgive_device();
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  ASSERT_TRUE(rig.device.deliver(make_frame(1, 60), 0, {.used_length = 20 + 13}));
  EXPECT_EQ(rig.receive(), Frames{});
  EXPECT_EQ(rig.port->rx_stats(0).bad_completions, 1U);
}

}  // namespace
}  // namespace spinring::pmd
