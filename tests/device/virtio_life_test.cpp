// A port's life: stop and start, a device that broke down, one that was pulled, a QEMU that died.

#include <gtest/gtest.h>
#include <signal.h>

#include "pmd/errors.hpp"
#include "tests/device/virtio_lab.hpp"

namespace spinring::test {
namespace {

TEST(VirtioLife, StopsAndStartsTwentyTimesWithThePoolWhole) {
  Lab lab;
  for (std::uint32_t round = 0; round < 20; ++round) {
    SCOPED_TRACE(round);
    lab.start({.rx_ring = static_cast<std::uint16_t>(round % 2 == 0 ? 256 : 64)});
    lab.stop_with_frames_under_way(round);
    lab.start();
    while (!lab.receive(1, 1, 0, 20ms).empty()) {
    }
    lab.stop();
  }
}

TEST(VirtioLife, APortThatRunsIsNotStartedAgain) {
  Lab lab;
  lab.start();
  pmd::PortConfig<pmd::SpinringPackets> config{.rx = {{0, lab.cache.get()}}, .tx = {{0, lab.cache.get()}}};
  const auto refused = lab.port->start(config);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, pmd::Errc::kBadState);
  lab.expect_traffic();
}

TEST(VirtioLife, APortIsClosedAndOpenedAgain) {
  Lab lab;
  for (std::uint32_t round = 0; round < 5; ++round) {
    lab.start();
    lab.expect_traffic(round);
    lab.port.reset();
    lab.expect_whole_pool();
    lab.port = must(pmd::open_port(must(lab.machine->function(0)), *lab.memory));
  }
}

/// A packet whose pieces lie in no region that the device can reach.
mempool::Packet* astray(Lab& lab) {
  mempool::Packet* packet = lab.packet(make_frame(6000, 1, kMac), 2000);
  for (mempool::Packet* part = packet; part != nullptr; part = part->next) part->region = kMaxRegions - 1;
  return packet;
}

TEST(VirtioLife, ADeviceThatWasGivenABadDescriptorSaysSoAndIsMendedByARestart) {
  Lab lab;
  const RegionId region = lab.memory->regions().front().id;
  for (std::uint32_t round = 0; round < 3; ++round) {
    lab.start();
    lab.expect_traffic(round);
    must(lab.port->check());
    mempool::Packet* packet = astray(lab);
    std::vector<mempool::Packet*> parts;
    for (mempool::Packet* part = packet; part != nullptr; part = part->next) parts.push_back(part);
    ASSERT_EQ(lab.port->tx(0).burst({&packet, 1}), 1U);
    // QEMU finds no memory at the address, breaks the device off and sets DEVICE_NEEDS_RESET
    // (virtio 1.2, 2.1).
    ASSERT_TRUE(wait_until([&] { return !lab.port->check(); }, Deadline(kPatience)));
    const auto fault = lab.port->check();
    EXPECT_EQ(fault.error().code, pmd::Errc::kDeviceFault);
    EXPECT_NE(fault.error().message().find("NEEDS_RESET"), std::string::npos) << fault.error().message();
    for (mempool::Packet* part : parts) part->region = region;
    lab.stop();
  }
  lab.start();
  must(lab.port->check());
  lab.expect_traffic();
}

TEST(VirtioLife, AnUnpluggedDeviceIsReportedAndHoldsNothing) {
  Lab lab;
  lab.start();
  lab.expect_traffic();
  must(lab.machine->unplug(0));
  const auto gone = lab.port->check();
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code, pmd::Errc::kRemoved);
  // The lcore may still be polling for a while.
  mempool::Packet* packet = lab.packet(make_frame(60, 1, kMac));
  if (lab.port->tx(0).burst({&packet, 1}) == 0) lab.cache->put_chain(packet);
  EXPECT_TRUE(lab.receive(1, 1, 0, 20ms).empty());
  lab.stop();
  pmd::PortConfig<pmd::SpinringPackets> config{.rx = {{0, lab.cache.get()}}, .tx = {{0, lab.cache.get()}}};
  EXPECT_FALSE(lab.port->start(config));
}

TEST(VirtioLife, QemusDeathIsReportedAndThePoolIsWhole) {
  Lab lab;
  lab.start();
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

TEST(VirtioLife, TwoMachinesShareOneMemory) {
  Lab lab;
  const TempDir dir;
  FramePeer peer(dir.file("wire"));
  auto second = must(pmd::QtestMachine::start(
      *lab.memory, {.netdevs = {"stream,id=n0,server=off,addr.type=unix,addr.path=" + dir.file("wire")},
                    .devices = {{"qtest1", "virtio-net-pci,netdev=n0"}}}));
  auto port = must(pmd::open_port(must(second->function(0)), *lab.memory));
  lab.start();
  must(port->start({.rx = {{0, lab.cache.get()}}, .tx = {{0, lab.cache.get()}}}));
  // A packet received by one device is sent by the other, as it is.
  const std::vector<Frame> frames = make_frames(50, 500);
  lab.peer_send(frames);
  const auto rx = lab.port->rx(0);
  const auto tx = port->tx(0);
  std::size_t forwarded = 0;
  const Deadline deadline(kPatience);
  while (forwarded < frames.size() && !deadline.passed()) {
    mempool::Packet* packets[32];
    const std::uint16_t got = rx.burst(packets);
    ASSERT_EQ(tx.burst(std::span(packets).first(got)), got);
    forwarded += got;
  }
  for (const Frame& frame : frames) EXPECT_EQ(peer.receive(Deadline(kPatience)), frame);
  port.reset();
  lab.stop();
}

}  // namespace
}  // namespace spinring::test
