// RSS and hash reports of QEMU's virtio-net (computed by QEMU itself), on a tap of four queues.

#include <gtest/gtest.h>

#include <set>

#include "pmd/errors.hpp"
#include "tests/device/ip_frames.hpp"
#include "tests/device/tap_net.hpp"
#include "tests/device/virtio_lab.hpp"

namespace spinring::test {
namespace {

using pmd::Offload;

constexpr std::uint16_t kQueues = 4;

LabConfig spreading(const std::string& properties) {
  return {.properties = ",mq=on,vectors=10" + properties,
          .netdev = std::string("tap,id=n0,script=no,downscript=no,vhost=off,queues=4,ifname=") + kTap};
}

IpFrame flow(std::uint16_t number, bool ipv6 = false, std::uint8_t protocol = kTcp) {
  return {.ipv6 = ipv6,
          .protocol = protocol,
          .seed = number,
          .source_port = static_cast<std::uint16_t>(1000 + 7 * number),
          .destination = kMac};
}
/// The hash over addresses and ports, or over addresses alone.
std::uint32_t hash_of(const pmd::RssConfig& rss, const IpFrame& frame, bool ports = true) {
  const Frame bytes = frame.bytes();
  const std::size_t addresses = frame.ipv6 ? 32 : 8;
  return pmd::toeplitz_hash(rss.key, bytes.data() + frame.l4() - addresses, addresses + (ports ? 4 : 0));
}
/// Receives the frame by whichever queue it comes.
std::uint16_t queue_of(Lab& lab, const IpFrame& frame, mempool::Packet*& packet) {
  std::uint16_t found = 0xFFFF;
  (void)wait_until(
      [&] {
        for (std::uint16_t queue = 0; queue < kQueues; ++queue) {
          packet = lab.receive_packet(queue, 0s);
          if (packet == nullptr) continue;
          found = queue;
          if (bytes_of(packet) == frame.bytes()) return true;
          lab.cache->put_chain(packet);  // the kernel's own
          packet = nullptr;
        }
        return false;
      },
      Deadline(kPatience));
  return packet == nullptr ? std::uint16_t{0xFFFF} : found;
}

void expect_spread(Lab& lab, const TapPeer& peer, const pmd::RssConfig& rss,
                   const std::vector<std::uint16_t>& table, bool noted) {
  for (std::uint16_t number = 0; number < 60; ++number) {
    const IpFrame frame = flow(number, number % 2 == 0);
    const std::uint32_t hash = hash_of(rss, frame);
    peer.send(frame.bytes());
    mempool::Packet* packet = nullptr;
    EXPECT_EQ(queue_of(lab, frame, packet), table[hash & (table.size() - 1)]) << number;
    ASSERT_NE(packet, nullptr);
    EXPECT_EQ((packet->offloads & mempool::kRxHashValid) != 0, noted);
    if (noted) {
      EXPECT_EQ(packet->rss_hash, hash);
    }
    lab.cache->put_chain(packet);
  }
}

TEST(VirtioRss, SpreadsFlowsAsTheToeplitzHashSays) {
  for (const std::string ring : {"", ",packed=on"}) {
    for (const bool hashes : {true, false}) {
      SCOPED_TRACE(ring);
      Lab lab(spreading(",rss=on,hash=on" + ring));
      EXPECT_EQ(lab.port->info().rss_table, 128);
      const TapPeer peer;
      lab.start({.queues = kQueues,
                 .promiscuous = false,
                 .offloads = hashes ? Offload::kRss | Offload::kRxHash : pmd::Offloads(Offload::kRss)});
      std::vector<std::uint16_t> table(128);
      for (std::size_t i = 0; i < table.size(); ++i) table[i] = static_cast<std::uint16_t>(i % kQueues);
      expect_spread(lab, peer, {}, table, hashes);
      lab.stop();
    }
  }
}

TEST(VirtioRss, KeyTableAndTypesAreChangedWhileThePortRuns) {
  Lab lab(spreading(",rss=on,hash=on"));
  const TapPeer peer;
  lab.start({.queues = kQueues, .promiscuous = false, .offloads = Offload::kRss | Offload::kRxHash});
  pmd::RssConfig rss;
  for (std::size_t i = 0; i < rss.key.size(); ++i) rss.key[i] = static_cast<std::uint8_t>(17 * i + 3);
  rss.table = {3, 3, 1, 0, 3, 2, 1, 1};
  must(lab.port->set_rss(rss));
  expect_spread(lab, peer, rss, rss.table, true);
  rss.types = pmd::kRssIpv4;
  must(lab.port->set_rss(rss));
  const IpFrame frame = flow(5);
  const std::uint32_t hash = hash_of(rss, frame, false);
  peer.send(frame.bytes());
  mempool::Packet* packet = nullptr;
  EXPECT_EQ(queue_of(lab, frame, packet), rss.table[hash & 7U]);
  ASSERT_NE(packet, nullptr);
  EXPECT_EQ(packet->rss_hash, hash) << "addresses alone";
  lab.cache->put_chain(packet);
  lab.stop();
}

TEST(VirtioRss, HashesAreReportedWithoutSteering) {
  Lab lab(spreading(",hash=on"));
  const TapPeer peer;
  EXPECT_FALSE(lab.port->info().offloads.has(Offload::kRss));
  lab.start({.queues = kQueues, .promiscuous = false, .offloads = Offload::kRxHash});
  for (std::uint16_t number = 0; number < 20; ++number) {
    const IpFrame frame = flow(number);
    peer.send(frame.bytes());
    mempool::Packet* packet = nullptr;
    EXPECT_LT(queue_of(lab, frame, packet), kQueues);
    ASSERT_NE(packet, nullptr);
    EXPECT_EQ(packet->offloads & mempool::kRxHashValid, mempool::kRxHashValid);
    EXPECT_EQ(packet->rss_hash, hash_of({}, frame));
    // It goes back with a header of that length too.
    EXPECT_EQ(lab.port->tx(0).burst({&packet, 1}), 1);
    EXPECT_EQ(peer.receive(Deadline(kPatience)), frame.bytes());
  }
  lab.stop();
}

}  // namespace
}  // namespace spinring::test
