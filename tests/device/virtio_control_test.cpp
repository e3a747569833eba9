// What the port tells and sets: address, MTU, link, and the receive filters by what they let through.

#include <gtest/gtest.h>

#include "pmd/errors.hpp"
#include "tests/device/virtio_lab.hpp"

namespace spinring::test {
namespace {

constexpr pmd::MacAddress kOther{0x52, 0x54, 0x00, 0x77, 0x77, 0x77};
constexpr pmd::MacAddress kThird{0x52, 0x54, 0x00, 0x88, 0x88, 0x88};
constexpr pmd::MacAddress kBroadcast{0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
constexpr pmd::MacAddress kMulticast{0x01, 0x00, 0x5e, 0x01, 0x02, 0x03};
constexpr pmd::MacAddress kMulticast2{0x01, 0x00, 0x5e, 0x0a, 0x0b, 0x0c};

Frame tagged(std::uint16_t vlan) {
  Frame frame = make_frame(100, vlan, kMac);
  frame[12] = 0x81;
  frame[13] = 0x00;
  frame[14] = static_cast<std::uint8_t>(vlan >> 8);
  frame[15] = static_cast<std::uint8_t>(vlan);
  return frame;
}

/// Sends all frames and receives those that get through. A broadcast comes last: when it is there, so is all
/// else.
std::vector<Frame> let_through(Lab& lab, std::vector<Frame> frames) {
  const Frame end = make_frame(66, 0xe0d, kBroadcast);
  frames.push_back(end);
  lab.peer_send(frames);
  std::vector<Frame> received;
  while (true) {
    std::vector<Frame> next = lab.receive(1);
    if (next.empty()) {
      ADD_FAILURE() << "the last frame did not come";
      return received;
    }
    if (next.front() == end) return received;
    received.push_back(std::move(next.front()));
  }
}

TEST(VirtioInfo, TheDeviceTellsItsAddressMtuAndQueues) {
  Lab lab({.properties = ",host_mtu=2000"});
  EXPECT_EQ(lab.port->info().name, "qtest0");
  EXPECT_EQ(lab.port->info().driver, "virtio-net");
  EXPECT_EQ(lab.port->info().mac, kMac);
  EXPECT_EQ(lab.port->info().max_mtu, 2000U);
  EXPECT_EQ(lab.port->info().max_rx_queues, 1U);
  EXPECT_EQ(lab.port->info().iommu_group, -1);
}

TEST(VirtioInfo, ALeanDeviceIsDrivenAllTheSame) {
  // Without each optional feature in turn, and without all of them: the next best path, and traffic.
  const std::string lean =
      ",mrg_rxbuf=off,ctrl_vq=off,status=off,ctrl_rx=off,ctrl_mac_addr=off,ctrl_vlan=off";
  for (const std::string& properties :
       {std::string(",status=off"), std::string(",ctrl_vq=off"), std::string(",ctrl_rx=off"), lean,
        lean + ",event_idx=off,indirect_desc=off", std::string(",packed=on"), std::string(",in_order=on"),
        std::string(",packed=on,event_idx=off"), std::string(",in_order=on,event_idx=off"),
        std::string(",iommu_platform=on"), std::string(",mq=on")}) {
    SCOPED_TRACE(properties);
    Lab lab({.properties = properties});
    lab.start();
    EXPECT_TRUE(lab.port->link().up);
    lab.expect_traffic();
    lab.stop();
  }
}

TEST(VirtioInfo, TransitionalDevicesAreDrivenInTheirModernMode) {
  for (const char* model : {"virtio-net-pci-transitional", "virtio-net-pci-non-transitional"}) {
    SCOPED_TRACE(model);
    Lab lab({.model = model});
    lab.start();
    lab.expect_traffic();
    lab.stop();
  }
}

TEST(VirtioInfo, ADeviceWithoutAControlQueueRefusesFilters) {
  Lab lab({.properties = ",ctrl_vq=off"});
  lab.start();
  const auto refused = lab.port->set_promiscuous(false);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, pmd::Errc::kUnsupported);
  lab.expect_traffic();
}

TEST(VirtioLink, GoesDownAndUpWithTheCable) {
  Lab lab({.properties = ",speed=10000,duplex=full"});
  lab.start();
  EXPECT_EQ(lab.port->link(), (pmd::LinkState{.up = true, .speed_mbps = 10000, .full_duplex = true}));
  for (int round = 0; round < 3; ++round) {
    must(lab.machine->set_link(0, false));
    EXPECT_TRUE(wait_until([&] { return !lab.port->link().up; }, Deadline(kPatience)));
    // Without a cable frames go nowhere, and the ring does not fill for it.
    lab.send(make_frames(500, 60));
    must(lab.machine->set_link(0, true));
    EXPECT_TRUE(wait_until([&] { return lab.port->link().up; }, Deadline(kPatience)));
    while (lab.peer->receive(Deadline(50ms))) {
    }
    lab.expect_traffic(static_cast<std::uint32_t>(round));
    must(lab.port->check());
  }
  lab.stop();
}

TEST(VirtioFilter, PromiscuousLetsEverythingThrough) {
  Lab lab;
  lab.start({.promiscuous = true});
  const std::vector<Frame> all = {make_frame(70, 1, kMac), make_frame(70, 2, kOther),
                                  make_frame(70, 3, kMulticast), tagged(7)};
  EXPECT_EQ(let_through(lab, all), all);
  must(lab.port->set_promiscuous(false));
  EXPECT_EQ(let_through(lab, all), (std::vector<Frame>{all[0], all[3]}));
  must(lab.port->set_promiscuous(true));
  EXPECT_EQ(let_through(lab, all), all);
}

TEST(VirtioFilter, OnlyOurAddressWithoutPromiscuous) {
  Lab lab;
  lab.start({.promiscuous = false});
  const std::vector<Frame> all = {make_frame(70, 1, kMac), make_frame(70, 2, kOther),
                                  make_frame(70, 3, kMulticast), make_frame(70, 4, kMulticast2)};
  EXPECT_EQ(let_through(lab, all), std::vector<Frame>{all[0]});
  must(lab.port->set_all_multicast(true));
  EXPECT_EQ(let_through(lab, all), (std::vector<Frame>{all[0], all[2], all[3]}));
  must(lab.port->set_all_multicast(false));
  EXPECT_EQ(let_through(lab, all), std::vector<Frame>{all[0]});
}

TEST(VirtioFilter, TheMacTableAddsAddresses) {
  Lab lab;
  lab.start({.promiscuous = false});
  const std::vector<Frame> all = {make_frame(70, 1, kMac), make_frame(70, 2, kOther),
                                  make_frame(70, 3, kThird), make_frame(70, 4, kMulticast),
                                  make_frame(70, 5, kMulticast2)};
  must(lab.port->set_mac_filter(std::vector{kOther, kMulticast}));
  EXPECT_EQ(let_through(lab, all), (std::vector<Frame>{all[0], all[1], all[3]}));
  must(lab.port->set_mac_filter(std::vector{kThird}));
  EXPECT_EQ(let_through(lab, all), (std::vector<Frame>{all[0], all[2]}));
  must(lab.port->set_mac_filter({}));
  EXPECT_EQ(let_through(lab, all), std::vector<Frame>{all[0]});
}

TEST(VirtioFilter, ANewAddressReplacesTheOld) {
  Lab lab;
  lab.start({.promiscuous = false});
  must(lab.port->set_mac(kOther));
  const std::vector<Frame> all = {make_frame(70, 1, kMac), make_frame(70, 2, kOther)};
  EXPECT_EQ(let_through(lab, all), std::vector<Frame>{all[1]});
  EXPECT_FALSE(lab.port->set_mac(kMulticast)) << "a multicast address is nobody's own";
}

TEST(VirtioFilter, VlansAreFilteredWhenAskedFor) {
  Lab lab;
  lab.start({.promiscuous = false, .vlan_filter = true});
  // QUIRK(QEMU 8.2 to 10.0): the table starts full after a reset, where virtio 1.3, 5.1.6.5.3 has it empty.
  for (const std::uint16_t vlan : std::array<std::uint16_t, 3>{5, 6, 4095})
    must(lab.port->set_vlan_filter(vlan, false));
  const std::vector<Frame> all = {tagged(5), tagged(6), tagged(4095), make_frame(70, 1, kMac)};
  EXPECT_EQ(let_through(lab, all), std::vector<Frame>{all[3]});
  must(lab.port->set_vlan_filter(5, true));
  must(lab.port->set_vlan_filter(4095, true));
  EXPECT_EQ(let_through(lab, all), (std::vector<Frame>{all[0], all[2], all[3]}));
  must(lab.port->set_vlan_filter(5, false));
  EXPECT_EQ(let_through(lab, all), (std::vector<Frame>{all[2], all[3]}));
  EXPECT_FALSE(lab.port->set_vlan_filter(4096, true));
}

TEST(VirtioFilter, AreSetWhileTrafficRuns) {
  Lab lab;
  lab.start();
  const std::vector<Frame> frames = make_frames(200, 90);
  for (std::uint32_t round = 0; round < 10; ++round) {
    lab.peer_send(frames);
    must(lab.port->set_promiscuous(round % 2 == 0));
    must(lab.port->set_mac_filter(std::vector{kOther}));
    EXPECT_EQ(lab.receive(frames.size()), frames);
  }
  lab.stop();
}

}  // namespace
}  // namespace spinring::test
