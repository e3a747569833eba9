// The life of a port of the e1000 family: addresses, link, stop and start, a device that was pulled.

#include <gtest/gtest.h>
#include <signal.h>

#include "pmd/e1000/nvm.hpp"
#include "pmd/e1000/phy.hpp"
#include "pmd/e1000/registers.hpp"
#include "pmd/errors.hpp"
#include "tests/device/e1000_models.hpp"

namespace spinring::test {
namespace {

class E1000Life : public E1000Test {};
INSTANTIATE_TEST_SUITE_P(Models, E1000Life, kE1000Models, model_name);

TEST_P(E1000Life, KnowsItself) {
  Lab lab({.model = GetParam()});
  const pmd::PortInfo& info = lab.port->info();
  EXPECT_EQ(info.mac, kMac);
  EXPECT_EQ(info.name, "qtest0");
  const std::string model = GetParam();
  EXPECT_TRUE(info.driver.starts_with(model.substr(0, model.find('-')) + " ")) << info.driver;
  lab.start();
  EXPECT_NE(lab.port->rx_path().find("rx"), std::string::npos);
  must(lab.port->check());
}

/// The same address by way of the NVM, whose checksum is right; and the PHY answers.
TEST_P(E1000Life, NvmAndPhyAnswer) {
  using namespace pmd::e1000;
  Lab lab({.model = GetParam()});
  const bool legacy = std::string(GetParam()).find("e1000e") == std::string::npos && GetParam()[0] == 'e';
  lab.port.reset();
  auto function = must(lab.machine->function(0));
  RegisterBlock& registers = *must(function->bar(0));
  Nvm nvm(registers, (legacy ? k8254x : k82574).nvm, function->name());
  const Nvm::Words words = must(nvm.read_all());
  EXPECT_TRUE(Nvm::is_sound(words));
  EXPECT_EQ(Nvm::address(words), kMac);
  Nvm::Words broken = words;
  broken[5] ^= 1;
  EXPECT_FALSE(Nvm::is_sound(broken));
  const PhyLock lock = legacy ? PhyLock::kNone : GetParam()[0] == 'i' ? PhyLock::kSwFwSync : PhyLock::kExtcnf;
  Phy phy(registers, function->name(), lock);
  EXPECT_NE(must(phy.read(phy::kId1)), 0U);
  EXPECT_NE(must(phy.read(phy::kControl)) & phy::kAutoNegotiation, 0U);
}

TEST_P(E1000Life, TheLinkFollowsTheCable) {
  Lab lab({.model = GetParam()});
  start_with_link(lab);
  const pmd::LinkState link = lab.port->link();
  EXPECT_EQ(link.speed_mbps, 1000U);
  EXPECT_TRUE(link.full_duplex);
  lab.expect_traffic(1);
  for (std::uint32_t round = 0; round < 2; ++round) {
    must(lab.machine->set_link(0, false));
    expect_link(lab, false);
    EXPECT_EQ(lab.port->link().speed_mbps, 0U);
    must(lab.machine->set_link(0, true));
    expect_link(lab);
    lab.expect_traffic(round);
  }
  // Started without a cable: the link comes when the cable does.
  lab.stop();
  must(lab.machine->set_link(0, false));
  lab.start();
  EXPECT_FALSE(wait_until([&] { return lab.port->link().up; }, Deadline(800ms), 20ms));
  must(lab.machine->set_link(0, true));
  expect_link(lab);
  lab.expect_traffic(9);
  lab.stop();
}

TEST_P(E1000Life, StopsAndStartsWithThePoolWhole) {
  Lab lab({.model = GetParam()});
  for (std::uint32_t round = 0; round < 4; ++round) {
    SCOPED_TRACE(round);
    const auto ring = static_cast<std::uint16_t>(round % 2 == 0 ? 256 : 80);
    start_with_link(lab, {.rx_ring = ring, .tx_ring = ring});
    lab.stop_with_frames_under_way(round);
    start_with_link(lab);
    while (!lab.receive(1, 1, 0, 1200ms).empty()) {
    }
    lab.stop();
  }
}

TEST_P(E1000Life, APortThatRunsIsNotStartedAgain) {
  Lab lab({.model = GetParam()});
  start_with_link(lab);
  pmd::PortConfig<pmd::SpinringPackets> config{.rx = {{0, lab.cache.get()}}, .tx = {{0, lab.cache.get()}}};
  const auto refused = lab.port->start(config);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, pmd::Errc::kBadState);
  lab.expect_traffic();
}

TEST_P(E1000Life, WhatTheDeviceCannotDoIsRefused) {
  Lab lab({.model = GetParam()});
  pmd::PortConfig<pmd::SpinringPackets> config{.rx = {{0, lab.cache.get()}}, .tx = {{0, lab.cache.get()}}};
  const auto refuse = [&](pmd::Errc code, const char* text) {
    const auto refused = lab.port->start(config);
    ASSERT_FALSE(refused) << text;
    EXPECT_EQ(refused.error().code, code) << text;
    EXPECT_NE(refused.error().message().find(text), std::string::npos) << refused.error().message();
  };
  config.offloads = pmd::Offload::kTxSegmentUdp;
  refuse(pmd::Errc::kUnsupported, "tx-segment-udp");
  config.offloads = {};
  config.mtu = static_cast<std::uint16_t>(lab.port->info().max_mtu + 1);
  refuse(pmd::Errc::kBadArgument, "MTU");
  config.mtu = 0;
  config.rx.assign(17, {0, lab.cache.get()});
  refuse(pmd::Errc::kBadArgument, "queues");
  config.rx.assign(1, {0, nullptr});
  refuse(pmd::Errc::kBadArgument, "cache");
  EXPECT_EQ(lab.port->set_promiscuous(true).error().code, pmd::Errc::kBadState);
  lab.expect_whole_pool();
  start_with_link(lab);
  lab.expect_traffic();
}

TEST_P(E1000Life, AnUnpluggedDeviceIsReportedAndHoldsNothing) {
  Lab lab({.model = GetParam()});
  start_with_link(lab);
  lab.expect_traffic();
  must(lab.machine->unplug(0));
  const auto gone = lab.port->check();
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code, pmd::Errc::kRemoved);
  EXPECT_FALSE(lab.port->link().up);
  // The lcore may still be polling for a while.
  mempool::Packet* packet = lab.packet(make_frame(60, 1, kMac));
  if (lab.port->tx(0).burst({&packet, 1}) == 0) lab.cache->put_chain(packet);
  EXPECT_TRUE(lab.receive(1, 1, 0, 20ms).empty());
  lab.stop();
  pmd::PortConfig<pmd::SpinringPackets> config{.rx = {{0, lab.cache.get()}}, .tx = {{0, lab.cache.get()}}};
  EXPECT_EQ(lab.port->start(config).error().code, pmd::Errc::kRemoved);
}

TEST_P(E1000Life, QemusDeathIsReportedAndThePoolIsWhole) {
  Lab lab({.model = GetParam()});
  start_with_link(lab);
  lab.expect_traffic();
  ASSERT_EQ(::kill(lab.machine->qemu_pid(), SIGKILL), 0);
  ASSERT_TRUE(wait_until([&] { return !lab.port->check(); }, Deadline(kPatience)));
  EXPECT_EQ(lab.port->check().error().code, pmd::Errc::kRemoved);
  std::vector<mempool::Packet*> packets;
  for (const Frame& frame : make_frames(64, 60)) packets.push_back(lab.packet(frame));
  const std::uint16_t taken = lab.port->tx(0).burst(packets);
  for (std::size_t i = taken; i < packets.size(); ++i) lab.cache->put_chain(packets[i]);
  lab.stop();
}

}  // namespace
}  // namespace spinring::test
