// The control queue: what the driver asks for arrives, a refusal is an error, silence is a timeout.

#include <array>

#include "tests/unit/pmd/virtio_rig.hpp"

namespace spinring::pmd {
namespace {

using sim::feature;

constexpr MacAddress kUnicast{0x52, 0x54, 0, 1, 2, 3};
constexpr MacAddress kUnicast2{0x52, 0x54, 0, 1, 2, 4};
constexpr MacAddress kMulticast{0x01, 0, 0x5e, 1, 2, 3};

TEST(Control, PromiscuousAsTheConfigurationSays) {
  for (const bool on : {true, false}) {
    Rig rig;
    ASSERT_OK(rig.open());
    auto config = rig.port_config();
    config.promiscuous = on;
    ASSERT_OK(rig.port->start(config));
    EXPECT_EQ(rig.device.control().promiscuous, on);
    EXPECT_EQ(rig.device.control().commands, 1U);
    ASSERT_OK(rig.port->set_promiscuous(!on));
    EXPECT_EQ(rig.device.control().promiscuous, !on);
  }
}

TEST(Control, AllMulticast) {
  Rig rig;
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  EXPECT_FALSE(rig.device.control().all_multicast);
  ASSERT_OK(rig.port->set_all_multicast(true));
  EXPECT_TRUE(rig.device.control().all_multicast);
  ASSERT_OK(rig.port->set_all_multicast(false));
  EXPECT_FALSE(rig.device.control().all_multicast);
}

TEST(Control, TheAddressOfThePort) {
  Rig rig;
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  ASSERT_OK(rig.port->set_mac(kUnicast));
  EXPECT_EQ(rig.device.control().mac, kUnicast);
  EXPECT_FAILS(rig.port->set_mac(kMulticast), Errc::kBadArgument, "multicast");
  EXPECT_EQ(rig.device.control().mac, kUnicast);
}

TEST(Control, TheFilterHasUnicastAndMulticastApart) {
  Rig rig;
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  const std::array addresses{kUnicast, kMulticast, kUnicast2};
  ASSERT_OK(rig.port->set_mac_filter(addresses));
  EXPECT_EQ(rig.device.control().unicast, (std::vector<sim::Mac>{kUnicast, kUnicast2}));
  EXPECT_EQ(rig.device.control().multicast, std::vector<sim::Mac>{kMulticast});
  ASSERT_OK(rig.port->set_mac_filter({}));
  EXPECT_TRUE(rig.device.control().unicast.empty());
  EXPECT_TRUE(rig.device.control().multicast.empty());
}

TEST(Control, AFilterOfManyAddressesFitsOrIsRefused) {
  Rig rig;
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  std::vector<MacAddress> addresses(300, kUnicast);
  ASSERT_OK(rig.port->set_mac_filter(addresses));
  EXPECT_EQ(rig.device.control().unicast.size(), 300U);
  addresses.resize(20000, kUnicast);
  EXPECT_FAILS(rig.port->set_mac_filter(addresses), Errc::kBadArgument, "too many addresses");
  EXPECT_EQ(rig.device.control().unicast.size(), 300U);
}

TEST(Control, VlansAreAddedAndTakenAway) {
  Rig rig;
  ASSERT_OK(rig.open());
  auto config = rig.port_config();
  config.vlan_filter = true;
  ASSERT_OK(rig.port->start(config));
  for (const std::uint16_t vlan : std::array<std::uint16_t, 3>{0, 100, 4095}) {
    ASSERT_OK(rig.port->set_vlan_filter(vlan, true));
  }
  EXPECT_EQ(rig.device.control().vlans, (std::set<std::uint16_t>{0, 100, 4095}));
  ASSERT_OK(rig.port->set_vlan_filter(100, false));
  EXPECT_EQ(rig.device.control().vlans, (std::set<std::uint16_t>{0, 4095}));
  EXPECT_FAILS(rig.port->set_vlan_filter(4096, true), Errc::kBadArgument, "4096");
  EXPECT_FAILS(rig.port->set_vlan_filter(100, false), Errc::kRejected, "VLAN");
}

TEST(Control, CommandsThatWereNotNegotiatedAreUnsupported) {
  RigConfig config;
  config.device.features &= ~(feature(VIRTIO_NET_F_CTRL_RX) | feature(VIRTIO_NET_F_CTRL_MAC_ADDR));
  Rig rig(config);
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  EXPECT_FAILS(rig.port->set_promiscuous(true), Errc::kUnsupported, "CTRL_RX");
  EXPECT_FAILS(rig.port->set_all_multicast(true), Errc::kUnsupported, "CTRL_RX");
  EXPECT_FAILS(rig.port->set_mac(kUnicast), Errc::kUnsupported, "CTRL_MAC_ADDR");
  EXPECT_FAILS(rig.port->set_vlan_filter(1, true), Errc::kUnsupported, "CTRL_VLAN");
  EXPECT_EQ(rig.device.control().commands, 0U);
}

TEST(Control, NothingBeforeStartAndAfterStop) {
  Rig rig;
  ASSERT_OK(rig.open());
  EXPECT_FAILS(rig.port->set_promiscuous(true), Errc::kBadState, "Start the port first");
  ASSERT_OK(rig.start());
  ASSERT_OK(rig.port->set_promiscuous(true));
  rig.port->stop();
  EXPECT_FAILS(rig.port->set_promiscuous(true), Errc::kBadState, "Start the port first");
}

TEST(Control, ManyCommandsWrapTheRing) {
  Rig rig;
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  for (int i = 0; i < 1000; ++i) {
    ASSERT_OK(rig.port->set_promiscuous(i % 2 == 0));
    ASSERT_EQ(rig.device.control().promiscuous, i % 2 == 0);
  }
  EXPECT_EQ(rig.device.control().commands, 1001U);
}

// --- a hostile device ---

TEST(HostileControl, ARefusalIsAnErrorAndTheQueueGoesOn) {
  Rig rig;
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  for (const std::uint8_t ack : std::array<std::uint8_t, 3>{VIRTIO_NET_ERR, 0x7f, 0xff}) {
    rig.device.knobs.control_ack = ack;
    EXPECT_FAILS(rig.port->set_all_multicast(true), Errc::kRejected, "all-multicast");
    EXPECT_FALSE(rig.device.control().all_multicast);
  }
  rig.device.knobs.control_ack = VIRTIO_NET_OK;
  ASSERT_OK(rig.port->set_all_multicast(true));
}

TEST(HostileControl, ADeviceThatRefusesWhileStartingFailsTheStart) {
  RigConfig config;
  config.device.max_pairs = 2;
  config.queues = 2;
  Rig rig(config);
  ASSERT_OK(rig.open());
  rig.device.knobs.control_ack = VIRTIO_NET_ERR;
  EXPECT_FAILS(rig.start(), Errc::kRejected, "queue pairs");
  EXPECT_EQ(rig.device.status(), 0);
  rig.cache->flush();
  EXPECT_EQ(rig.pool->available(), rig.pool->capacity());
  rig.device.knobs.control_ack = VIRTIO_NET_OK;
  ASSERT_OK(rig.start());
}

TEST(HostileControl, SilenceIsATimeoutUntilTheNextStart) {
  Rig rig;
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  rig.device.knobs.answers_control = false;
  EXPECT_FAILS(rig.port->set_promiscuous(true), Errc::kTimeout, "no answer");
  rig.device.knobs.answers_control = true;
  EXPECT_FAILS(rig.port->set_promiscuous(true), Errc::kTimeout, "Restart the port");
  ASSERT_TRUE(rig.device.deliver(make_frame(1, 60)));
  EXPECT_EQ(rig.receive().size(), 1U) << "packets go on";
  rig.port->stop();
  ASSERT_OK(rig.start());
  ASSERT_OK(rig.port->set_promiscuous(true));
}

TEST(HostileControl, AnAnswerForAnotherCommandIsNoAnswer) {
  Rig rig;
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  rig.device.knobs.control_wrong_id = true;
  EXPECT_FAILS(rig.port->set_promiscuous(true), Errc::kDeviceFault, "control queue");
  rig.port->stop();
  rig.device.knobs.control_wrong_id = false;
  ASSERT_OK(rig.start());
}

TEST(HostileControl, AnswersAreJudgedByTheirByteNotTheirLength) {
  // Devices disagree about the used length of a command; the byte is what counts.
  Rig rig;
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  for (const std::uint32_t length : {0U, 1U, 2U, 0xffffffffU}) {
    rig.device.knobs.control_used_length = length;
    ASSERT_OK(rig.port->set_promiscuous(true));
  }
}

TEST(HostileControl, MoreAnswersThanCommands) {
  Rig rig;
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  auto& ring = rig.device.split(rig.device.control_queue());
  ring.push_raw(0, 1);
  ring.push_raw(0, 1);
  ring.publish();
  const auto result = rig.port->set_promiscuous(true);
  ASSERT_FALSE(result.has_value());
  rig.port->stop();
  ASSERT_OK(rig.start());
  ASSERT_OK(rig.port->set_promiscuous(true));
}

}  // namespace
}  // namespace spinring::pmd
