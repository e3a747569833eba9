// Offloads with QEMU's virtio-net on a tap: what the driver leaves to the device, the kernel completes; what
// the kernel leaves to the driver, its packets say. QEMU's socket netdevs know no offloads.

#include <gtest/gtest.h>

#include <algorithm>

#include "pmd/errors.hpp"
#include "tests/device/ip_frames.hpp"
#include "tests/device/tap_net.hpp"
#include "tests/device/virtio_lab.hpp"

namespace spinring::test {
namespace {

using pmd::Offload;
using pmd::Offloads;

constexpr std::uint16_t kSegment = 1000;
constexpr Offloads kSent = Offload::kTxChecksum | Offload::kTxSegment;
constexpr Offloads kReceived = Offload::kRxChecksum | Offload::kRxCoalesce;

LabConfig tap(const std::string& properties = "") {
  return {.properties = properties,
          .netdev = std::string("tap,id=n0,script=no,downscript=no,vhost=off,ifname=") + kTap};
}

/// The packet of a frame that asks for its checksum, or for segments of kSegment bytes.
mempool::Packet* asking(Lab& lab, const IpFrame& frame, std::uint32_t offload) {
  mempool::Packet* const packet = lab.packet(frame.bytes());
  packet->offloads = offload;
  packet->csum_start = frame.l4();
  packet->csum_offset = frame.sum_offset();
  if (offload != mempool::kTxChecksum) {
    packet->segment_size = kSegment;
    packet->header_length = frame.header_length();
  }
  return packet;
}
void send(Lab& lab, mempool::Packet* packet) { EXPECT_EQ(lab.port->tx(0).burst({&packet, 1}), 1); }

class Offloading : public testing::TestWithParam<const char*> {};

TEST_P(Offloading, ChecksumsAreFilledIn) {
  Lab lab(tap(GetParam()));
  const BridgedTap wire;
  lab.start({.offloads = kSent});
  for (const bool ipv6 : {false, true}) {
    for (const std::uint8_t protocol : {kTcp, kUdp}) {
      IpFrame frame{.ipv6 = ipv6, .protocol = protocol, .sum = L4Sum::kPseudoHeader, .source = kMac};
      send(lab, asking(lab, frame, mempool::kTxChecksum));
      frame.sum = L4Sum::kFull;
      EXPECT_EQ(wire.receive(kMac, Deadline(kPatience)), frame.bytes()) << ipv6 << " " << int{protocol};
      send(lab, lab.packet(frame.bytes()));
      EXPECT_EQ(wire.receive(kMac, Deadline(kPatience)), frame.bytes()) << "one that asks for nothing";
    }
  }
  lab.stop();
}

/// Sends one frame to be cut, and checks what comes of it.
void expect_segments(Lab& lab, const BridgedTap& wire, const IpFrame& frame, std::uint32_t offload) {
  const Frame whole = payload_of(frame.bytes());
  send(lab, asking(lab, frame, offload));
  Frame joined;
  for (std::size_t count = 1; joined.size() < whole.size(); ++count) {
    const auto segment = wire.receive(kMac, Deadline(kPatience));
    ASSERT_TRUE(segment) << joined.size() << " of " << whole.size();
    EXPECT_TRUE(is_sound(*segment)) << "segment " << count;
    const Frame part = payload_of(*segment);
    EXPECT_EQ(part.size(), std::min<std::size_t>(kSegment, whole.size() - joined.size()));
    joined.insert(joined.end(), part.begin(), part.end());
  }
  EXPECT_EQ(joined, whole);
}

TEST_P(Offloading, TcpIsCutIntoSegments) {
  Lab lab(tap(GetParam()));
  const BridgedTap wire;
  lab.start({.offloads = kSent});
  for (const bool ipv6 : {false, true}) {
    for (const std::size_t payload : {1001U, 2000U, 20000U, 60000U, 1000U, 3U}) {
      SCOPED_TRACE(payload);
      expect_segments(
          lab, wire,
          {.ipv6 = ipv6, .payload = payload, .sum = L4Sum::kPseudoHeaderWithoutLength, .source = kMac},
          mempool::kTxSegment);
    }
  }
  lab.stop();
}

TEST_P(Offloading, UdpIsCutIntoDatagrams) {
  Lab lab(tap(GetParam()));
  if (!lab.port->info().offloads.has(Offload::kTxSegmentUdp)) {  // taps know it from Linux 6.2 on
    pmd::PortConfig<pmd::SpinringPackets> config{.rx = {{0, lab.cache.get()}}, .tx = {{0, lab.cache.get()}}};
    config.offloads = Offload::kTxSegmentUdp;
    const auto refused = lab.port->start(config);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, pmd::Errc::kUnsupported);
    return;
  }
  const BridgedTap wire;
  lab.start({.offloads = kSent | Offload::kTxSegmentUdp});
  for (const bool ipv6 : {false, true}) {
    expect_segments(lab, wire,
                    {.ipv6 = ipv6,
                     .protocol = kUdp,
                     .payload = 20500,
                     .sum = L4Sum::kPseudoHeaderWithoutLength,
                     .source = kMac},
                    mempool::kTxSegmentUdp);
  }
  lab.stop();
}

TEST_P(Offloading, ChecksumsThatAreNotThereYetAreNoted) {
  Lab lab(tap(GetParam()));
  const TapPeer peer(true);
  lab.start({.promiscuous = false, .offloads = kReceived});
  const IpFrame frame{.sum = L4Sum::kPseudoHeader, .destination = kMac};
  peer.send(frame.bytes(), {.flags = 1, .csum_start = frame.l4(), .csum_offset = frame.sum_offset()});
  mempool::Packet* packet = lab.receive_packet();
  ASSERT_NE(packet, nullptr);
  EXPECT_EQ(packet->offloads, mempool::kRxChecksumPartial);
  EXPECT_EQ(packet->csum_start, frame.l4());
  EXPECT_EQ(packet->csum_offset, frame.sum_offset());
  EXPECT_EQ(bytes_of(packet), frame.bytes());
  lab.cache->put_chain(packet);
  IpFrame full = frame;
  full.sum = L4Sum::kFull;
  peer.send(full.bytes());
  EXPECT_EQ(lab.receive(1), std::vector<Frame>{full.bytes()});
  lab.stop();
}

/// Sends a TCP frame that its sender has left to be cut.
void send_uncut(const TapPeer& peer, const IpFrame& frame) {
  const auto type = static_cast<std::uint8_t>(frame.ipv6 ? 4 : 1);
  peer.send(frame.bytes(), {.flags = 1,
                            .gso_type = type,
                            .hdr_len = frame.header_length(),
                            .gso_size = kSegment,
                            .csum_start = frame.l4(),
                            .csum_offset = frame.sum_offset()});
}
void expect_uncut(Lab& lab, const IpFrame& frame) {
  mempool::Packet* packet = lab.receive_packet();
  ASSERT_NE(packet, nullptr);
  EXPECT_EQ(packet->offloads, mempool::kRxCoalesced | mempool::kRxChecksumPartial);
  EXPECT_EQ(packet->segment_size, kSegment);
  EXPECT_GT(packet->segments, 1);
  EXPECT_EQ(bytes_of(packet), frame.bytes());
  lab.cache->put_chain(packet);
}
void expect_cut(Lab& lab, const IpFrame& frame) {
  const std::size_t count = (frame.payload + kSegment - 1) / kSegment;
  Frame joined;
  for (const Frame& segment : lab.receive(count)) {
    EXPECT_TRUE(is_sound(segment));
    const Frame part = payload_of(segment);
    EXPECT_LE(part.size(), kSegment);
    joined.insert(joined.end(), part.begin(), part.end());
  }
  EXPECT_EQ(joined, payload_of(frame.bytes()));
}

TEST_P(Offloading, CoalescedFramesComeWholeAsLongAsTheOffloadIsOn) {
  Lab lab(tap(GetParam()));
  const TapPeer peer(true);
  lab.start({.promiscuous = false, .offloads = kReceived});
  for (const bool ipv6 : {false, true}) {
    const IpFrame frame{.ipv6 = ipv6, .payload = 20000, .sum = L4Sum::kPseudoHeader, .destination = kMac};
    send_uncut(peer, frame);
    expect_uncut(lab, frame);
    must(lab.port->set_rx_offloads({}));
    send_uncut(peer, frame);
    expect_cut(lab, frame);
    must(lab.port->set_rx_offloads(kReceived));
    send_uncut(peer, frame);
    expect_uncut(lab, frame);
  }
  lab.stop();
  lab.start({.promiscuous = false});
  const IpFrame frame{.payload = 5000, .sum = L4Sum::kPseudoHeader, .destination = kMac};
  send_uncut(peer, frame);
  expect_cut(lab, frame);
  lab.stop();
}

INSTANTIATE_TEST_SUITE_P(Virtio, Offloading, testing::Values("", ",packed=on", ",in_order=on"),
                         [](const auto& test) {
                           const std::string ring = test.param;
                           return ring.empty() ? "split" : ring.substr(1, ring.find('=') - 1);
                         });

TEST(OffloadOffers, FollowTheNetdev) {
  Lab lab;
  EXPECT_EQ(pmd::to_string(lab.port->info().offloads), "none") << "a socket";
  pmd::PortConfig<pmd::SpinringPackets> config{.rx = {{0, lab.cache.get()}}, .tx = {{0, lab.cache.get()}}};
  config.offloads = kSent;
  const auto refused = lab.port->start(config);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, pmd::Errc::kUnsupported);
  EXPECT_NE(refused.error().message().find("tx-checksum tx-segment"), std::string::npos);
  lab.start();
  lab.expect_traffic();
  lab.stop();
}

TEST(OffloadOffers, EachOfQemusSwitchesTakesOneAway) {
  const Offloads all = kSent | kReceived;
  const std::pair<const char*, Offloads> cases[] = {
      {"", all},
      {",csum=off", kReceived},
      {",host_tso4=off", all.without(Offload::kTxSegment)},
      {",guest_csum=off", kSent},
      {",guest_tso4=off,guest_tso6=off", all.without(Offload::kRxCoalesce)},
      {",mrg_rxbuf=off", all.without(Offload::kRxCoalesce)}};
  for (const auto& [properties, offered] : cases) {
    Lab lab(tap(properties));
    EXPECT_EQ(pmd::to_string(lab.port->info().offloads & all), pmd::to_string(offered)) << properties;
    const TapPeer peer;
    lab.start({.promiscuous = false, .offloads = offered});
    const IpFrame frame{.destination = kMac};
    peer.send(frame.bytes());
    EXPECT_EQ(lab.receive(1), std::vector<Frame>{frame.bytes()}) << properties;
    lab.stop();
  }
}

}  // namespace
}  // namespace spinring::test
