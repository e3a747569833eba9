// --vdev strings end to end: parsed, QEMU started, driver opened, frames exchanged.

#include <gtest/gtest.h>

#include <cstring>

#include "pmd/bus/qtest/qtest_vdev.hpp"
#include "pmd/errors.hpp"
#include "tests/device/virtio_lab.hpp"

namespace spinring::test {
namespace {

class Vdev : public testing::Test {
 protected:
  std::vector<std::unique_ptr<Port>> open(const std::vector<std::string>& vdevs) {
    std::vector<std::unique_ptr<Port>> ports;
    for (auto& function : must(pmd::open_qtest_vdevs(*memory_, vdevs))) {
      ports.push_back(must(pmd::open_port(std::move(function), *memory_)));
      must(ports.back()->start({.rx = {{128, &cache_}}, .tx = {{128, &cache_}}}));
    }
    return ports;
  }
  void send(Port& port, const Frame& frame) {
    mempool::Packet* packet = cache_.get();
    ASSERT_NE(packet, nullptr);
    packet->reset(static_cast<std::uint16_t>(frame.size()));
    std::memcpy(packet->data(), frame.data(), frame.size());
    ASSERT_EQ(port.tx(0).burst({&packet, 1}), 1U);
  }
  Frame receive(Port& port) {
    mempool::Packet* packet = nullptr;
    if (!wait_until([&] { return port.rx(0).burst({&packet, 1}) == 1; }, Deadline(kPatience))) return {};
    Frame frame = bytes_of(packet);
    cache_.put_chain(packet);
    return frame;
  }

  std::unique_ptr<mempool::Memory> memory_ = make_memory(5);
  std::unique_ptr<mempool::Pool> pool_ = must(mempool::Pool::create(*memory_, {.packets = 1024}));
  mempool::PoolCache cache_{*pool_};
};

TEST_F(Vdev, DevicesOfOneMachineMeetOnAHub) {
  auto ports = open({"qtest0,netdev=hub:7,mac=52:54:00:00:00:01", "qtest1,netdev=hub:7,mrg_rxbuf=off"});
  ASSERT_EQ(ports.size(), 2U);
  EXPECT_EQ(ports[0]->info().name, "qtest0");
  EXPECT_EQ(ports[1]->info().name, "qtest1");
  EXPECT_EQ(pmd::to_string(ports[0]->info().mac), "52:54:00:00:00:01");
  const Frame there = make_frame(700, 1, kMac);
  const Frame back = make_frame(60, 2, kMac);
  send(*ports[0], there);
  EXPECT_EQ(receive(*ports[1]), there);
  send(*ports[1], back);
  EXPECT_EQ(receive(*ports[0]), back);
}

TEST_F(Vdev, MachinesMeetOnAUnixSocket) {
  const TempDir dir;
  const std::string path = dir.file("wire");
  // The connecting side tries again until the other listens: the order does not matter.
  auto ports =
      open({"qtest0,machine=a,netdev=stream:" + path, "qtest1,machine=b,netdev=stream-server:" + path});
  ASSERT_EQ(ports.size(), 2U);
  const Frame frame = make_frame(100, 3, kMac);
  // Frames sent before the socket is up go nowhere, as on a cable without a far end.
  EXPECT_TRUE(wait_until(
      [&] {
        send(*ports[0], frame);
        mempool::Packet* packet = nullptr;
        if (ports[1]->rx(0).burst({&packet, 1}) == 0) return false;
        EXPECT_EQ(bytes_of(packet), frame);
        cache_.put_chain(packet);
        return true;
      },
      Deadline(kPatience), 20ms));
}

TEST_F(Vdev, DatagramSocketsCarryFramesToo) {
  const TempDir dir;
  const std::string a = dir.file("a");
  const std::string b = dir.file("b");
  auto ports =
      open({"qtest0,machine=a,netdev=dgram:" + a + ":" + b, "qtest1,machine=b,netdev=dgram:" + b + ":" + a});
  const Frame frame = make_frame(1514, 4, kMac);
  send(*ports[0], frame);
  EXPECT_EQ(receive(*ports[1]), frame);
}

TEST_F(Vdev, APropertyThatTheModelDoesNotHaveIsQemusToRefuse) {
  const auto refused = pmd::open_qtest_vdevs(*memory_, {"qtest0,colour=red"});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, pmd::Errc::kQemu);
  EXPECT_NE(refused.error().message().find("colour"), std::string::npos) << refused.error().message();
}

TEST_F(Vdev, AModelWithoutADriverIsNamedByItsIds) {
  auto functions = must(pmd::open_qtest_vdevs(*memory_, {"qtest0,model=rtl8139"}));
  const auto refused = pmd::open_port(std::move(functions.front()), *memory_);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, pmd::Errc::kUnknownDevice);
  for (const char* id :
       {"10ec:8139", "1af4:1041 virtio-net", "8086:100e e1000 (82540EM)", "8086:10ca igbvf (82576 VF)"}) {
    EXPECT_NE(refused.error().message().find(id), std::string::npos) << refused.error().message();
  }
}

}  // namespace
}  // namespace spinring::test
