#include "vfio_glue/device.hpp"

#include <linux/pci_regs.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>

#include "tests/unit/vfio_glue/machine.hpp"
#include "vfio_glue/reset.hpp"

namespace spinring::vfio_glue {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

/// Takes what an eventfd has counted; 0 if it has not fired.
std::uint64_t take(int fd) {
  std::uint64_t count = 0;
  return ::read(fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

class OpenDevice : public Machine {
 protected:
  Device& device() {
    if (space_ == nullptr) space_ = backend();
    if (device_ == nullptr) device_ = open(*space_);
    return *device_;
  }
  void close() {
    device_.reset();
    space_.reset();
  }
  ~OpenDevice() override { close(); }
  IommuBackend& space() { return *space_; }

 private:
  std::unique_ptr<IommuBackend> space_;
  std::unique_ptr<Device> device_;
};

TEST_F(OpenDevice, MemorySpaceIsOnAndBusMasteringOff) {
  kernel.at(kNic).config[PCI_COMMAND] = PCI_COMMAND_MASTER;  // as a bad predecessor left it
  device();
  EXPECT_TRUE(kernel.at(kNic).memory_space());
  EXPECT_FALSE(kernel.at(kNic).bus_master());
}

TEST_F(OpenDevice, ClosingStopsDmaAndResets) {
  ASSERT_TRUE(device().set_bus_master(true).has_value());
  EXPECT_TRUE(kernel.at(kNic).bus_master());
  close();
  EXPECT_FALSE(kernel.at(kNic).bus_master());
  EXPECT_EQ(kernel.at(kNic).function_resets, 1U);
}

TEST_F(OpenDevice, RegistersGoThroughTheMapping) {
  Region& bar = *device().bar(0).value();
  EXPECT_EQ(bar.size(), 0x4000U);
  EXPECT_NE(bar.mapped(0x100, 4), nullptr);
  const unsigned calls = kernel.calls();
  bar.write32(0x100, 0x11223344);
  EXPECT_EQ(kernel.peek(kNic, 0, 0x100), 0x11223344U);
  kernel.poke(kNic, 0, 0x104, 0xaabbccdd);
  EXPECT_EQ(bar.read8(0x104), 0xddU);
  EXPECT_EQ(bar.read16(0x106), 0xaabbU);
  EXPECT_EQ(bar.read32(0x104), 0xaabbccddU);
  EXPECT_EQ(bar.read64(0x100), 0xaabbccdd'11223344U);
  bar.write8(0x200, 0x12);
  bar.write16(0x202, 0x3456);
  bar.write64(0x208, 0x0102030405060708);
  EXPECT_EQ(kernel.peek(kNic, 0, 0x200), 0x34560012U);
  EXPECT_EQ(kernel.peek(kNic, 0, 0x208), 0x05060708U);
  EXPECT_EQ(kernel.calls(), calls);  // no system call for any of it
}

TEST_F(OpenDevice, AccessOutsideReadsOnesAndWritesNothing) {
  Region& bar = *device().bar(0).value();
  EXPECT_EQ(bar.read32(0x3ffd), 0xffffffffU);  // three of its bytes are inside
  EXPECT_EQ(bar.read8(0x4000), 0xffU);
  EXPECT_EQ(bar.read16(~0ULL), 0xffffU);
  EXPECT_EQ(bar.read64(~0ULL - 3), ~0ULL);
  bar.write32(0x4000, 1);
  bar.write64(0x3ffc, 1);
  EXPECT_EQ(bar.read32(0x3ffc), 0U);
  EXPECT_EQ(bar.mapped(0x4000, 4), nullptr);
  EXPECT_EQ(bar.mapped(0x3ffe, 4), nullptr);
}

TEST_F(OpenDevice, UnalignedAccessIsMadeByTheKernel) {
  Region& bar = *device().bar(0).value();
  kernel.poke(kNic, 0, 0x10, 0x44332211);
  EXPECT_EQ(bar.read16(0x11), 0x3322U);
  EXPECT_THAT(kernel.trace().back(), HasSubstr("pread"));
}

TEST_F(OpenDevice, SparseAreasAreMappedAndTheRestGoesThroughTheKernel) {
  kernel.at(kNic).bars[2] = {0x4000, true, false, {{0, 0x1000}, {0x3000, 0x1000}}};
  Region& bar = *device().bar(2).value();
  EXPECT_NE(bar.mapped(0xffc, 4), nullptr);
  EXPECT_EQ(bar.mapped(0xffc, 8), nullptr);
  EXPECT_EQ(bar.mapped(0x1000, 4), nullptr);
  EXPECT_NE(bar.mapped(0x3000, 4), nullptr);
  for (const std::uint64_t offset : {0x0U, 0xffcU, 0x1000U, 0x2ffcU, 0x3000U, 0x3ffcU}) {
    bar.write32(offset, static_cast<std::uint32_t>(0xc0de0000U + offset));
    EXPECT_EQ(kernel.peek(kNic, 2, offset), 0xc0de0000U + offset);
    EXPECT_EQ(bar.read32(offset), 0xc0de0000U + offset);
  }
}

TEST_F(OpenDevice, AreasOutsideTheRegionAreLeftOut) {
  kernel.at(kNic).bars[2] = {
      0x2000, true, true, {{0, 0x1000}, {0x1000, 0x2000}, {~0ULL - 0xfff, 0x1000}, {0x800, 0x800}}};
  Region& bar = *device().bar(2).value();
  EXPECT_THAT(bar.info().areas, ElementsAre(MmapArea{0, 0x1000}));
  EXPECT_TRUE(bar.info().msix_mappable);
}

TEST_F(OpenDevice, ABarThatCannotBeMappedStillWorks) {
  kernel.at(kNic).bars[1] = {0x20, false, false, {}};  // I/O ports
  Region& bar = *device().bar(1).value();
  EXPECT_EQ(bar.mapped(0, 4), nullptr);
  bar.write32(4, 77);
  EXPECT_EQ(bar.read32(4), 77U);
}

TEST_F(OpenDevice, ASmallBarIsMappedByThePage) {
  kernel.at(kNic).bars[1] = {0x80, true, false, {}};
  Region& bar = *device().bar(1).value();
  EXPECT_NE(bar.mapped(0x7c, 4), nullptr);
  EXPECT_EQ(bar.mapped(0x80, 4), nullptr);
}

TEST_F(OpenDevice, ABarThatIsNotThereIsAnError) {
  EXPECT_REFUSED(device().bar(3), Errc::kBadRegion, AllOf(HasSubstr("BAR 3"), HasSubstr(kNic)));
  EXPECT_REFUSED(device().bar(6), Errc::kBadRegion, HasSubstr("BAR 6"));
  EXPECT_EQ(device().bar(0).value(), device().bar(0).value());  // mapped once
}

TEST_F(OpenDevice, ConfigurationSpaceIsReadAndWrittenInsideItsBounds) {
  const ConfigSpace& config = device().config();
  kernel.at(kNic).config[0] = 0xf4;
  kernel.at(kNic).config[1] = 0x1a;
  EXPECT_EQ(config.read(0, 2).value(), 0x1af4U);
  EXPECT_EQ(config.read(0, 1).value(), 0xf4U);
  ASSERT_TRUE(config.write(0x80, 4, 0x12345678).has_value());
  EXPECT_EQ(config.read(0x80, 4).value(), 0x12345678U);
  EXPECT_EQ(config.read(0x82, 2).value(), 0x1234U);
  EXPECT_REFUSED(config.read(0xfe, 4), Errc::kBadRegion, HasSubstr("0xfe+4"));
  EXPECT_REFUSED(config.write(0x100, 1, 0), Errc::kBadRegion, HasSubstr("0x100+1"));
  EXPECT_REFUSED(config.read(0, 3), Errc::kBadRegion, HasSubstr("0x0+3"));
}

TEST_F(OpenDevice, CapabilitiesAreWalkedInOrder) {
  auto& config = kernel.at(kNic).config;
  config[0x34] = 0x43;  // the two lowest bits are reserved
  config[0x40] = PCI_CAP_ID_VNDR;
  config[0x41] = 0x60;
  config[0x60] = PCI_CAP_ID_MSIX;
  config[0x61] = 0;
  EXPECT_THAT(device().config().capabilities().value(),
              ElementsAre(PciCapability{PCI_CAP_ID_VNDR, 0x40}, PciCapability{PCI_CAP_ID_MSIX, 0x60}));
  config[6] = 0;  // PCI_STATUS_CAP_LIST
  EXPECT_THAT(device().config().capabilities().value(), SizeIs(0));
}

TEST_F(OpenDevice, ACapabilityListThatLoopsOrPointsIntoTheHeaderIsRefused) {
  auto& config = kernel.at(kNic).config;
  device();
  config[0x41] = 0x60;
  config[0x61] = 0x40;
  EXPECT_REFUSED(device().config().capabilities(), Errc::kBadDevice,
                 AllOf(HasSubstr(kNic), HasSubstr("loops")));
  config[0x61] = 0x10;
  EXPECT_REFUSED(device().config().capabilities(), Errc::kBadDevice, HasSubstr("into the header"));
  for (std::size_t i = 0x40; i < config.size(); ++i) config[i] = 0xff;  // what a removed device reads as
  EXPECT_FALSE(device().config().capabilities().has_value());
}

TEST_F(OpenDevice, MsixVectorsFireTheirOwnEventfds) {
  ASSERT_EQ(device().enable_interrupts(3).value(), 3U);
  const IrqVectors& vectors = *device().interrupts();
  EXPECT_EQ(vectors.kind(), IrqKind::kMsix);
  EXPECT_TRUE(kernel.fire(kNic, 2, 1));
  EXPECT_EQ(take(vectors.event_fd(0)), 0U);
  EXPECT_EQ(take(vectors.event_fd(1)), 1U);
  EXPECT_EQ(vectors.event_fd(3), -1);
  EXPECT_FALSE(kernel.fire(kNic, 2, 3));     // not armed
  EXPECT_FALSE(vectors.mask().has_value());  // not for MSI-X
}

TEST_F(OpenDevice, InterruptsTakeWhatTheDeviceAndTheMachineHave) {
  EXPECT_EQ(device().enable_interrupts(9).value(), 4U);
  kernel.free_vectors = 2;  // a positive answer of VFIO_DEVICE_SET_IRQS
  EXPECT_EQ(device().enable_interrupts(4).value(), 2U);
  kernel.free_vectors = 0;
  EXPECT_REFUSED(device().enable_interrupts(4), Errc::kKernel, HasSubstr("MSI-X"));
  EXPECT_EQ(device().interrupts(), nullptr);
}

TEST_F(OpenDevice, InterruptsFallBackToMsiAndIntx) {
  kernel.at(kNic).irq_counts = {1, 1, 0, 0, 1};
  EXPECT_EQ(device().enable_interrupts(4).value(), 1U);
  EXPECT_EQ(device().interrupts()->kind(), IrqKind::kMsi);
  close();
  kernel.at(kNic).irq_counts = {1, 0, 0, 0, 1};
  EXPECT_EQ(device().enable_interrupts(1).value(), 1U);
  EXPECT_EQ(device().interrupts()->kind(), IrqKind::kIntx);
  EXPECT_EQ(device().enable_interrupts(2).value(), 0U);  // one line cannot tell two queues apart
  close();
  kernel.at(kNic).irq_counts = {0, 0, 0, 0, 1};
  EXPECT_EQ(device().enable_interrupts(1).value(), 0U);
  EXPECT_REFUSED(device().arm(IrqKind::kIntx, 1), Errc::kNoInterrupt,
                 AllOf(HasSubstr("INTx"), HasSubstr(kNic)));
}

TEST_F(OpenDevice, IntxMasksItselfUntilItIsServed) {
  ASSERT_TRUE(device().arm(IrqKind::kIntx, 1).has_value());
  const IrqVectors& line = *device().interrupts();
  EXPECT_TRUE(kernel.fire(kNic, 0));
  EXPECT_FALSE(kernel.fire(kNic, 0));  // still masked
  EXPECT_EQ(take(line.event_fd(0)), 1U);
  ASSERT_TRUE(line.unmask().has_value());
  EXPECT_EQ(take(line.event_fd(0)), 1U);  // what came meanwhile
  ASSERT_TRUE(line.unmask().has_value());
  ASSERT_TRUE(line.mask().has_value());
  EXPECT_FALSE(kernel.fire(kNic, 0));
  EXPECT_EQ(take(line.event_fd(0)), 0U);
}

TEST_F(OpenDevice, ErrorAndRequestInterruptsAreArmedFromTheStart) {
  EXPECT_GE(device().error_fd(), 0);
  EXPECT_GE(device().request_fd(), 0);
  EXPECT_TRUE(kernel.fire(kNic, 3));
  EXPECT_EQ(take(device().error_fd()), 1U);
  EXPECT_EQ(take(device().request_fd()), 0U);
  EXPECT_TRUE(kernel.fire(kNic, 4));
  EXPECT_EQ(take(device().request_fd()), 1U);
  close();
  EXPECT_FALSE(kernel.fire(kNic, 4));
}

TEST_F(OpenDevice, AFunctionWithoutErrorInterruptOpensAllTheSame) {
  kernel.at(kNic).irq_counts = {1, 0, 0, 0, 0};
  EXPECT_EQ(device().error_fd(), -1);
  EXPECT_EQ(device().request_fd(), -1);
}

TEST_F(OpenDevice, ResetLeavesMemorySpaceOnAndBusMasteringOff) {
  ASSERT_TRUE(device().set_bus_master(true).has_value());
  ASSERT_TRUE(device().reset().has_value());
  EXPECT_EQ(kernel.at(kNic).function_resets, 1U);
  EXPECT_EQ(kernel.at(kNic).bus_resets, 0U);
  EXPECT_TRUE(kernel.at(kNic).memory_space());
  EXPECT_FALSE(kernel.at(kNic).bus_master());
}

TEST_F(OpenDevice, WithoutAFunctionResetTheBusIsResetWithAllItsGroups) {
  kernel.at(kNic).function_reset = false;
  kernel.add("0000:01:00.1", 7, "vfio-pci");  // same group: ours too
  ASSERT_TRUE(device().reset().has_value());
  EXPECT_EQ(kernel.at(kNic).bus_resets, 1U);
  EXPECT_EQ(kernel.at("0000:01:00.1").bus_resets, 1U);
  close();
  EXPECT_EQ(kernel.at(kNic).bus_resets, 1U);  // not in passing
}

TEST_F(OpenDevice, ABusResetThatHitsAForeignGroupIsRefused) {
  kernel.at(kNic).function_reset = false;
  kernel.add("0000:01:00.1", 9, "vfio-pci");
  EXPECT_REFUSED(device().reset(), Errc::kNoReset, AllOf(HasSubstr("0000:01:00.1"), HasSubstr("group 9")));
  EXPECT_EQ(kernel.at(kNic).bus_resets, 0U);
}

TEST_F(OpenDevice, ABusResetThatHitsADeviceInUseIsRefused) {
  kernel.at(kNic).function_reset = false;
  kernel.add("0000:01:00.1", 7, "vfio-pci");
  device();
  {
    const auto neighbour = open(space(), "0000:01:00.1");
    EXPECT_REFUSED(device().reset(), Errc::kNoReset, HasSubstr("0000:01:00.1, which is in use here"));
  }
  space().release_device(address("0000:01:00.1"));
  EXPECT_TRUE(device().reset().has_value());
}

TEST_F(OpenDevice, NoResetAtAllSaysSo) {
  kernel.at(kNic).function_reset = kernel.at(kNic).bus_reset = false;
  EXPECT_REFUSED(device().reset(), Errc::kNoReset, HasSubstr(kNic));
}

}  // namespace
}  // namespace spinring::vfio_glue
