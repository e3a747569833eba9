// What the devices of the e1000 family receive, count and say of themselves: filters, VLANs, MTU, statistics,
// registers.

#include <gtest/gtest.h>

#include <map>
#include <thread>

#include "pmd/errors.hpp"
#include "tests/device/e1000_models.hpp"

namespace spinring::test {
namespace {

class E1000Control : public E1000Test {};
INSTANTIATE_TEST_SUITE_P(Models, E1000Control, kE1000Models, model_name);

constexpr pmd::MacAddress kOther{0x52, 0x54, 0x00, 0x77, 0x88, 0x99};
constexpr pmd::MacAddress kGroup{0x01, 0x00, 0x5e, 0x01, 0x02, 0x03};
constexpr pmd::MacAddress kOtherGroup{0x01, 0x00, 0x5e, 0x44, 0x55, 0x66};
constexpr pmd::MacAddress kBroadcast{0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
constexpr pmd::Offloads kVlanOffloads = pmd::Offload::kRxVlanStrip | pmd::Offload::kTxVlanInsert;

/// Which of the addresses' frames come through; the last is for kMac and always does.
std::vector<pmd::MacAddress> heard(Lab& lab, const std::vector<pmd::MacAddress>& addresses) {
  static std::uint32_t seed = 100;
  std::vector<Frame> frames;
  for (const auto& mac : addresses) frames.push_back(make_frame(80, ++seed, mac));
  const Frame last = make_frame(80, ++seed, lab.port->info().mac);
  frames.push_back(last);
  lab.peer_send(frames);
  std::vector<pmd::MacAddress> through;
  const Deadline deadline(kPatience);
  while (!deadline.passed()) {
    const std::vector<Frame> one = lab.receive(1, 1, 0, 20ms);
    if (one.empty()) continue;
    if (one.front() == last) return through;
    EXPECT_NE(std::find(frames.begin(), frames.end(), one.front()), frames.end());
    through.emplace_back();
    std::copy_n(one.front().begin(), 6, through.back().begin());
  }
  ADD_FAILURE() << "the frame for the port itself did not come";
  return through;
}

TEST_P(E1000Control, FiltersByAddress) {
  Lab lab({.model = GetParam()});
  start_with_link(lab, {.promiscuous = false});
  using Addresses = std::vector<pmd::MacAddress>;
  const Addresses all{kOther, kGroup, kOtherGroup, kBroadcast};
  EXPECT_EQ(heard(lab, all), (Addresses{kBroadcast}));
  must(lab.port->set_mac_filter(Addresses{kOther, kGroup}));
  EXPECT_EQ(heard(lab, all), (Addresses{kOther, kGroup, kBroadcast}));
  must(lab.port->set_mac_filter(Addresses{kOtherGroup}));
  EXPECT_EQ(heard(lab, all), (Addresses{kOtherGroup, kBroadcast}));
  must(lab.port->set_mac_filter({}));
  must(lab.port->set_all_multicast(true));
  EXPECT_EQ(heard(lab, all), (Addresses{kGroup, kOtherGroup, kBroadcast}));
  must(lab.port->set_promiscuous(true));
  EXPECT_EQ(heard(lab, all), all);
  must(lab.port->set_promiscuous(false));
  must(lab.port->set_all_multicast(false));
  EXPECT_EQ(heard(lab, all), (Addresses{kBroadcast}));
  lab.stop();
}

TEST_P(E1000Control, AnotherAddressAndMoreThanTheDeviceTakes) {
  Lab lab({.model = GetParam()});
  start_with_link(lab, {.promiscuous = false});
  must(lab.port->set_mac(kOther));
  lab.peer_send({make_frame(80, 1, kMac), make_frame(80, 2, kOther)});
  EXPECT_EQ(lab.receive(1), std::vector<Frame>{make_frame(80, 2, kOther)});
  must(lab.port->set_mac(kMac));
  EXPECT_EQ(lab.port->set_mac(kGroup).error().code, pmd::Errc::kBadArgument);
  std::vector<pmd::MacAddress> many(32, kOther);
  for (std::size_t i = 0; i < many.size(); ++i) many[i][5] = static_cast<std::uint8_t>(i);
  const auto refused = lab.port->set_mac_filter(many);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, pmd::Errc::kBadArgument);
  // As many as it says, all of them heard.
  many.resize(lab.port->info().driver.starts_with("igb") ? 15 : 14);
  must(lab.port->set_mac_filter(many));
  EXPECT_EQ(heard(lab, many), many);
  lab.stop();
}

Frame tagged(const Frame& frame, std::uint16_t tci) {
  Frame with = frame;
  const std::array<std::uint8_t, 4> tag{0x81, 0x00, static_cast<std::uint8_t>(tci >> 8),
                                        static_cast<std::uint8_t>(tci)};
  with.insert(with.begin() + 12, tag.begin(), tag.end());
  return with;
}

TEST_P(E1000Control, VlanTagsAreStrippedAndInserted) {
  Lab lab({.model = GetParam()});
  ASSERT_TRUE(lab.port->info().offloads.has(pmd::Offload::kRxVlanStrip));
  start_with_link(lab, {.offloads = kVlanOffloads});
  EXPECT_NE(lab.port->rx_path().find("offloads"), std::string::npos);
  for (const std::uint16_t tci : {std::uint16_t{5}, std::uint16_t{0xefff}, std::uint16_t{0x6123}}) {
    const Frame plain = make_frame(300, tci, kMac);
    lab.peer_send({tagged(plain, tci), plain});
    std::array<mempool::Packet*, 2> packets{};
    std::size_t got = 0;
    ASSERT_TRUE(
        wait_until([&] { return (got += lab.port->rx(0).burst(std::span(packets).subspan(got))) == 2; },
                   Deadline(kPatience)));
    EXPECT_EQ(bytes_of(packets[0]), plain) << "stripped";
    EXPECT_EQ(packets[0]->offloads & mempool::kRxVlanStripped, mempool::kRxVlanStripped);
    EXPECT_EQ(packets[0]->vlan_tci, tci);
    EXPECT_EQ(bytes_of(packets[1]), plain);
    EXPECT_EQ(packets[1]->offloads & mempool::kRxVlanStripped, 0U);
    // Back with a tag in the first and none in the second.
    packets[0]->offloads = mempool::kTxVlanInsert;
    packets[1]->offloads = 0;
    ASSERT_EQ(lab.port->tx(0).burst(packets), 2U);
    EXPECT_EQ(lab.peer_receive(2), (std::vector<Frame>{tagged(plain, tci), plain}));
  }
  // A chain, too.
  const Frame plain = make_frame(1000, 7, kMac);
  mempool::Packet* chain = lab.packet(plain, 300);
  chain->offloads = mempool::kTxVlanInsert;
  chain->vlan_tci = 77;
  ASSERT_EQ(lab.port->tx(0).burst({&chain, 1}), 1U);
  EXPECT_EQ(lab.peer_receive(1), std::vector<Frame>{tagged(plain, 77)});
  lab.stop();
}

TEST_P(E1000Control, WithoutStrippingATagStays) {
  Lab lab({.model = GetParam()});
  start_with_link(lab);
  const Frame frame = tagged(make_frame(1514, 3, kMac), 9);
  expect_both_ways(lab, {frame});
  mempool::Packet* packet = lab.packet(frame);
  packet->offloads = mempool::kTxVlanInsert;
  EXPECT_EQ(lab.port->tx(0).burst({&packet, 1}), 1U);
  EXPECT_EQ(lab.port->tx_stats(0).rejected, 1U) << "insertion was not asked for at start";
  lab.stop();
  pmd::PortConfig<pmd::SpinringPackets> config{.rx = {{0, lab.cache.get()}}, .tx = {{0, lab.cache.get()}}};
  config.offloads = pmd::Offload::kTxVlanInsert;
  EXPECT_EQ(lab.port->start(config).error().code, pmd::Errc::kUnsupported);
}

TEST_P(E1000Control, VlansAreFiltered) {
  Lab lab({.model = GetParam()});
  start_with_link(lab, {.vlan_filter = true});
  const auto through = [&](std::uint16_t vlan) {
    static std::uint32_t seed = 1;
    const Frame in = tagged(make_frame(100, ++seed, kMac), vlan);
    const Frame last = make_frame(100, ++seed, kMac);
    lab.peer_send({in, last});
    std::vector<Frame> got = lab.receive(1);
    if (!got.empty() && got.front() == last) return false;
    EXPECT_EQ(got, std::vector<Frame>{in});
    EXPECT_EQ(lab.receive(1), std::vector<Frame>{last});
    return true;
  };
  EXPECT_FALSE(through(33));
  must(lab.port->set_vlan_filter(33, true));
  must(lab.port->set_vlan_filter(4094, true));
  EXPECT_TRUE(through(33));
  EXPECT_TRUE(through(4094));
  EXPECT_FALSE(through(34));
  EXPECT_FALSE(through(1));
  must(lab.port->set_vlan_filter(33, false));
  EXPECT_FALSE(through(33));
  EXPECT_EQ(lab.port->set_vlan_filter(4096, true).error().code, pmd::Errc::kBadArgument);
  lab.stop();
  lab.start();
  EXPECT_EQ(lab.port->set_vlan_filter(33, true).error().code, pmd::Errc::kBadState);
}

TEST_P(E1000Control, TheLargestMtuIsCarried) {
  Lab lab({.model = GetParam()});
  const std::uint16_t most = lab.port->info().max_mtu;
  start_with_link(lab, {.mtu = most});
  expect_both_ways(lab, {make_frame(most + 14U, 1, kMac), tagged(make_frame(most + 14U, 2, kMac), 5)});
  lab.stop();
}

std::map<std::string, std::uint64_t> counters(Lab& lab) {
  std::map<std::string, std::uint64_t> all;
  for (const auto& [name, value] : lab.port->extended_stats()) all[name] = value;
  return all;
}

TEST_P(E1000Control, CountsItsTraffic) {
  Lab lab({.model = GetParam()});
  start_with_link(lab);
  const std::vector<Frame> frames = make_frames(50, 500);
  for (int round = 0; round < 2; ++round) {
    expect_both_ways(lab, frames);
    (void)counters(lab);  // reading clears the registers, not the totals
  }
  lab.peer_send({make_frame(100, 1, kBroadcast), make_frame(100, 1, kGroup)});
  EXPECT_EQ(lab.receive(2).size(), 2U);
  auto now = counters(lab);
  EXPECT_EQ(now["rx_good_packets"], 102U);
  EXPECT_EQ(now["tx_good_packets"], 100U);
  EXPECT_EQ(now["rx_good_bytes"], 100U * 500 + 200);
  EXPECT_EQ(now["tx_good_bytes"], 100U * 500);
  EXPECT_EQ(now["rx_broadcast_packets"], 1U);
  EXPECT_EQ(now["rx_multicast_packets"], 1U);
  EXPECT_EQ(now["rx_size_256_to_511_packets"], 100U);
  EXPECT_EQ(now["tx_size_256_to_511_packets"], 100U);
  EXPECT_EQ(now["rx_crc_errors"], 0U);
  lab.stop();
  EXPECT_EQ(counters(lab)["rx_good_packets"], 102U) << "readable after stop";
  start_with_link(lab);
  EXPECT_EQ(counters(lab)["rx_good_packets"], 0U);
  lab.stop();
}

TEST_P(E1000Control, CountsWhatFoundNoBuffer) {
  // QUIRK(QEMU): igb counts a frame that found no buffer as good, not as missed; the others forget one at
  // times.
  if (std::string(GetParam()) == "igb") return;
  Lab lab({.model = GetParam()});
  start_with_link(lab, {.rx_ring = 80, .tx_ring = 80});
  lab.expect_traffic();
  lab.peer_send(make_frames(300, 100));
  std::this_thread::sleep_for(100ms);
  const std::size_t received = lab.receive(300, 32, 0, 500ms).size();
  auto now = counters(lab);
  EXPECT_GE(received, 79U);
  EXPECT_EQ(now["rx_good_packets"], 1 + received);
  EXPECT_EQ(now["rx_missed_errors"] != 0, received < 300);
  EXPECT_LE(now["rx_missed_errors"], 300 - received);
  lab.stop();
}

TEST_P(E1000Control, ShowsItsRegisters) {
  Lab lab({.model = GetParam()});
  start_with_link(lab, {.rx_ring = 80, .vlan_filter = true});
  lab.expect_traffic();
  std::map<std::string, pmd::RegisterDump> registers;
  for (const auto& reg : lab.port->registers()) {
    EXPECT_TRUE(registers.emplace(reg.name, reg).second) << reg.name << " twice";
  }
  EXPECT_EQ(registers.at("STATUS").offset, 8U);
  EXPECT_NE(registers.at("STATUS").fields.find("LU"), std::string::npos) << registers.at("STATUS").fields;
  EXPECT_NE(registers.at("RCTL").fields.find("EN UPE MPE"), std::string::npos) << registers.at("RCTL").fields;
  EXPECT_NE(registers.at("RCTL").fields.find("VFE"), std::string::npos);
  EXPECT_EQ(registers.at("RAL0").value, 0x12005452U);
  EXPECT_EQ(registers.at("RDLEN0").value, 80U * 16);
  EXPECT_EQ(registers.at("TDH0").value, 1U);
  EXPECT_EQ(registers.at("TDT0").value, 1U);
  EXPECT_EQ(registers.contains("SRRCTL0"), std::string(GetParam()) == "igb");
  lab.stop();
}

}  // namespace
}  // namespace spinring::test
