#include "apps/testpmd/options.hpp"

#include <gtest/gtest.h>

namespace spinring::testpmd {
namespace {

using Arguments = std::vector<std::string>;

/// Options of a run with one port.
tl::expected<Options, Usage> parse(const Arguments& machine, const Arguments& forward) {
  Arguments all{"--vdev", "qtest0"};
  all.insert(all.end(), machine.begin(), machine.end());
  all.emplace_back("--");
  all.insert(all.end(), forward.begin(), forward.end());
  return parse_options(all);
}

Options good(const Arguments& machine, const Arguments& forward) {
  const auto options = parse(machine, forward);
  EXPECT_TRUE(options) << options.error().text;
  return options.value_or(Options{});
}

TEST(Options, HaveTheDefaultsThatTheHelpNames) {
  const Options options = good({}, {});
  EXPECT_TRUE(options.machine.lcores.empty());
  EXPECT_TRUE(options.machine.hugepages);
  EXPECT_EQ(options.machine.huge_page_size, 2UL << 20);
  EXPECT_FALSE(options.machine.no_iommu);
  EXPECT_EQ(options.forward.mode, ForwardMode::kIo);
  EXPECT_EQ(options.forward.topology, PortTopology::kPaired);
  EXPECT_EQ(options.forward.burst, 32);
  EXPECT_EQ(options.forward.rx_queues, 1);
  EXPECT_EQ(options.forward.duration_s, 0.0);
  EXPECT_EQ(options.forward.idle.kind, lcore::Idle::kPause);
  EXPECT_TRUE(options.forward.auto_recover);
  EXPECT_FALSE(options.forward.interactive);
}

TEST(Options, BeforeTheDashesAreTheMachines) {
  const auto options = parse_options({"-l", "2,0-1", "-a", "0000:01:00.0", "-a", "0000:02:00.0", "--vdev",
                                      "qtest0,model=virtio-net-pci,queues=2", "--vdev", "qtest1", "--no-huge",
                                      "-m", "64", "--huge-size", "1G", "--no-iommu", "--log-level", "debug"});
  ASSERT_TRUE(options) << options.error().text;
  const MachineOptions& machine = options->machine;
  EXPECT_EQ(machine.lcores, (std::vector<lcore::LcoreSpec>{{2, 2}, {0, 0}, {1, 1}}));
  EXPECT_EQ(machine.pci, (Arguments{"0000:01:00.0", "0000:02:00.0"}));
  EXPECT_EQ(machine.vdevs, (Arguments{"qtest0,model=virtio-net-pci,queues=2", "qtest1"}));
  EXPECT_FALSE(machine.hugepages);
  EXPECT_EQ(machine.memory_mb, 64U);
  EXPECT_EQ(machine.huge_page_size, 1UL << 30);
  EXPECT_TRUE(machine.no_iommu);
  EXPECT_EQ(machine.log_level, LogVerbosity::kDebug);
}

TEST(Options, LcoresMayShareACpu) {
  EXPECT_EQ(good({"--lcores", "0@0,1@0"}, {}).machine.lcores,
            (std::vector<lcore::LcoreSpec>{{0, 0}, {1, 0}}));
}

TEST(Options, AfterTheDashesAreTheForwarders) {
  const Options options = good({}, {"-i",
                                    "-a",
                                    "--forward-mode=macswap",
                                    "--rxq=2",
                                    "--txq=3",
                                    "--rxd=512",
                                    "--txd=120",
                                    "--rx-fill=96",
                                    "--burst=64",
                                    "--burst-tx-retry-num=100",
                                    "--nb-cores=1",
                                    "--port-topology=chained",
                                    "--tx-first",
                                    "--stats-period=1",
                                    "--duration=2.5",
                                    "--json=-",
                                    "--total-num-mbufs=5000",
                                    "--mbuf-size=4096",
                                    "--txpkts=1500",
                                    "--eth-peer=0,02:0a:00:00:00:Ff",
                                    "--no-flush-rx",
                                    "--idle=sleep",
                                    "--no-auto-recover"});
  const ForwardOptions& forward = options.forward;
  EXPECT_TRUE(forward.interactive);
  EXPECT_TRUE(forward.auto_start);
  EXPECT_EQ(forward.mode, ForwardMode::kMacSwap);
  EXPECT_EQ(forward.rx_queues, 2);
  EXPECT_EQ(forward.tx_queues, 3);
  EXPECT_EQ(forward.rx_ring, 512);
  EXPECT_EQ(forward.tx_ring, 120);
  EXPECT_EQ(forward.rx_fill, 96);
  EXPECT_EQ(forward.burst, 64);
  EXPECT_EQ(forward.tx_retries, 100U);
  EXPECT_EQ(forward.forwarding_cores, 1U);
  EXPECT_EQ(forward.topology, PortTopology::kChained);
  EXPECT_EQ(forward.tx_first, 1U);
  EXPECT_EQ(forward.stats_period_s, 1.0);
  EXPECT_EQ(forward.duration_s, 2.5);
  EXPECT_EQ(forward.json_file, "-");
  EXPECT_EQ(forward.packets, 5000U);
  EXPECT_EQ(forward.buffer_length, 4096);
  EXPECT_EQ(forward.tx_length, 1500);
  EXPECT_EQ(forward.peers.at(0), (pmd::MacAddress{2, 0x0a, 0, 0, 0, 0xff}));
  EXPECT_EQ(forward.idle.kind, lcore::Idle::kSleep);
  EXPECT_FALSE(forward.auto_recover);
}

TEST(Options, OfOffloadsRssAndTheLongestFrame) {
  const ForwardOptions none = good({}, {}).forward;
  EXPECT_FALSE(none.rx_checksum || none.coalesce);
  EXPECT_EQ(none.rss_types, 0U);
  EXPECT_EQ(none.mtu, 0);
  const ForwardOptions all =
      good({}, {"--enable-rx-cksum", "--enable-lro", "--rss-ip", "--max-pkt-len=9018"}).forward;
  EXPECT_TRUE(all.rx_checksum && all.coalesce);
  EXPECT_EQ(all.rss_types, pmd::kRssIpv4 | pmd::kRssIpv6);
  EXPECT_EQ(all.mtu, 9000);
  EXPECT_EQ(good({}, {"--rss-udp"}).forward.rss_types,
            pmd::kRssIpv4 | pmd::kRssIpv6 | pmd::kRssUdpIpv4 | pmd::kRssUdpIpv6);
  EXPECT_EQ(good({}, {"--max-pkt-len=86"}).forward.mtu, 68);
  EXPECT_FALSE(parse({}, {"--max-pkt-len=85"}));
  EXPECT_FALSE(parse({}, {"--max-pkt-len=65536"}));
}

TEST(Options, TakeTheirValueAlsoAsTheNextWord) {
  const Options options = good({"-m", "32"}, {"--forward-mode", "rxonly", "--rxq", "4"});
  EXPECT_EQ(options.machine.memory_mb, 32U);
  EXPECT_EQ(options.forward.mode, ForwardMode::kRxOnly);
  EXPECT_EQ(options.forward.rx_queues, 4);
}

TEST(Options, EveryModeTopologyAndIdleHasItsName) {
  for (const auto& [name, mode] : kForwardModes) {
    EXPECT_EQ(good({}, {"--forward-mode=" + std::string(name)}).forward.mode, mode);
    EXPECT_EQ(name_of(kForwardModes, mode), name);
  }
  for (const auto& [name, topology] : kPortTopologies) {
    EXPECT_EQ(good({}, {"--port-topology=" + std::string(name)}).forward.topology, topology);
  }
  EXPECT_EQ(good({}, {"--idle=spin"}).forward.idle.kind, lcore::Idle::kSpin);
}

struct Mistake {
  Arguments machine;
  Arguments forward;
  std::string option;  ///< that the text must name
  std::string valid;   ///< what it must say is valid
};

class BadOptions : public testing::TestWithParam<Mistake> {};

TEST_P(BadOptions, AreRefusedWithNameAndRangeAndExitCode2) {
  const auto options = parse(GetParam().machine, GetParam().forward);
  ASSERT_FALSE(options);
  EXPECT_EQ(options.error().exit_code, 2);
  EXPECT_NE(options.error().text.find(GetParam().option), std::string::npos) << options.error().text;
  EXPECT_NE(options.error().text.find(GetParam().valid), std::string::npos) << options.error().text;
  EXPECT_EQ(options.error().text.back(), '\n');
}

INSTANTIATE_TEST_SUITE_P(
    All, BadOptions,
    testing::Values(
        Mistake{{"-l", "0-x"}, {}, "-l", "0-3,5"}, Mistake{{"-l", "1,1"}, {}, "-l", "twice"},
        Mistake{{"-l"}, {}, "-l", "required"}, Mistake{{"--lcores", "0@"}, {}, "--lcores", "0@0,1@1"},
        Mistake{{"-l", "0", "--lcores", "0"}, {}, "--lcores", "excludes"},
        Mistake{{"-m", "0"}, {}, "-m", "1 to 1048576"}, Mistake{{"-m", "x"}, {}, "-m", "x"},
        Mistake{{"--huge-size", "4M"}, {}, "--huge-size", "{2M,1G}"},
        Mistake{{"--log-level", "loud"}, {}, "--log-level", "{debug,info,warning,error}"},
        Mistake{{"--burst", "8"}, {}, "--burst", "not expected"},
        Mistake{{}, {"--vdev", "qtest1"}, "--vdev", "not expected"},
        Mistake{{}, {"--forward-mode=icmpecho"}, "--forward-mode", "{io,mac,macswap,rxonly,txonly}"},
        Mistake{{}, {"--port-topology=ring"}, "--port-topology", "{paired,chained,loop}"},
        Mistake{{}, {"--rxq=0"}, "--rxq", "1 to 64"}, Mistake{{}, {"--txq=65"}, "--txq", "1 to 64"},
        Mistake{{}, {"--rxd=7"}, "--rxd", "8 to 32768"}, Mistake{{}, {"--txd=65536"}, "--txd", "8 to 32768"},
        Mistake{{}, {"--burst=513"}, "--burst", "1 to 512"}, Mistake{{}, {"--burst=-1"}, "--burst", "-1"},
        Mistake{{"-l", "0,1"}, {"--nb-cores=2"}, "--nb-cores", "1 to 1"},
        Mistake{{}, {"--stats-period=-1"}, "--stats-period", "0 to 86400"},
        Mistake{{}, {"--duration=soon"}, "--duration", "soon"},
        Mistake{{}, {"--total-num-mbufs=0"}, "--total-num-mbufs", "1 to 16777216"},
        Mistake{{}, {"--mbuf-size=100"}, "--mbuf-size", "256 to 65472"},
        Mistake{{}, {"--txpkts=10"}, "--txpkts", "60 to"},
        Mistake{{}, {"--txpkts=9000"}, "--txpkts", "60 to 2164 with --mbuf-size=2304"},
        Mistake{{}, {"--eth-peer=0"}, "--eth-peer", "PORT,MAC"},
        Mistake{{}, {"--eth-peer=0,02:00:00:00:00:0g"}, "--eth-peer", "0,02:00:00:00:00:01"},
        Mistake{{}, {"--eth-peer=1,02:00:00:00:00:01"}, "--eth-peer", "ports are 0 to 0"},
        Mistake{{}, {"--idle=nap"}, "--idle", "{spin,pause,sleep}"},
        Mistake{{}, {"--json"}, "--json", "required"},
        Mistake{{}, {"--no-such-option"}, "--no-such-option", "--help"}));

TEST(Options, WithoutAPortSayHowToNameOne) {
  const auto options = parse_options({"-l", "0"});
  ASSERT_FALSE(options);
  EXPECT_EQ(options.error().exit_code, 2);
  EXPECT_NE(options.error().text.find("-a 0000:01:00.0"), std::string::npos);
}

TEST(Options, HelpAndVersionAreNoMistakes) {
  for (const Arguments& arguments : {Arguments{"--help"}, Arguments{"--", "--help"}}) {
    const auto help = parse_options(arguments);
    ASSERT_FALSE(help);
    EXPECT_EQ(help.error().exit_code, 0);
    EXPECT_NE(help.error().text.find("--forward-mode"), std::string::npos);
    EXPECT_NE(help.error().text.find("--vdev"), std::string::npos);
  }
  EXPECT_EQ(parse_options({"--version"}).error().exit_code, 0);
}

TEST(ParseMac, TakesSixPairsAndNothingElse) {
  EXPECT_EQ(pmd::parse_mac("52:54:00:aB:Cd:09"), (pmd::MacAddress{0x52, 0x54, 0, 0xab, 0xcd, 9}));
  for (const char* bad : {"", "52:54:00:00:00", "52:54:00:00:00:0", "52-54-00-00-00-00", "52:54:00:00:00:000",
                          "5x:54:00:00:00:00"}) {
    EXPECT_FALSE(pmd::parse_mac(bad)) << bad;
  }
}

}  // namespace
}  // namespace spinring::testpmd
