// What QEMU's virtio-net offers beside moving frames: reset of single queues, announcements, the MTU.

#include <gtest/gtest.h>

#include "pmd/errors.hpp"
#include "tests/device/virtio_lab.hpp"

namespace spinring::test {
namespace {

using pmd::Direction;

TEST(VirtioQueueReset, OneQueueIsStoppedAndStartedWhileTheOtherRuns) {
  for (const std::string ring : {"", ",packed=on", ",in_order=on"}) {
    SCOPED_TRACE(ring);
    Lab lab({.properties = ring});
    lab.start({.rx_ring = 64, .tx_ring = 64});
    for (std::uint32_t round = 0; round < 3; ++round) {
      lab.expect_traffic(round);
      const std::vector<Frame> frames = make_frames(100, 200, 100 * round);
      must(lab.port->stop_queue(Direction::kTx, 0));
      must(lab.port->check());
      lab.peer_send(frames);
      EXPECT_EQ(lab.receive(frames.size()), frames) << "rx goes on";
      mempool::Packet* packet = lab.packet(frames[0]);
      EXPECT_EQ(lab.port->tx(0).burst({&packet, 1}), 0) << "tx does not";
      lab.cache->put_chain(packet);
      must(lab.port->start_queue(Direction::kTx, 0));
      lab.send(frames);
      EXPECT_EQ(lab.peer_receive(frames.size()), frames);
      must(lab.port->stop_queue(Direction::kRx, 0));
      lab.send(frames);
      EXPECT_EQ(lab.peer_receive(frames.size()), frames) << "tx goes on";
      must(lab.port->start_queue(Direction::kRx, 0));
      lab.peer_send(frames);
      EXPECT_EQ(lab.receive(frames.size()), frames);
    }
    EXPECT_EQ(lab.port->rx_stats(0).bad_completions, 0U);
    lab.stop();
  }
}

TEST(VirtioQueueReset, IsRefusedWithoutTheFeature) {
  Lab lab({.properties = ",queue_reset=off"});
  lab.start();
  const auto refused = lab.port->stop_queue(Direction::kRx, 0);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, pmd::Errc::kUnsupported);
  lab.expect_traffic();
}

TEST(VirtioAnnounce, ARequestIsAnswered) {
  Lab lab;
  lab.start();
  EXPECT_TRUE(lab.port->link().up);
  EXPECT_EQ(lab.port->announcements(), 0U);
  must(lab.machine->qmp("announce-self", R"({"initial":50,"max":50,"rounds":1,"step":50})"));
  EXPECT_TRUE(wait_until(
      [&] {
        EXPECT_TRUE(lab.port->link().up);
        return lab.port->announcements() != 0;
      },
      Deadline(kPatience)));
  EXPECT_TRUE(lab.port->link().up);
  EXPECT_EQ(lab.port->announcements(), 1U) << "the device has taken the answer";
  // QEMU has sent an announcement of its own for the NIC.
  while (lab.peer->receive(Deadline(20ms))) {
  }
  lab.expect_traffic();
}

TEST(VirtioMtu, SmallerBuffersServeASmallerMtu) {
  Lab lab({.properties = ",host_mtu=9000,mrg_rxbuf=off"});
  pmd::PortConfig<pmd::SpinringPackets> config{.rx = {{0, lab.cache.get()}}, .tx = {{0, lab.cache.get()}}};
  EXPECT_FALSE(lab.port->start(config)) << "9000 bytes do not fit";
  lab.start({.mtu = 1500});
  lab.expect_traffic();
  lab.stop();
}

TEST(VirtioStatistics, QemuHasNoneOfItsOwn) {
  Lab lab;
  lab.start();
  const auto stats = lab.port->extended_stats();
  ASSERT_EQ(stats.size(), 1U);
  EXPECT_EQ(stats[0].name, "announcements");
  const auto refused = lab.port->set_coalescing(Direction::kRx, {1, 1});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, pmd::Errc::kUnsupported);
}

}  // namespace
}  // namespace spinring::test
