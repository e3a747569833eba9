// RSS and hash reports: what the device is told, where frames go, what is refused.

#include <algorithm>
#include <set>

#include "tests/unit/pmd/virtio_rig.hpp"

namespace spinring::pmd {
namespace {

using namespace mempool;
using sim::feature;

constexpr std::uint64_t kHashing = feature(VIRTIO_NET_F_RSS) | feature(VIRTIO_NET_F_HASH_REPORT);

RigConfig spreading(std::uint16_t queues, Offloads offloads = Offload::kRss) {
  RigConfig config;
  config.device = with(kHashing);
  config.device.max_pairs = 8;
  config.ring_size = 16;
  config.queues = queues;
  config.offloads = offloads;
  return config;
}

/// A TCP or UDP frame over IPv4 of flow `number`.
Bytes flow_frame(unsigned number, std::uint8_t protocol = 6) {
  Bytes frame(80);
  const auto put = [&](std::size_t at, unsigned value) { frame[at] = static_cast<std::byte>(value); };
  put(12, 0x08);
  put(14, 0x45);
  put(23, protocol);
  for (unsigned i = 0; i < 4; ++i) put(26 + i, 10 + number * (i + 1) % 240);
  for (unsigned i = 0; i < 4; ++i) put(30 + i, 20 + number * (i + 3) % 230);
  put(34, number / 8 % 256);
  put(35, number % 256);
  put(37, 80);
  return frame;
}
/// What the frame's hash must be: addresses, and ports.
std::uint32_t hash_of(const Bytes& frame, const RssConfig& rss, std::size_t bytes) {
  return toeplitz_hash(rss.key, reinterpret_cast<const std::uint8_t*>(frame.data()) + 26, bytes);
}

TEST(Rss, TheWholeSetUpArrives) {
  Rig rig(spreading(4));
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  EXPECT_EQ(rig.port->info().rss_table, 128);
  ASSERT_TRUE(rig.device.control().hash);
  const sim::HashState& hash = *rig.device.control().hash;
  const RssConfig usual;
  EXPECT_TRUE(hash.steers);
  EXPECT_EQ(hash.types, usual.types);
  EXPECT_EQ(hash.key, std::vector<std::uint8_t>(usual.key.begin(), usual.key.end())) << "a key that is set";
  EXPECT_EQ(hash.table.size(), 128U);
  for (std::size_t i = 0; i < hash.table.size(); ++i) ASSERT_EQ(hash.table[i], i % 4);
  EXPECT_EQ(hash.max_tx_vq, 4);
  EXPECT_EQ(rig.device.control().active_pairs, 4);
  EXPECT_EQ(rig.device.control().commands, 2U) << "RSS_CONFIG in place of VQ_PAIRS_SET, and promiscuous";
}

TEST(Rss, FramesGoWhereTheHashSays) {
  Rig rig(spreading(4, Offload::kRss | Offload::kRxHash));
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  const RssConfig usual;
  std::set<std::uint32_t> used;
  for (unsigned number = 0; number < 200; ++number) {
    const Bytes frame = flow_frame(number);
    const std::uint32_t hash = hash_of(frame, usual, 12);
    ASSERT_TRUE(rig.device.deliver_steered(frame));
    const auto queue = static_cast<std::uint16_t>(hash % 128 % 4);
    const auto packets = rig.receive_packets(queue);
    ASSERT_EQ(packets.size(), 1U) << number;
    EXPECT_EQ(packets[0]->offloads, kRxHashValid);
    EXPECT_EQ(packets[0]->rss_hash, hash);
    rig.cache->put_chain(packets[0]);
    used.insert(queue);
  }
  EXPECT_EQ(used.size(), 4U);
}

TEST(Rss, TableAndTypesAsTheConfigurationSays) {
  Rig rig(spreading(3));
  ASSERT_OK(rig.open());
  auto config = rig.port_config();
  config.rss.table = {2, 0, 2, 2};
  config.rss.types = kRssUdpIpv4;
  config.rss.key.fill(0x5A);
  ASSERT_OK(rig.port->start(config));
  EXPECT_EQ(rig.device.control().hash->table, config.rss.table);
  EXPECT_EQ(rig.device.control().hash->types, kRssUdpIpv4);
  EXPECT_EQ(rig.device.control().hash->max_tx_vq, 3);
  const Bytes tcp = flow_frame(1, 6);
  ASSERT_TRUE(rig.device.deliver_steered(tcp));
  EXPECT_EQ(rig.receive(0), Frames{tcp}) << "not hashed: queue 0";
  const Bytes udp = flow_frame(1, 17);
  ASSERT_TRUE(rig.device.deliver_steered(udp));
  const std::uint16_t queue = config.rss.table[hash_of(udp, config.rss, 12) & 3U];
  EXPECT_EQ(rig.receive(queue), Frames{udp});
}

TEST(Rss, IsChangedWhileThePortRuns) {
  Rig rig(spreading(2));
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  RssConfig rss;
  rss.table = {1, 1};
  ASSERT_OK(rig.port->set_rss(rss));
  const Bytes frame = flow_frame(7);
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(rig.device.deliver_steered(frame));
    EXPECT_EQ(rig.receive(1), Frames{frame});
  }
  rss.table = {2};
  EXPECT_FAILS(rig.port->set_rss(rss), Errc::kBadArgument, "queue 2");
  rig.port->stop();
  EXPECT_FAILS(rig.port->set_rss({}), Errc::kBadState, "setting RSS");
}

TEST(Rss, ConfigurationsThatCannotBeAreRefused) {
  Rig rig(spreading(2));
  ASSERT_OK(rig.open());
  const auto start = [&](auto change) {
    auto config = rig.port_config();
    change(config.rss);
    return rig.port->start(config);
  };
  EXPECT_FAILS(start([](RssConfig& rss) { rss.table.assign(3, 0); }), Errc::kBadArgument, "3 entries");
  EXPECT_FAILS(start([](RssConfig& rss) { rss.table.assign(256, 0); }), Errc::kBadArgument, "up to 128");
  EXPECT_FAILS(start([](RssConfig& rss) { rss.table = {0, 2}; }), Errc::kBadArgument, "2 rx queues");
  EXPECT_FAILS(start([](RssConfig& rss) { rss.types = 1U << 8; }), Errc::kUnsupported, "0x100");
  ASSERT_OK(start([](RssConfig&) {}));
}

TEST(Rss, ADeviceThatRefusesStopsTheStart) {
  Rig rig(spreading(2));
  ASSERT_OK(rig.open());
  rig.device.knobs.control_ack = VIRTIO_NET_ERR;
  EXPECT_FAILS(rig.start(), Errc::kRejected, "setting RSS");
  EXPECT_EQ(rig.device.status(), 0);
}

TEST(Rss, DevicesWhoseRegistersCannotBeAreNotBelieved) {
  const auto offloads_with = [](auto change) {
    RigConfig config = spreading(1, {});
    change(config.device.registers);
    Rig rig(config);
    EXPECT_TRUE(rig.open().has_value());
    return rig.port->info().offloads & (Offload::kRss | Offload::kRxHash);
  };
  const Offloads both = Offload::kRss | Offload::kRxHash;
  EXPECT_EQ(offloads_with([](auto&) {}), both);
  EXPECT_EQ(offloads_with([](auto& r) { r.rss_max_key_size = 39; }), Offloads());
  EXPECT_EQ(offloads_with([](auto& r) { r.supported_hash_types = 0; }), Offloads());
  EXPECT_EQ(offloads_with([](auto& r) { r.rss_max_indirection_table_length = 0; }),
            Offloads(Offload::kRxHash));
}

TEST(Rss, ATableOfADeviceIsUsedUpToAPowerOfTwo) {
  for (const auto& [length, entries] : {std::pair{100, 64}, std::pair{1, 1}, std::pair{0xFFFF, 512}}) {
    RigConfig config = spreading(2);
    config.device.registers.rss_max_indirection_table_length = static_cast<std::uint16_t>(length);
    Rig rig(config);
    ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
    EXPECT_EQ(rig.port->info().rss_table, entries);
    EXPECT_EQ(rig.device.control().hash->table.size(),
              std::min<std::size_t>(128, rig.port->info().rss_table));
    RssConfig rss;
    rss.table.assign(rig.port->info().rss_table, 1);
    EXPECT_TRUE(rig.port->set_rss(rss).has_value()) << "the longest fits a command";
  }
}

TEST(Rss, HashesAreReportedWithoutSteering) {
  Rig rig(spreading(2, Offload::kRxHash));
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  ASSERT_TRUE(rig.device.control().hash);
  EXPECT_FALSE(rig.device.control().hash->steers);
  EXPECT_EQ(rig.device.control().active_pairs, 2) << "by VQ_PAIRS_SET";
  const Bytes frame = flow_frame(5);
  ASSERT_TRUE(rig.device.deliver_steered(frame));
  const auto packets = rig.receive_packets(0);
  ASSERT_EQ(packets.size(), 1U);
  EXPECT_EQ(packets[0]->rss_hash, hash_of(frame, RssConfig{}, 12));
  rig.cache->put_chain(packets[0]);
  EXPECT_FAILS(rig.port->set_rss({}), Errc::kUnsupported, "RSS was not negotiated");
}

}  // namespace
}  // namespace spinring::pmd
