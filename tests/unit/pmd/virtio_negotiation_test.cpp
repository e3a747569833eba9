// Features, status sequence and what a device shows of itself.

#include <sys/eventfd.h>

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include "tests/unit/pmd/virtio_rig.hpp"

namespace spinring::pmd {
namespace {

using sim::feature;

constexpr std::uint64_t kAllFeatures = ~0ULL;

/// Features that the driver knows, each with what it depends on.
struct Known {
  unsigned bit;
  std::uint64_t needs;
};
const std::vector<Known> kKnown{{VIRTIO_NET_F_MAC, 0},
                                {VIRTIO_NET_F_MTU, 0},
                                {VIRTIO_NET_F_STATUS, 0},
                                {VIRTIO_NET_F_SPEED_DUPLEX, 0},
                                {VIRTIO_NET_F_MRG_RXBUF, 0},
                                {VIRTIO_NET_F_CTRL_VQ, 0},
                                {VIRTIO_NET_F_CTRL_RX, feature(VIRTIO_NET_F_CTRL_VQ)},
                                {VIRTIO_NET_F_CTRL_MAC_ADDR, feature(VIRTIO_NET_F_CTRL_VQ)},
                                {VIRTIO_NET_F_MQ, feature(VIRTIO_NET_F_CTRL_VQ)},
                                {VIRTIO_F_ACCESS_PLATFORM, 0},
                                {VIRTIO_F_ORDER_PLATFORM, 0},
                                {VIRTIO_F_RING_PACKED, 0},
                                {VIRTIO_F_IN_ORDER, 0}};

/// Those that choose no path: commands and the reset of single queues.
const std::vector<Known> kFurther{
    {VIRTIO_NET_F_CTRL_VQ, 0},
    {VIRTIO_NET_F_STATUS, 0},
    {VIRTIO_NET_F_GUEST_ANNOUNCE, feature(VIRTIO_NET_F_CTRL_VQ) | feature(VIRTIO_NET_F_STATUS)},
    {VIRTIO_NET_F_NOTF_COAL, feature(VIRTIO_NET_F_CTRL_VQ)},
    {VIRTIO_NET_F_VQ_NOTF_COAL, feature(VIRTIO_NET_F_CTRL_VQ)},
    {VIRTIO_NET_F_DEVICE_STATS, feature(VIRTIO_NET_F_CTRL_VQ)},
    {VIRTIO_F_RING_RESET, 0},
    {VIRTIO_RING_F_EVENT_IDX, 0},
    {VIRTIO_RING_F_INDIRECT_DESC, 0},
    {VIRTIO_F_NOTIFICATION_DATA, 0}};

RigConfig offering(std::uint64_t features) {
  RigConfig config;
  config.ring_size = 64;
  config.device.features = features;
  return config;
}

void expect_traffic(Rig& rig) {
  const Bytes frame = make_frame(1, 300);
  ASSERT_TRUE(rig.device.deliver(frame));
  EXPECT_EQ(rig.receive(), Frames{frame});
  ASSERT_TRUE(rig.send(rig.packet(frame)));
  EXPECT_EQ(rig.sent(), Frames{frame});
}

/// Each subset of `known`: what is offered and has what it needs is accepted, the path is what `check`
/// expects of that, traffic flows.
template <class Check>
void expect_every_subset_to_work(std::span<const Known> known, Check check) {
  const auto memory = take_memory(256U << 10);
  for (std::uint32_t subset = 0; subset < (1U << known.size()); ++subset) {
    std::uint64_t offered = feature(VIRTIO_F_VERSION_1);
    for (std::size_t i = 0; i < known.size(); ++i) {
      if (((subset >> i) & 1U) != 0) offered |= feature(known[i].bit);
    }
    std::uint64_t wanted = feature(VIRTIO_F_VERSION_1);
    for (const Known& one : known) {
      if ((offered & feature(one.bit)) != 0 && (offered & one.needs) == one.needs) wanted |= feature(one.bit);
    }
    RigConfig config = offering(offered);
    config.ring_size = 16;
    config.packets = 32;
    config.memory = memory;
    Rig rig(config);
    ASSERT_NO_FATAL_FAILURE(rig.open_and_start()) << std::hex << offered;
    ASSERT_EQ(rig.device.accepted(), wanted) << std::hex << offered;
    ASSERT_NO_FATAL_FAILURE(check(rig, wanted)) << std::hex << offered;
    ASSERT_NO_FATAL_FAILURE(expect_traffic(rig)) << std::hex << offered;
  }
}

TEST(Negotiation, EverySubsetOfTheFeaturesWorks) {
  expect_every_subset_to_work(kKnown, [](Rig& rig, std::uint64_t wanted) {
    const auto with = [&](unsigned bit, const char* yes, const char* no = "") {
      return std::string((wanted & feature(bit)) != 0 ? yes : no);
    };
    const std::string ring = with(VIRTIO_F_RING_PACKED, "virtio packed ", "virtio split ");
    const std::string order = with(VIRTIO_F_IN_ORDER, " in-order");
    ASSERT_EQ(rig.port->rx_path(), ring + "rx" + order + with(VIRTIO_NET_F_MRG_RXBUF, " mergeable"));
    ASSERT_EQ(rig.port->tx_path(), ring + "tx" + order);
  });
}

TEST(Negotiation, EverySubsetOfTheFeaturesOfCommandsWorks) {
  expect_every_subset_to_work(kFurther, [](Rig&, std::uint64_t) {});
}

TEST(Negotiation, FeaturesThatTheDriverDoesNotKnowAreLeft) {
  Rig rig(offering(kAllFeatures));
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  std::uint64_t known = feature(VIRTIO_F_VERSION_1);
  for (const Known& entry : kKnown) known |= feature(entry.bit);
  for (const Known& entry : kFurther) known |= feature(entry.bit);
  EXPECT_EQ(rig.device.accepted(), known) << std::hex << rig.device.accepted();
  expect_traffic(rig);
}

TEST(Negotiation, VlanFilteringOnlyWhenAskedFor) {
  Rig rig(offering(sim::SimNetConfig::kUsualFeatures));
  ASSERT_OK(rig.open());
  auto config = rig.port_config();
  config.vlan_filter = true;
  ASSERT_OK(rig.port->start(config));
  EXPECT_TRUE(rig.device.negotiated(VIRTIO_NET_F_CTRL_VLAN));
  rig.port->stop();
  ASSERT_OK(rig.start());
  EXPECT_FALSE(rig.device.negotiated(VIRTIO_NET_F_CTRL_VLAN));
}

TEST(Negotiation, ADeviceWithoutVersion1IsRefused) {
  Rig rig(offering(feature(VIRTIO_NET_F_MAC)));
  EXPECT_FAILS(rig.open(), Errc::kFeature, "disable-legacy=on");
}

TEST(Negotiation, ADeviceThatRefusesTheFeaturesIsAnError) {
  Rig rig;
  ASSERT_OK(rig.open());
  rig.device.knobs.features_ok_sticks = false;
  EXPECT_FAILS(rig.start(), Errc::kFeature, "rejects");
  EXPECT_EQ(rig.device.status(), 0) << "and reset again";
  rig.device.knobs.features_ok_sticks = true;
  ASSERT_OK(rig.start());
  expect_traffic(rig);
}

TEST(Negotiation, StepsComeInTheOrderOfTheSpecification) {
  Rig rig;
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  const std::vector<std::uint8_t>& writes = rig.device.status_writes();
  const std::vector<std::uint8_t> steps{0, 1, 3, 11,
                                        15};  // reset, ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK
  ASSERT_GE(writes.size(), steps.size());
  EXPECT_EQ(std::vector<std::uint8_t>(writes.end() - 5, writes.end()), steps);
  rig.port->stop();
  EXPECT_EQ(writes.back(), 0);
  EXPECT_EQ(rig.device.violations(), std::vector<std::string>{});
}

TEST(Negotiation, ASlowResetIsWaitedFor) {
  Rig rig;
  rig.device.knobs.reset_reads = 20;
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  expect_traffic(rig);
}

TEST(Negotiation, ATransitionalDeviceIsDrivenInItsModernMode) {
  RigConfig config;
  config.device.identity.device = 0x1000;
  Rig rig(config);
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  EXPECT_EQ(rig.port->info().driver, "virtio-net");
  expect_traffic(rig);
}

TEST(Negotiation, ADeviceOfAnotherKindIsRefusedByItsIds) {
  RigConfig config;
  config.device.identity.device = 0x1042;  // virtio-blk
  Rig rig(config);
  EXPECT_FAILS(rig.open(), Errc::kUnknownDevice, "1af4:1042");
}

// --- what the device shows ---

TEST(PortInfo, IsWhatTheDeviceShows) {
  RigConfig config;
  config.device.features |= feature(VIRTIO_NET_F_SPEED_DUPLEX);
  config.device.max_pairs = 4;
  config.device.registers.mtu = 9000;
  Rig rig(config);
  ASSERT_OK(rig.open());
  const PortInfo& info = rig.port->info();
  EXPECT_EQ(info.name, "sim0");
  EXPECT_EQ(info.driver, "virtio-net");
  EXPECT_EQ(info.iommu_group, -1);
  EXPECT_EQ(info.mac, (MacAddress{0x52, 0x54, 0x00, 0x12, 0x34, 0x56}));
  EXPECT_EQ(info.max_rx_queues, 4);
  EXPECT_EQ(info.max_tx_queues, 4);
  EXPECT_EQ(info.max_rx_ring, 256);
  EXPECT_EQ(info.max_tx_ring, 256);
  EXPECT_EQ(info.max_mtu, 9000);
  EXPECT_EQ(rig.port->link(), (LinkState{true, 10000, true}));
}

TEST(PortInfo, ADeviceWithoutAnAddressGetsOneOfItsOwn) {
  Rig rig(offering(feature(VIRTIO_F_VERSION_1)));
  ASSERT_OK(rig.open());
  const MacAddress mac = rig.port->info().mac;
  EXPECT_EQ(mac[0] & 0x03, 0x02) << "locally administered, unicast: " << to_string(mac);
  EXPECT_EQ(rig.port->info().max_mtu, 65517) << "a device that names no MTU takes any";
  EXPECT_EQ(rig.port->info().max_rx_queues, 1);
  EXPECT_EQ(rig.port->link(), (LinkState{true, 0, true})) << "no STATUS: always up";
}

TEST(PortInfo, AnAddressThatCannotBeOneIsReplaced) {
  for (const sim::Mac bad :
       {sim::Mac{}, sim::Mac{0x01, 0, 0x5e, 0, 0, 1}, sim::Mac{255, 255, 255, 255, 255, 255}}) {
    RigConfig config;
    std::copy(bad.begin(), bad.end(), config.device.registers.mac);
    Rig rig(config);
    ASSERT_OK(rig.open());
    const MacAddress mac = rig.port->info().mac;
    EXPECT_EQ(mac[0] & 0x03, 0x02) << to_string(mac);
  }
}

TEST(PortInfo, ConfigurationThatChangesWhileItIsReadIsReadAgain) {
  RigConfig config;
  Rig rig(config);
  rig.device.knobs.generation_changes = 7;
  ASSERT_OK(rig.open());
  EXPECT_EQ(rig.port->info().mac, (MacAddress{0x52, 0x54, 0x00, 0x12, 0x34, 0x56}));
  EXPECT_EQ(rig.device.knobs.generation_changes, 0);
}

TEST(PortInfo, ConfigurationThatNeverStandsStillDoesNotHoldTheDriver) {
  Rig rig;
  rig.device.knobs.generation_changes = -1;
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  expect_traffic(rig);
}

// --- link ---

TEST(Link, FollowsTheDevice) {
  Rig rig;
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  EXPECT_TRUE(rig.port->link().up);
  rig.device.set_link(false);
  EXPECT_FALSE(rig.port->link().up);
  rig.device.set_link(true);
  EXPECT_TRUE(rig.port->link().up);
  EXPECT_EQ(rig.port->link_event_fd(), -1) << "no interrupts on this bus: poll";
}

bool readable(int fd) {
  eventfd_t count = 0;
  return ::eventfd_read(fd, &count) == 0 && ::eventfd_write(fd, count) == 0;
}

TEST(Link, AnInterruptTellsOfTheChange) {
  RigConfig config;
  config.device.interrupt_vectors = 3;
  Rig rig(config);
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  const int fd = rig.port->link_event_fd();
  ASSERT_GE(fd, 0);
  EXPECT_EQ(rig.device.config_vector(), 0);
  EXPECT_FALSE(readable(fd));
  rig.device.set_link(false);
  EXPECT_TRUE(readable(fd));
  rig.port->acknowledge_link_event();
  EXPECT_FALSE(readable(fd));
  EXPECT_FALSE(rig.port->link().up);
}

TEST(Link, ADeviceThatRefusesTheVectorIsPolled) {
  RigConfig config;
  config.device.interrupt_vectors = 3;
  Rig rig(config);
  ASSERT_OK(rig.open());
  rig.device.knobs.refuse_vectors = true;
  ASSERT_OK(rig.start());
  EXPECT_EQ(rig.device.config_vector(), VIRTIO_MSI_NO_VECTOR);
  rig.device.set_link(false);
  EXPECT_FALSE(rig.port->link().up);
}

// --- which loops run ---

struct Chosen {
  std::uint64_t offered;
  std::uint64_t not_offered;
  Offloads offloads;
  std::string rx;
  std::string tx;
};

TEST(ChoiceOfPaths, FollowsWhatWasNegotiated) {
  constexpr std::uint64_t kMergeable = feature(VIRTIO_NET_F_MRG_RXBUF);
  constexpr std::uint64_t kPackedInOrder = feature(VIRTIO_F_RING_PACKED) | feature(VIRTIO_F_IN_ORDER);
  constexpr std::uint64_t kChecksums = feature(VIRTIO_NET_F_CSUM) | feature(VIRTIO_NET_F_GUEST_CSUM);
  constexpr std::uint64_t kHashes = feature(VIRTIO_NET_F_RSS) | feature(VIRTIO_NET_F_HASH_REPORT);
  const std::vector<Chosen> rows{
      {0, kMergeable, {}, "virtio split rx", "virtio split tx"},
      {kMergeable, 0, {}, "virtio split rx mergeable", "virtio split tx"},
      {kPackedInOrder, kMergeable, {}, "virtio packed rx in-order", "virtio packed tx in-order"},
      {kChecksums, kMergeable, Offload::kRxChecksum | Offload::kTxChecksum, "virtio split rx offloads",
       "virtio split tx offloads"},
      {kPackedInOrder | kMergeable | kHashes, 0, Offload::kRss | Offload::kRxHash,
       "virtio packed rx in-order mergeable offloads", "virtio packed tx in-order offloads"}};
  for (const Chosen& row : rows) {
    RigConfig config;
    config.device = with(row.offered);
    config.device.features &= ~row.not_offered;
    config.device.max_pairs = 2;
    config.offloads = row.offloads;
    Rig rig(config);
    ASSERT_NO_FATAL_FAILURE(rig.open_and_start()) << row.rx;
    EXPECT_EQ(rig.port->rx_path(), row.rx);
    EXPECT_EQ(rig.port->tx_path(), row.tx);
  }
}

}  // namespace
}  // namespace spinring::pmd
