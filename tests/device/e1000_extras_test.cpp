// What some of the family's devices have beyond frames: flow control, SCTP's checksum, times of arrival.

#include <gtest/gtest.h>

#include <map>

#include "pmd/errors.hpp"
#include "tests/device/e1000_models.hpp"

namespace spinring::test {
namespace {

using pmd::Offload;

class E1000Extras : public E1000Test {};
INSTANTIATE_TEST_SUITE_P(Models, E1000Extras, kE1000Models, model_name);

std::map<std::string, pmd::RegisterDump> registers(Lab& lab) {
  std::map<std::string, pmd::RegisterDump> all;
  for (const auto& reg : lab.port->registers()) all.emplace(reg.name, reg);
  return all;
}
bool has_field(const pmd::RegisterDump& reg, const std::string& field) {
  return (" " + reg.fields + " ").find(" " + field + " ") != std::string::npos;
}

/// What the models keep of it is the registers: QUIRK(QEMU), none of them sends or obeys a pause frame, and
/// e1000 has CTRL's bits alone.
bool keeps_marks(std::string_view model) { return model == "e1000e" || model == "igb"; }

void expect_pauses(Lab& lab, bool rx, bool tx) {
  const pmd::RegisterDump ctrl = registers(lab).at("CTRL");
  EXPECT_EQ(has_field(ctrl, "RFCE"), rx) << ctrl.fields;
  EXPECT_EQ(has_field(ctrl, "TFCE"), tx) << ctrl.fields;
}
void expect_marks(Lab& lab, std::uint32_t fcrth, std::uint32_t fcrtl) {
  auto now = registers(lab);
  EXPECT_EQ(now.at("FCRTH").value, fcrth);
  EXPECT_EQ(now.at("FCRTL").value, fcrtl);
}

TEST_P(E1000Extras, FlowControlIsInTheRegisters) {
  Lab lab({.model = GetParam()});
  const bool keeps = keeps_marks(GetParam());
  constexpr std::uint32_t kXone = 1U << 31;
  must(lab.port->set_flow_control({.rx = true, .tx = true, .pause_time = 0x1234}));
  start_with_link(lab);
  expect_pauses(lab, true, true);
  const pmd::FlowControl set = must(lab.port->flow_control());
  EXPECT_GT(set.low_water, 0U);
  EXPECT_GT(set.high_water, set.low_water);
  if (keeps) {
    expect_marks(lab, set.high_water, set.low_water | kXone);
    auto now = registers(lab);
    EXPECT_EQ(now.at("FCAL").value, 0x00C28001U);
    EXPECT_EQ(now.at("FCAH").value, 0x0100U);
    EXPECT_EQ(now.at("FCT").value, 0x8808U);
    EXPECT_EQ(now.at("FCTTV").value, 0x1234U);
  }
  lab.expect_traffic();
  must(lab.port->set_flow_control(
      {.rx = true, .tx = true, .high_water = 8192, .low_water = 4096, .send_xon = false}));
  if (keeps) expect_marks(lab, 8192, 4096);
  must(lab.port->set_flow_control({.rx = true}));
  expect_pauses(lab, true, false);
  if (keeps) expect_marks(lab, 0, 0);
  must(lab.port->set_flow_control({}));
  expect_pauses(lab, false, false);
  std::vector<std::string> names;
  for (const auto& stat : lab.port->extended_stats()) names.push_back(stat.name);
  for (const char* name : {"rx_xon_packets", "tx_xon_packets", "rx_xoff_packets", "tx_xoff_packets"})
    EXPECT_EQ(std::count(names.begin(), names.end(), name), 1) << name;
  lab.expect_traffic(2);
  lab.stop();
}

TEST_P(E1000Extras, MarksThatDoNotFitAreRefused) {
  Lab lab({.model = GetParam()});
  for (const auto& [high, low] : {std::pair{4096U, 4096U}, std::pair{4096U, 8192U}, std::pair{8193U, 4096U},
                                  std::pair{0x20000U, 4096U}}) {
    const auto refused = lab.port->set_flow_control({.tx = true, .high_water = high, .low_water = low});
    ASSERT_FALSE(refused) << high << ' ' << low;
    EXPECT_EQ(refused.error().code, pmd::Errc::kBadArgument);
    EXPECT_NE(refused.error().message().find("multiples of 16"), std::string::npos)
        << refused.error().message();
  }
  EXPECT_FALSE(must(lab.port->flow_control()).tx) << "as it was";
}

TEST_P(E1000Extras, MarksLeaveRoomForTheLongestFrames) {
  Lab lab({.model = GetParam()});
  must(lab.port->set_flow_control({.tx = true}));
  const std::uint32_t standard = must(lab.port->flow_control()).high_water;
  lab.start({.mtu = 9000});
  const pmd::FlowControl jumbo = must(lab.port->flow_control());
  EXPECT_LT(jumbo.high_water, standard);
  EXPECT_LT(jumbo.low_water, jumbo.high_water);
  if (keeps_marks(GetParam())) {
    EXPECT_EQ(registers(lab).at("FCRTH").value, jumbo.high_water);
  }
  lab.stop();
}

TEST_P(E1000Extras, WhatADeviceLacksIsRefused) {
  const bool has = std::string(GetParam()) == "igb";
  Lab lab({.model = GetParam()});
  for (const Offload offload : {Offload::kTxSctpChecksum, Offload::kRxTimestamp})
    EXPECT_EQ(lab.port->info().offloads.has(offload), has);
  lab.start();
  EXPECT_EQ(lab.port->rx_timestamp().error().code, pmd::Errc::kBadState);
  EXPECT_EQ(lab.port->device_time().error().code, pmd::Errc::kBadState);
}

/// A frame that scapy 2.5 built: Ether / IP or IPv6 / SCTP / SCTPChunkData.
Frame from_hex(const std::string& text) {
  Frame frame;
  for (std::size_t at = 0; at < text.size(); at += 2)
    frame.push_back(static_cast<std::uint8_t>(std::stoul(text.substr(at, 2), nullptr, 16)));
  return frame;
}
struct SctpFrame {
  Frame whole;
  std::uint16_t l4;
};
const std::vector<SctpFrame> kSctp{
    {from_hex("525400123456525400aabbcc08004500004c4321000040841d090a010203c0a84d580b590b590102030480340fdc00"
              "00002900"
              "0000070001000000000000612072696e67206f66207061636b6574732c20737072756e67000000"),
     34},
    {from_hex("525400123456525400aabbcc86dd6000000000388440fd000000000000000000000100020003fd0000070008000000"
              "000000"
              "000000090b590b590102030480340fdc00000029000000070001000000000000612072696e67206f66207061636b65"
              "74732c20"
              "737072756e67000000"),
     54}};

TEST(IgbSctp, ChecksumsAreFilledIn) {
  Lab lab({.model = "igb"});
  start_with_link(lab,
                  {.offloads = Offload::kTxSctpChecksum | Offload::kTxChecksum | Offload::kTxIpChecksum});
  for (const SctpFrame& frame : {kSctp[0], kSctp[1], kSctp[0]}) {
    Frame bare = frame.whole;
    std::fill_n(bare.begin() + frame.l4 + 8, 4, std::uint8_t{0xEE});
    if (frame.l4 == 34) bare[24] = bare[25] = 0;
    mempool::Packet* packet = lab.packet(bare);
    packet->offloads =
        mempool::kTxSctpChecksum | (frame.l4 == 34 ? std::uint32_t{mempool::kTxIpChecksum} : 0U);
    packet->csum_start = frame.l4;
    packet->csum_offset = 8;
    ASSERT_EQ(lab.port->tx(0).burst({&packet, 1}), 1U);
    EXPECT_EQ(lab.peer_receive(1), std::vector<Frame>{frame.whole});
    lab.expect_traffic();
  }
  const auto rejected = [&](std::uint32_t offloads, std::uint16_t offset) {
    mempool::Packet* packet = lab.packet(kSctp[0].whole);
    packet->offloads = offloads;
    packet->csum_start = 34;
    packet->csum_offset = offset;
    const std::uint64_t before = lab.port->tx_stats(0).rejected;
    EXPECT_EQ(lab.port->tx(0).burst({&packet, 1}), 1U);
    return lab.port->tx_stats(0).rejected == before + 1;
  };
  EXPECT_TRUE(rejected(mempool::kTxSctpChecksum, 16)) << "where TCP has it";
  EXPECT_TRUE(rejected(mempool::kTxSctpChecksum | mempool::kTxChecksum, 8));
  EXPECT_TRUE(rejected(mempool::kTxChecksum, 8)) << "no sum of ones' complements lies there";
  lab.stop();
}

mempool::Packet* received(Lab& lab, const Frame& frame) {
  lab.peer_send({frame});
  mempool::Packet* const packet = lab.receive_packet();
  EXPECT_NE(packet, nullptr);
  if (packet != nullptr) {
    EXPECT_EQ(bytes_of(packet), frame);
  }
  return packet;
}

TEST(IgbSctp, ReceivedChecksumsAreJudged) {
  Lab lab({.model = "igb"});
  start_with_link(lab, {.offloads = Offload::kRxChecksum});
  for (const SctpFrame& frame : kSctp) {
    Frame bad = frame.whole;
    bad.back() ^= 1;
    for (const auto& [sent, note] :
         {std::pair{frame.whole, mempool::kRxChecksumGood}, std::pair{bad, mempool::kRxChecksumBad}}) {
      mempool::Packet* const packet = received(lab, sent);
      ASSERT_NE(packet, nullptr);
      EXPECT_EQ(packet->offloads, note);
      lab.cache->put_chain(packet);
    }
  }
  lab.stop();
}

/// IEEE 1588-2008 over Ethernet: Sync, version 2.
Frame sync_message(std::uint8_t sequence) {
  Frame frame = make_frame(80, sequence, kMac);
  frame[12] = 0x88;
  frame[13] = 0xF7;
  frame[14] = 0;  // Sync
  frame[15] = 2;  // version
  return frame;
}

TEST(IgbTimestamps, SyncMessagesGetTheTimeOfTheirArrivalOneAtATime) {
  Lab lab({.model = "igb"});
  start_with_link(lab, {.offloads = Offload::kRxTimestamp});
  const auto flagged = [&](const Frame& frame) {
    mempool::Packet* const packet = received(lab, frame);
    if (packet == nullptr) return false;
    const bool kept = packet->offloads == mempool::kRxTimestampKept;
    EXPECT_TRUE(kept || packet->offloads == 0);
    lab.cache->put_chain(packet);
    return kept;
  };
  EXPECT_FALSE(must(lab.port->rx_timestamp())) << "none yet";
  EXPECT_FALSE(flagged(make_frame(80, 1, kMac))) << "no PTP";
  auto before = must(lab.port->device_time());
  EXPECT_LT(before, std::chrono::minutes(1)) << "it began at the start, in nanoseconds";
  for (std::uint8_t round = 1; round < 4; ++round) {
    EXPECT_TRUE(flagged(sync_message(round)));
    EXPECT_FALSE(flagged(sync_message(round))) << "until the first was read";
    const auto after = must(lab.port->device_time());
    const auto stamp = must(lab.port->rx_timestamp());
    ASSERT_TRUE(stamp);
    EXPECT_GE(*stamp, before);
    EXPECT_LE(*stamp, after);
    EXPECT_FALSE(must(lab.port->rx_timestamp())) << "read once";
    before = after;
  }
  lab.stop();
  start_with_link(lab);
  EXPECT_FALSE(flagged(sync_message(9))) << "not asked for";
  lab.stop();
}

}  // namespace
}  // namespace spinring::test
