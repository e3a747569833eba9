// The simulated device notices: a bare hand-made driver does it right, and then breaks one rule at a time.
// Without this the checks of all other tests could be blind.

#include <string>

#include "tests/unit/pmd/bare_split.hpp"

namespace spinring::sim {
namespace {

class BareDriver : public ::testing::Test, public BareSplit {};

TEST_F(BareDriver, ThatKeepsTheRulesIsNotComplainedAbout) {
  run();
  EXPECT_TRUE(device.running());
  descriptor(0, 0, {iova(32768), 2048, VRING_DESC_F_WRITE, 0});
  offer(0, 0);
  const std::vector<std::byte> frame(60, std::byte{0x5a});
  EXPECT_TRUE(device.deliver(frame));
  EXPECT_EQ(std::memcmp(memory.get() + 32768 + 12, frame.data(), 60), 0);
  EXPECT_FALSE(device.deliver(frame)) << "no buffer left";
  offer_frame();
  ring_doorbell(1);
  const auto sent = device.collect();
  ASSERT_EQ(sent.size(), 1U);
  EXPECT_EQ(sent[0].bytes.size(), 60U);
  EXPECT_EQ(reinterpret_cast<std::uint16_t*>(memory.get() + 4096 + 256)[1], 1) << "used index";
  expect_no_violation();
}

// --- status ---

TEST_F(BareDriver, NoReset) {
  status(1);
  expect_violation("before the reset was seen");
}
TEST_F(BareDriver, ResetNotAwaited) {
  status(0);
  status(1);
  expect_violation("before the reset was seen");
}
TEST_F(BareDriver, DriverWithoutAcknowledge) {
  reset();
  status(2);
  expect_violation("DRIVER without ACKNOWLEDGE");
}
TEST_F(BareDriver, StatusBitsCleared) {
  reset();
  status(1);
  status(2);
  expect_violation("status bits cleared");
}
TEST_F(BareDriver, FeaturesNotOffered) {
  reset();
  status(1);
  status(3);
  accept(kFeatures | feature(VIRTIO_F_RING_PACKED));
  status(11);
  expect_violation("not offered");
  EXPECT_EQ(common->read8(VIRTIO_PCI_COMMON_STATUS), 3);
}
TEST_F(BareDriver, FeaturesAfterFeaturesOk) {
  negotiate();
  accept(kFeatures);
  expect_violation("after FEATURES_OK");
}
TEST_F(BareDriver, FeatureWithoutWhatItNeeds) {
  reset();
  status(1);
  status(3);
  accept(kFeatures | feature(VIRTIO_NET_F_MQ));
  status(11);
  expect_violation("without the one that it needs");
}
TEST_F(BareDriver, FeaturesOkNotReadBack) {
  reset();
  status(1);
  status(3);
  accept(kFeatures);
  status(11);
  ASSERT_TRUE(function->set_bus_master(true));
  status(15);
  expect_violation("not read back");
}
TEST_F(BareDriver, DriverOkWithoutFeaturesOk) {
  reset();
  status(1);
  status(3);
  status(7);
  expect_violation("DRIVER_OK without FEATURES_OK");
}
TEST_F(BareDriver, DriverOkWithoutBusMaster) {
  negotiate();
  status(15);
  expect_violation("bus mastering is off");
}
TEST_F(BareDriver, WithoutVersion1TheFeaturesAreRefused) {
  reset();
  status(1);
  status(3);
  accept(feature(VIRTIO_NET_F_MAC));
  status(11);
  EXPECT_EQ(common->read8(VIRTIO_PCI_COMMON_STATUS), 3);
}

// --- registers and queues ---

TEST_F(BareDriver, WrongWidths) {
  (void)common->read32(VIRTIO_PCI_COMMON_NUMQ);
  expect_violation("a field of 2");
}
TEST_F(BareDriver, A64BitAccess) {
  negotiate();
  common->write64(VIRTIO_PCI_COMMON_Q_DESCLO, 4096);
  expect_violation("8 bytes");
}
TEST_F(BareDriver, WriteToAReadOnlyField) {
  common->write16(VIRTIO_PCI_COMMON_NUMQ, 1);
  expect_violation("read-only");
}
TEST_F(BareDriver, TheAddressInOneRead) {
  (void)common->read32(0x2000);
  expect_violation("a field of 1");
}
TEST_F(BareDriver, AFieldWithoutItsFeature) {
  (void)common->read32(0x2000 + offsetof(virtio_net_config, speed));
  expect_violation("without its feature");
}
TEST_F(BareDriver, OutsideTheBar) {
  EXPECT_EQ(common->read32(0x3ffe), 0xffffffffU);
  common->write8(0x4000, 1);
  EXPECT_EQ(device.accesses_outside_bar(), 2U);
}
TEST_F(BareDriver, QueueSizes) {
  negotiate();
  common->write16(VIRTIO_PCI_COMMON_Q_SIZE, 100);
  expect_violation("power of two");
}
TEST_F(BareDriver, QueueTooLarge) {
  negotiate();
  common->write16(VIRTIO_PCI_COMMON_Q_SIZE, 512);
  expect_violation("512 of at most 256");
}
TEST_F(BareDriver, QueueWithoutAddresses) {
  negotiate();
  common->write16(VIRTIO_PCI_COMMON_Q_ENABLE, 1);
  expect_violation("before its addresses");
}
TEST_F(BareDriver, QueueDisabledByAZero) {
  negotiate();
  common->write16(VIRTIO_PCI_COMMON_Q_ENABLE, 0);
  expect_violation("0 written to queue_enable");
}
TEST_F(BareDriver, QueueChangedAfterItWasEnabled) {
  run();
  common->write16(VIRTIO_PCI_COMMON_Q_SELECT, 0);
  common->write16(VIRTIO_PCI_COMMON_Q_SIZE, 16);
  expect_violation("changed after it was enabled");
}
TEST_F(BareDriver, QueueEnabledAfterDriverOk) {
  run();
  set_up_queue(2, 8192);
  expect_violation("after DRIVER_OK");
}
TEST_F(BareDriver, QueueBeforeFeaturesOk) {
  reset();
  ASSERT_TRUE(function->set_bus_master(true));
  set_up_queue(0, 0);
  expect_violation("before FEATURES_OK");
}
TEST_F(BareDriver, MisalignedRings) {
  negotiate();
  ASSERT_TRUE(function->set_bus_master(true));
  set_up_queue(0, 8);
  expect_violation("not aligned to 16");
}
TEST_F(BareDriver, RingsOutsideTheMemory) {
  negotiate();
  ASSERT_TRUE(function->set_bus_master(true));
  set_up_queue(0, kBytes);
  EXPECT_FALSE(device.iommu().faults().empty());
  EXPECT_TRUE(device.needs_reset());
}

// --- doorbells ---

TEST_F(BareDriver, DoorbellBeforeDriverOk) {
  negotiate();
  ASSERT_TRUE(function->set_bus_master(true));
  set_up_queue(0, 0);
  ring_doorbell(0);
  expect_violation("before DRIVER_OK");
}
TEST_F(BareDriver, DoorbellAtTheWrongPlace) {
  run();
  auto bell = function->doorbell(4, 0x3000, 16);
  bell->ring(1);
  expect_violation("doorbell of queue 1 at 0x0 instead of 0x4");
}
TEST_F(BareDriver, DoorbellOfAQueueThatIsOff) {
  run();
  ring_doorbell(2);
  expect_violation("which is not enabled");
}
TEST_F(BareDriver, DoorbellOfTheWrongWidth) {
  run();
  auto bell = function->doorbell(4, 0x3000, 32);
  bell->ring(0);
  expect_violation("doorbell of 4 bytes");
}

// --- rings ---

TEST_F(BareDriver, AHeadOutsideTheRing) {
  run();
  offer(1, 8);
  EXPECT_FALSE(device.fetch().has_value());
  expect_violation("descriptor 8 in a ring of 8");
  EXPECT_TRUE(device.needs_reset()) << "as QEMU's does";
}
TEST_F(BareDriver, ANextOutsideTheRing) {
  run();
  descriptor(1, 0, {iova(65536), 72, VRING_DESC_F_NEXT, 9});
  offer(1, 0);
  EXPECT_FALSE(device.fetch().has_value());
  expect_violation("descriptor 9 in a ring of 8");
}
TEST_F(BareDriver, AChainThatLoops) {
  run();
  descriptor(1, 0, {iova(65536), 72, VRING_DESC_F_NEXT, 1});
  descriptor(1, 1, {iova(65536), 72, VRING_DESC_F_NEXT, 0});
  offer(1, 0);
  EXPECT_FALSE(device.fetch().has_value());
  expect_violation("already in an outstanding chain");
}
TEST_F(BareDriver, ADescriptorInTwoChains) {
  run();
  offer_frame(3);
  ASSERT_TRUE(device.fetch().has_value());
  offer_frame(3);
  EXPECT_FALSE(device.fetch().has_value());
  expect_violation("already in an outstanding chain");
}
TEST_F(BareDriver, AnIndexThatRunsAway) {
  run();
  offer(1, 0, 9);
  EXPECT_FALSE(device.fetch().has_value());
  expect_violation("9 ahead in a ring of 8");
}
TEST_F(BareDriver, AnIndexThatGoesBack) {
  run();
  offer(1, 0, 0xffff);
  EXPECT_FALSE(device.fetch().has_value());
  expect_violation("65535 ahead");
}
TEST_F(BareDriver, ReadableAfterWritable) {
  run();
  descriptor(1, 0, {iova(65536), 72, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1});
  descriptor(1, 1, {iova(65536), 72, 0, 0});
  offer(1, 0);
  EXPECT_FALSE(device.fetch().has_value());
  expect_violation("device-readable descriptor follows");
}
TEST_F(BareDriver, IndirectWithoutTheFeature) {
  run();
  descriptor(1, 0, {iova(65536), 16, VRING_DESC_F_INDIRECT, 0});
  offer(1, 0);
  EXPECT_FALSE(device.fetch().has_value());
  expect_violation("INDIRECT_DESC");
}
TEST_F(BareDriver, DmaOutsideTheMemory) {
  run();
  descriptor(1, 0, {iova(kBytes - 10), 72, 0, 0});
  offer(1, 0);
  EXPECT_FALSE(device.fetch().has_value());
  ASSERT_EQ(device.iommu().faults().size(), 1U);
  EXPECT_EQ(device.iommu().faults()[0].iova, iova(kBytes - 10));
  EXPECT_TRUE(device.needs_reset());
}
TEST_F(BareDriver, DmaToAVirtualAddress) {
  run();
  descriptor(1, 0, {reinterpret_cast<std::uint64_t>(memory.get()), 72, 0, 0});
  offer(1, 0);
  EXPECT_FALSE(device.fetch().has_value());
  EXPECT_EQ(device.iommu().faults().size(), 1U) << "an IOVA is not an address of the process";
}
TEST_F(BareDriver, AReadableRxBuffer) {
  run();
  descriptor(0, 0, {iova(32768), 2048, 0, 0});
  offer(0, 0);
  EXPECT_FALSE(device.deliver(std::vector<std::byte>(60)));
  expect_violation("device-readable");
}
TEST_F(BareDriver, AWritableTxBuffer) {
  run();
  descriptor(1, 0, {iova(32768), 72, VRING_DESC_F_WRITE, 0});
  offer(1, 0);
  EXPECT_FALSE(device.fetch().has_value());
  expect_violation("device-writable");
}
TEST_F(BareDriver, ATxHeaderWithFieldsThatWereNotNegotiated) {
  run();
  memory.get()[65536] = std::byte{VIRTIO_NET_HDR_F_NEEDS_CSUM};
  offer_frame();
  EXPECT_TRUE(device.fetch().has_value());
  expect_violation("without CSUM");
}
TEST_F(BareDriver, ATxHeaderWithNumBuffers) {
  run();
  memory.get()[65536 + 10] = std::byte{1};
  offer_frame();
  EXPECT_TRUE(device.fetch().has_value());
  expect_violation("num_buffers");
}
TEST_F(BareDriver, ATxChainThatIsOnlyAHeader) {
  run();
  descriptor(1, 0, {iova(65536), 12, 0, 0});
  offer(1, 0);
  EXPECT_FALSE(device.fetch().has_value());
  expect_violation("no frame behind the header");
}
TEST_F(BareDriver, OpenedTwice) {
  const auto second = device.function();
  expect_violation("opened twice");
}

}  // namespace
}  // namespace spinring::sim
