#include "pmd/bus/qtest/qtest_vdev.hpp"

#include <gtest/gtest.h>

#include "pmd/errors.hpp"

namespace spinring::pmd {
namespace {

QtestVdev parsed(std::string_view text) {
  Result<QtestVdev> vdev = parse_qtest_vdev(text);
  if (!vdev) {
    ADD_FAILURE() << vdev.error().message();
    return {};
  }
  return *vdev;
}

TEST(QtestVdev, ABareNameIsAVirtioNicWithoutACable) {
  const QtestVdev vdev = parsed("qtest0");
  EXPECT_EQ(vdev.name, "qtest0");
  EXPECT_EQ(vdev.model, "virtio-net-pci");
  EXPECT_EQ(vdev.netdev, "none");
  EXPECT_EQ(vdev.queues, 1U);
  EXPECT_EQ(vdev.machine, "default");
  EXPECT_TRUE(vdev.properties.empty());
}

TEST(QtestVdev, EveryKeyIsTaken) {
  const QtestVdev vdev = parsed(
      "qtest7,model=e1000e,queues=4,netdev=hub:3,mac=52:54:00:AA:bb:01,machine=lab,qemu=/opt/"
      "qemu,mrg_rxbuf=off,"
      "tx=timer");
  EXPECT_EQ(vdev.name, "qtest7");
  EXPECT_EQ(vdev.model, "e1000e");
  EXPECT_EQ(vdev.queues, 4U);
  EXPECT_EQ(vdev.netdev, "hub:3");
  EXPECT_EQ(vdev.mac, "52:54:00:AA:bb:01");
  EXPECT_EQ(vdev.machine, "lab");
  EXPECT_EQ(vdev.qemu, "/opt/qemu");
  const std::vector<std::pair<std::string, std::string>> properties{{"mrg_rxbuf", "off"}, {"tx", "timer"}};
  EXPECT_EQ(vdev.properties, properties);
}

TEST(QtestVdev, WhatIsWrongIsNamed) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"net0", "is called qtest0"},
      {"qtest", "is called qtest0"},
      {"qtestX", "is called qtest0"},
      {"qtest0,model", "key=value"},
      {"qtest0,model=", "key=value"},
      {"qtest0,=x", "key=value"},
      {"qtest0,", "key=value"},
      {"qtest0,model=a,model=b", "given twice"},
      {"qtest0,model=a b", "Use letters"},
      {"qtest0,queues=0", "1 to 16"},
      {"qtest0,queues=17", "1 to 16"},
      {"qtest0,queues=two", "1 to 16"},
      {"qtest0,mac=52:54:00:12:34", "looks like"},
      {"qtest0,mac=52:54:00:12:34:5g", "looks like"},
      {"qtest0,addr=5", "sets this itself"},
      {"qtest0,mq=on", "queues=N"},
      {"qtest0,netdev=pigeon:12", "no netdev 'pigeon'"},
      {"qtest0,netdev=stream", "stream:PATH"},
      {"qtest0,netdev=hub:many", "number from 0"},
      {"qtest0,netdev=hub:256", "number from 0"},
      {"qtest0,netdev=dgram:/a", "dgram:LOCAL:REMOTE"},
      {"qtest0,netdev=tap:a;b", "name of a tap"},
  };
  for (const auto& [text, wanted] : cases) {
    const Result<QtestVdev> vdev = parse_qtest_vdev(text);
    ASSERT_FALSE(vdev) << text;
    EXPECT_EQ(vdev.error().code, Errc::kBadArgument) << text;
    EXPECT_NE(vdev.error().message().find(wanted), std::string::npos)
        << text << ": " << vdev.error().message();
  }
}

TEST(QtestVdev, DevicesOfOneMachineShareItsPlan) {
  const auto plans = plan_qtest_machines({parsed("qtest0,netdev=hub:1,mac=52:54:00:00:00:01"),
                                          parsed("qtest1,machine=other"),
                                          parsed("qtest2,netdev=hub:1,model=igb,romfile=x")});
  ASSERT_TRUE(plans);
  ASSERT_EQ(plans->size(), 2U);
  const QtestMachinePlan& shared = plans->front();
  EXPECT_EQ(shared.vdevs, (std::vector<std::size_t>{0, 2}));
  EXPECT_EQ(shared.config.netdevs,
            (std::vector<std::string>{"hubport,id=net0,hubid=1", "hubport,id=net1,hubid=1"}));
  ASSERT_EQ(shared.config.devices.size(), 2U);
  EXPECT_EQ(shared.config.devices[0].name, "qtest0");
  EXPECT_EQ(shared.config.devices[0].options, "virtio-net-pci,netdev=net0,mac=52:54:00:00:00:01");
  EXPECT_EQ(shared.config.devices[1].options, "igb,netdev=net1,romfile=x");
  const QtestMachinePlan& other = plans->back();
  EXPECT_EQ(other.vdevs, (std::vector<std::size_t>{1}));
  EXPECT_TRUE(other.config.netdevs.empty());
  EXPECT_EQ(other.config.devices[0].options, "virtio-net-pci");

  EXPECT_FALSE(plan_qtest_machines({parsed("qtest0"), parsed("qtest0,machine=other")}));
}

TEST(QtestVdev, EachKindOfNetdevBecomesQemusOptions) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"stream:/tmp/s", "stream,id=net0,server=off,addr.type=unix,addr.path=/tmp/s,reconnect-ms=100"},
      {"stream-server:/tmp/s", "stream,id=net0,server=on,addr.type=unix,addr.path=/tmp/s"},
      {"dgram:/a:/b", "dgram,id=net0,local.type=unix,local.path=/a,remote.type=unix,remote.path=/b"},
      {"tap:tap0", "tap,id=net0,ifname=tap0,script=no,downscript=no,vhost=off,queues=3"},
      {"qemu:user;restrict=on", "user,id=net0,restrict=on"},
      {"qemu:user", "user,id=net0"},
  };
  for (const auto& [netdev, wanted] : cases) {
    const auto plans = plan_qtest_machines({parsed("qtest0,queues=3,netdev=" + netdev)});
    ASSERT_TRUE(plans) << netdev;
    EXPECT_EQ(plans->front().config.netdevs, (std::vector<std::string>{wanted}));
    EXPECT_EQ(plans->front().config.devices[0].options, "virtio-net-pci,netdev=net0,mq=on,vectors=8");
  }
}

}  // namespace
}  // namespace spinring::pmd
