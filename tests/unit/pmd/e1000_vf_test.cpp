// A virtual function of the 82576 as a port: what it asks of the physical function, what it refuses, and how
// it comes through that one's reset.

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include "mempool/memory.hpp"
#include "mempool/pool.hpp"
#include "pmd/errors.hpp"
#include "pmd/open.hpp"
#include "tests/unit/pmd/fake_e1000.hpp"
#include "tests/unit/pmd/fake_igbvf.hpp"

namespace spinring::test {
namespace {

using Config = pmd::PortConfig<pmd::SpinringPackets>;
using pmd::Errc;
using pmd::MacAddress;

constexpr MacAddress kGroup{0x01, 0x00, 0x5e, 0x00, 0x10, 0x20};
constexpr MacAddress kOther{0x02, 0x11, 0x22, 0x33, 0x44, 0x55};

struct E1000Vf : testing::Test {
  ~E1000Vf() override {
    port.reset();
    cache->flush();
    EXPECT_EQ(pool->available(), pool->capacity()) << "packets are missing";
  }
  Result<void> open() {
    auto opened = pmd::open_port(std::make_unique<FakeFunction<FakeIgbvf>>(device), *memory);
    if (!opened) return fail(std::move(opened));
    port = std::move(*opened);
    return {};
  }
  Result<void> start(Config config = {}) {
    config.rx = {{16, cache.get()}};
    config.tx = {{16, cache.get()}};
    return port->start(config);
  }
  void open_and_start(const Config& config = {}) {
    ASSERT_TRUE(open());
    const auto started = start(config);
    ASSERT_TRUE(started) << started.error().message();
  }
  /// The last message of that command; empty if there was none.
  FakeIgbvf::Message last(std::uint32_t command) {
    FakeIgbvf::Message found;
    for (const auto& message : device.heard) {
      if ((message[0] & 0xFFFFU) == command) found = message;
    }
    return found;
  }
  static void expect_refused(const Result<void>& result, Errc code, const char* text) {
    ASSERT_FALSE(result) << text;
    EXPECT_EQ(result.error().code, code) << result.error().message();
    EXPECT_NE(result.error().message().find(text), std::string::npos) << result.error().message();
  }
  std::uint64_t counter(const char* name) {
    for (const auto& [known, value] : port->extended_stats()) {
      if (known == name) return value;
    }
    ADD_FAILURE() << name;
    return 0;
  }

  FakeIgbvf device;
  std::unique_ptr<mempool::Memory> memory =
      std::move(*mempool::Memory::create({.bytes = 1 << 20, .hugepages = false}));
  std::unique_ptr<mempool::Pool> pool = std::move(*mempool::Pool::create(*memory, {.packets = 128}));
  std::unique_ptr<mempool::PoolCache> cache = std::make_unique<mempool::PoolCache>(*pool);
  std::unique_ptr<pmd::AnyPort> port;
};

TEST_F(E1000Vf, HasTheAddressThatItIsGiven) {
  ASSERT_TRUE(open());
  EXPECT_EQ(pmd::to_string(port->info().mac), "52:54:00:12:34:56");
  EXPECT_EQ(port->info().driver, "igbvf (82576 VF)");
  EXPECT_EQ(port->info().max_rx_queues, 1U);
  EXPECT_EQ(port->info().max_tx_queues, 2U);
  EXPECT_TRUE(last(2).empty()) << "its own address need not be told";
}

TEST_F(E1000Vf, ChoosesAnAddressWhenItIsGivenNone) {
  device.given = {};
  ASSERT_TRUE(open());
  const MacAddress mac = port->info().mac;
  EXPECT_EQ(mac[0] & 3U, 2U) << "locally administered, unicast";
  const auto told = last(2);
  ASSERT_FALSE(told.empty());
  EXPECT_EQ(told[0], 2U);
  const auto byte = [&](std::size_t i, unsigned shift) { return std::uint32_t{mac[i]} << shift; };
  EXPECT_EQ(told[1], byte(0, 0) | byte(1, 8) | byte(2, 16) | byte(3, 24));
  EXPECT_EQ(told[2], byte(4, 0) | byte(5, 8));
  device.heard.clear();
  ASSERT_TRUE(start());
  EXPECT_EQ(last(2), told) << "the same at each start";
}

TEST_F(E1000Vf, AnAddressThatCannotBeOneIsRefused) {
  device.given = {0x12005453, 0x5634};  // multicast
  expect_refused(open(), Errc::kBadDevice, "53:54:00:12:34:56");
}

TEST_F(E1000Vf, AnAddressThatChangesIsNotPassedOver) {
  ASSERT_TRUE(open());
  device.given = {0x99005452, 0x5634};
  ASSERT_TRUE(start()) << "the former one is told again";
  EXPECT_EQ(last(2)[1], 0x12005452U);
  port->stop();
  device.refuses.insert(2);
  expect_refused(start(), Errc::kRejected, "open the port again");
}

TEST_F(E1000Vf, ADeviceThatIsNotThereIsSaidToBe) {
  device.status = 0xFFFF'FFFF;
  expect_refused(open(), Errc::kRemoved, "STATUS");
}

TEST_F(E1000Vf, APhysicalFunctionThatIsDownIsNamed) {
  device.answers = false;
  expect_refused(open(), Errc::kTimeout, "ip link set DEVICE up");
}

TEST_F(E1000Vf, StartsItsQueuesAndTellsTheLongestFrame) {
  open_and_start({.mtu = 9000});
  EXPECT_EQ(last(5)[1], 9000U + 18 + 4);
  EXPECT_EQ(last(6)[0], 6U | 2U << 16) << "as promiscuous as it can be: all multicast";
  for (const std::uint64_t block : {0x2800U, 0x3800U}) {
    EXPECT_NE(device.at(block + 0x28) & 1U << 25, 0U) << "ENABLE";
    EXPECT_EQ(device.at(block + 8), 16U * 16);
    EXPECT_EQ(device.at(block + 0x100 + 8), 0U) << "the second queue was not asked for";
  }
  EXPECT_EQ(device.at(0x280C), 2U | 1U << 25) << "SRRCTL: 2 KiB, advanced";
  EXPECT_EQ(device.at(0x2818), 15U) << "RDT";
  EXPECT_TRUE(device.bus_master);
  EXPECT_TRUE(port->link().up);
  EXPECT_EQ(port->link().speed_mbps, 1000U);
  port->stop();
  EXPECT_FALSE(device.bus_master);
  EXPECT_EQ(device.at(0x2828) & 1U << 25, 0U);
}

TEST_F(E1000Vf, BuffersHaveAKibibyte) {
  cache.reset();
  pool = std::move(*mempool::Pool::create(*memory, {.packets = 64, .buffer_length = 640}));
  cache = std::make_unique<mempool::PoolCache>(*pool);
  ASSERT_TRUE(open());
  expect_refused(port->start({.rx = {{16, cache.get()}}, .tx = {{16, cache.get()}}}), Errc::kBadArgument,
                 "1024");
}

TEST_F(E1000Vf, AFrameLengthThatIsRefusedIsTold) {
  device.refuses.insert(5);
  ASSERT_TRUE(open());
  expect_refused(start({.mtu = 9000}), Errc::kRejected, "SET_LPE");
  EXPECT_FALSE(device.bus_master);
}

TEST_F(E1000Vf, PromiscuousModeIsRefused) {
  open_and_start();
  expect_refused(port->set_promiscuous(true), Errc::kUnsupported, "own addresses");
  EXPECT_TRUE(port->set_promiscuous(false));
  EXPECT_TRUE(port->set_all_multicast(false));
  EXPECT_EQ(last(6)[0], 6U);
  device.refuses.insert(6);
  expect_refused(port->set_all_multicast(true), Errc::kRejected, "SET_PROMISC");
}

TEST_F(E1000Vf, AddressesAreAsked) {
  open_and_start();
  ASSERT_TRUE(port->set_mac(kOther));
  EXPECT_EQ(last(2), (FakeIgbvf::Message{2, 0x33221102, 0x5544, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}));
  expect_refused(port->set_mac(kGroup), Errc::kBadArgument, "unicast");
  const std::array filter{kOther, kGroup, MacAddress{0x33, 0x33, 0, 0, 0, 1}};
  ASSERT_TRUE(port->set_mac_filter(filter));
  EXPECT_EQ(last(2)[0], 2U | 2U << 16) << "one more unicast address";
  EXPECT_EQ(last(3)[0], 3U | 2U << 16) << "two multicast ones";
  // Bits 47:36 of the address on the wire.
  EXPECT_EQ(last(3)[1], 0x201U | 0x010U << 16);
  ASSERT_TRUE(port->set_mac_filter({}));
  EXPECT_EQ(last(2)[0], 2U | 1U << 16) << "the unicast ones go";
  EXPECT_EQ(last(3)[0], 3U);
  device.refuses.insert(2);
  expect_refused(port->set_mac(kOther), Errc::kRejected, "trust on");
  expect_refused(port->set_mac_filter(filter), Errc::kRejected, "trust on");
  expect_refused(port->set_mac_filter(std::vector<MacAddress>(31, kGroup)), Errc::kBadArgument, "30");
}

TEST_F(E1000Vf, VlansAreAskedAndStripped) {
  ASSERT_TRUE(open());
  expect_refused(start({.vlan_filter = true}), Errc::kUnsupported, "rx-vlan-strip");
  ASSERT_TRUE(start({.vlan_filter = true, .offloads = pmd::Offload::kRxVlanStrip}));
  ASSERT_TRUE(port->set_vlan_filter(33, true));
  EXPECT_EQ(last(4)[0], 4U | 1U << 16);
  EXPECT_EQ(last(4)[1], 33U);
  ASSERT_TRUE(port->set_vlan_filter(33, false));
  EXPECT_EQ(last(4)[0], 4U);
  device.refuses.insert(4);
  expect_refused(port->set_vlan_filter(34, true), Errc::kRejected, "SET_VLAN");
  expect_refused(port->set_vlan_filter(4096, true), Errc::kBadArgument, "VLAN 4096");
  port->stop();
  expect_refused(port->set_vlan_filter(34, true), Errc::kBadState, "Start");
}

TEST_F(E1000Vf, AResetOfThePhysicalFunctionIsOutlived) {
  open_and_start();
  ASSERT_TRUE(port->check());
  device.begin_reset();
  EXPECT_FALSE(port->link().up);
  EXPECT_TRUE(port->check()) << "nothing to do but wait";
  device.end_reset();
  EXPECT_FALSE(port->link().up) << "it knows nothing of this one yet";
  expect_refused(port->check(), Errc::kDeviceFault, "stop and start");
  port->stop();
  ASSERT_TRUE(start());
  EXPECT_TRUE(port->link().up);
  EXPECT_TRUE(port->check());
  // Its driver says that it goes down, and is up again before anybody looks.
  device.say(FakeIgbvf::kControl);
  expect_refused(port->check(), Errc::kDeviceFault, "stop and start");
}

TEST_F(E1000Vf, TheMailboxInterruptIsServed) {
  open_and_start();
  EXPECT_EQ(device.at(0x1740), 0x81U) << "VTIVAR_MISC: valid, vector 1";
  EXPECT_EQ(device.at(0x1524), 3U) << "VTEIMS";
  pollfd ready{port->link_event_fd(), POLLIN, 0};
  ASSERT_EQ(::poll(&ready, 1, 0), 0);
  for (const unsigned vector : {0U, 1U}) {
    const std::uint64_t one = 1;
    ASSERT_EQ(::write(device.fd(vector), &one, sizeof(one)), 8);
    EXPECT_EQ(::poll(&ready, 1, 0), 1);
    device.at(0x1580) = 3;
    device.say(FakeIgbvf::kControl | FakeIgbvf::kClearToSend);
    port->acknowledge_link_event();
    EXPECT_EQ(::poll(&ready, 1, 0), 0);
    EXPECT_EQ(device.at(0x1580), 0U) << "VTEICR";
    EXPECT_TRUE(port->link().up);
  }
  device.status &= ~2U;
  EXPECT_FALSE(port->link().up);
}

TEST_F(E1000Vf, WithoutInterruptsTheLinkIsPolled) {
  device.vectors = 0;
  open_and_start();
  EXPECT_EQ(port->link_event_fd(), -1);
}

TEST_F(E1000Vf, CountersWrap) {
  device.at(0x0F10) = 0xFFFF'FFF0;
  device.at(0x0F18) = 0xFFFF'0000;
  open_and_start();
  EXPECT_EQ(counter("rx_good_packets"), 0U);
  device.at(0x0F10) = 16;
  device.at(0x0F18) = 0x0000'8000;
  EXPECT_EQ(counter("rx_good_packets"), 32U);
  EXPECT_EQ(counter("rx_good_bytes"), 0x1'8000U - 32U * 4) << "without FCS";
  EXPECT_EQ(counter("rx_good_packets"), 32U) << "reading clears nothing";
  // A reset of the physical function clears them: that is no traffic.
  device.begin_reset();
  device.at(0x0F10) = 0;
  EXPECT_EQ(counter("rx_good_packets"), 32U);
  port->stop();
  EXPECT_EQ(counter("rx_good_packets"), 32U) << "readable after stop";
}

TEST_F(E1000Vf, ShowsTheRegistersThatItHas) {
  open_and_start();
  bool status = false;
  for (const pmd::RegisterDump& one : port->registers()) {
    EXPECT_LT(one.offset, 0x4000U) << one.name;
    EXPECT_NE(one.offset, FakeIgbvf::kMailbox) << "reading it changes it";
    EXPECT_NE(one.name, "RCTL");
    status |= one.name == "STATUS";
  }
  EXPECT_TRUE(status);
}

}  // namespace
}  // namespace spinring::test
