#include "apps/testpmd/report.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace spinring::testpmd {
namespace {

using Json = nlohmann::json;

Report sample() {
  Report report;
  report.mode = ForwardMode::kMac;
  report.duration_s = 2.0;
  PortReport port;
  port.info.name = "0000:01:00.0";
  port.info.driver = "virtio-net";
  port.info.iommu_group = 7;
  port.info.mac = {0x52, 0x54, 0, 0x12, 0x34, 0x56};
  port.link = {true, 10'000, true};
  port.rx_path = "virtio split rx";
  port.tx_path = "virtio split tx";
  port.rx = {{10, 640, 1, 2, 3, 4}, {20, 1280, 0, 0, 0}};
  port.tx = {{25, 1600, 5, 1, 0, 7, 8}};
  port.flow = {30, 0, 26, 4, 0};
  port.recoveries = 2;
  report.ports = {port};
  report.lcores = {{{1, 3}, {1000, 900, 30, 3000, 90000}}};
  report.pool = {1024, 1024, 6};
  return report;
}

TEST(Report, SumsOverPortsAndQueues) {
  const Totals sum = totals(sample());
  EXPECT_EQ(sum.rx, 30U);
  EXPECT_EQ(sum.tx, 25U);
  EXPECT_EQ(sum.tx_dropped, 4U);
  EXPECT_EQ(sum.tx_rejected, 1U);
  EXPECT_DOUBLE_EQ(sum.pps, 12.5);
  EXPECT_EQ(sum.rx + sum.generated, sum.tx + sum.tx_dropped + sum.tx_rejected + sum.consumed);
}

TEST(Report, RxOnlysRateIsOfReceivedPackets) {
  Report report = sample();
  report.mode = ForwardMode::kRxOnly;
  EXPECT_DOUBLE_EQ(totals(report).pps, 15.0);
  report.duration_s = 0;
  EXPECT_EQ(totals(report).pps, 0.0);
}

TEST(ReportJson, HasEveryFieldByItsName) {
  const Json json = Json::parse(to_json(sample()));
  EXPECT_EQ(json.at("forward_mode"), "mac");
  const Json& port = json.at("ports").at(0);
  EXPECT_EQ(port.at("port"), 0);
  EXPECT_EQ(port.at("name"), "0000:01:00.0");
  EXPECT_EQ(port.at("driver"), "virtio-net");
  EXPECT_EQ(port.at("iommu_group"), 7);
  EXPECT_EQ(port.at("mac"), "52:54:00:12:34:56");
  EXPECT_EQ(port.at("present"), true);
  EXPECT_EQ(port.at("faulted"), false);
  EXPECT_EQ(port.at("link"), (Json{{"up", true}, {"speed_mbps", 10'000}, {"full_duplex", true}}));
  EXPECT_EQ(port.at("rx_path"), "virtio split rx");
  EXPECT_EQ(port.at("tx_path"), "virtio split tx");
  EXPECT_EQ(port.at("recoveries"), 2);
  EXPECT_EQ(port.at("tx_dropped"), 4);
  ASSERT_EQ(port.at("queues").size(), 2U);
  EXPECT_EQ(port.at("queues").at(0).at("queue"), 0);
  EXPECT_EQ(port.at("queues").at(0).at("rx"), (Json{{"packets", 10},
                                                    {"bytes", 640},
                                                    {"bad_completions", 1},
                                                    {"truncated", 2},
                                                    {"refill_short", 3},
                                                    {"restart_dropped", 4}}));
  EXPECT_EQ(port.at("queues").at(0).at("tx"), (Json{{"packets", 25},
                                                    {"bytes", 1600},
                                                    {"ring_full", 5},
                                                    {"rejected", 1},
                                                    {"bad_completions", 0},
                                                    {"sent_again", 7},
                                                    {"restart_dropped", 8}}));
  EXPECT_FALSE(port.at("queues").at(1).contains("tx"));
  const Json& lcore = json.at("lcores").at(0);
  EXPECT_EQ(lcore.at("lcore"), 1);
  EXPECT_EQ(lcore.at("cpu"), 3);
  EXPECT_EQ(lcore.at("packets"), 30);
  EXPECT_EQ(lcore.at("polls"), 1000);
  EXPECT_EQ(lcore.at("empty_polls"), 900);
  EXPECT_DOUBLE_EQ(lcore.at("cycles_per_packet").get<double>(), 100.0);
  EXPECT_EQ(json.at("totals").at("rx"), 30);
  EXPECT_EQ(json.at("totals").at("tx"), 25);
  EXPECT_EQ(json.at("totals").at("tx_dropped"), 4);
  EXPECT_EQ(json.at("totals").at("duration_s"), 2.0);
  EXPECT_EQ(json.at("totals").at("pps"), 12.5);
  EXPECT_EQ(json.at("pool"), (Json{{"capacity", 1024}, {"available", 1024}, {"exhausted", 6}}));
}

TEST(ReportText, IsTestpmdsBlockAndNamesDrops) {
  const std::string text = to_text(sample());
  EXPECT_NE(text.find("Forward statistics for port 0"), std::string::npos);
  EXPECT_NE(text.find("Accumulated forward statistics for all ports"), std::string::npos);
  EXPECT_NE(text.find("RX-packets: 30             RX-dropped: 3             RX-total: 33"), std::string::npos)
      << text;
  EXPECT_NE(text.find("TX-packets: 25             TX-dropped: 5             TX-total: 30"), std::string::npos)
      << text;
  for (const char* name : {"tx_dropped=4", "rx_bad_completions=1", "rx_truncated=2", "rx_refill_short=3",
                           "tx_ring_full=5", "tx_rejected=1", "tx_sent_again=7", "recoveries=2"}) {
    EXPECT_NE(text.find(name), std::string::npos) << name;
  }
  EXPECT_EQ(text.find("tx_bad_completions"), std::string::npos) << "zero: not worth a word";
  EXPECT_NE(text.find("100.0 cycles/packet"), std::string::npos);
  EXPECT_NE(text.find("CPU cycles/packet=100.00 (total cycles="), std::string::npos) << text;
}

TEST(ReportRates, AreDifferencesBySecond) {
  const Report before = sample();
  Report now = sample();
  now.ports[0].rx[0].packets += 5'000;
  now.ports[0].tx[0].packets += 3'000;
  const std::string text = to_rates(before, now, 2.0);
  EXPECT_NE(text.find(" 2500 "), std::string::npos) << text;
  EXPECT_NE(text.find(" 1500 "), std::string::npos) << text;
  EXPECT_NE(text.find("tx_dropped=4"), std::string::npos);
}

TEST(ReportRates, SurviveAClearInBetween) {
  Report now = sample();
  now.ports[0].rx = {{2, 128, 0, 0, 0}};
  const std::string text = to_rates(sample(), now, 1.0);
  EXPECT_NE(text.find(" 2 "), std::string::npos) << text;
  EXPECT_EQ(text.find('-'), std::string::npos) << "no rate of 2^64 and none below zero: " << text;
}

TEST(LinkText, SaysWhatIsKnown) {
  EXPECT_EQ(to_string(pmd::LinkState{}), "down");
  EXPECT_EQ(to_string(pmd::LinkState{.up = true}), "up");
  EXPECT_EQ(to_string(pmd::LinkState{true, 1000, false}), "up 1000 Mbps half-duplex");
}

TEST(Running, OutlivesWhatCounts) {
  Running<FlowStats> running;
  running.end_of({.sent = 5});
  EXPECT_EQ(running.total({.sent = 2}).sent, 7U);
  running.clear({.sent = 2});
  EXPECT_EQ(running.total({.sent = 2}).sent, 0U);
  EXPECT_EQ(running.total({.sent = 4}).sent, 2U);
  running.end_of({.sent = 4});
  EXPECT_EQ(running.total().sent, 2U);
}

}  // namespace
}  // namespace spinring::testpmd
