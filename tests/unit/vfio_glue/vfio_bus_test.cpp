#include "pmd/bus/vfio/vfio_bus.hpp"

#include <linux/pci_regs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/log.hpp"
#include "tests/unit/vfio_glue/machine.hpp"

namespace spinring::pmd {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using vfio_glue::Errc;

constexpr const char* kFirst = "0000:01:00.0";
constexpr const char* kSecond = "0000:02:00.0";

/// A machine with two NICs, each in a group of its own, in the hands of virtio-pci; and pool memory.
class Bus : public testing::Test {
 protected:
  Bus() {
    kernel.add(kFirst, 7, "virtio-pci");
    kernel.add(kSecond, 8, "virtio-pci");
    memory = std::move(mempool::Memory::create({.bytes = 256 * 1024, .hugepages = false}).value());
  }
  ~Bus() override {
    bus.reset();
    EXPECT_THAT(kernel.leftovers(), IsEmpty());
  }
  std::unique_ptr<PciFunction> open(const char* address = kFirst) {
    if (bus == nullptr) bus = std::move(VfioBus::create(*memory, options, kernel).value());
    return std::move(bus->open(address).value());
  }

  sim::FakeKernel kernel;
  std::unique_ptr<mempool::Memory> memory;
  VfioOptions options;
  std::unique_ptr<VfioBus> bus;
};

TEST_F(Bus, OpensBindsMapsAndGivesEverythingBack) {
  {
    const auto function = open();
    EXPECT_EQ(function->name(), kFirst);
    EXPECT_EQ(function->iommu_group(), 7);
    EXPECT_EQ(function->numa_node(), 0);
    EXPECT_EQ(kernel.at(kFirst).driver, "vfio-pci");
    EXPECT_TRUE(kernel.at(kFirst).memory_space());
    EXPECT_FALSE(kernel.at(kFirst).bus_master());
    EXPECT_EQ(kernel.dma_mappings(), memory->regions().size());
  }
  EXPECT_EQ(kernel.dma_mappings(), 0U);
  EXPECT_EQ(kernel.at(kFirst).driver, "virtio-pci");
  EXPECT_THAT(kernel.open_files(), testing::ElementsAre("/dev/vfio/vfio"));
}

TEST_F(Bus, TheDeviceSeesThePoolsMemory) {
  const auto function = open();
  const mempool::DmaBlock block = std::move(memory->allocate(4096, 64).value());
  std::memcpy(block.data(), "packet", 6);
  const std::uint64_t iova = to_u64(block.iova(function->dma()));
  EXPECT_EQ(kernel.dma_read(kFirst, iova, 6), std::nullopt);  // bus mastering is off
  ASSERT_TRUE(function->set_bus_master(true).has_value());
  EXPECT_EQ(kernel.dma_read(kFirst, iova, 6), "packet");
  EXPECT_EQ(kernel.dma_read(kFirst, 0xdead0000, 6), std::nullopt);
}

TEST_F(Bus, MemoryThatComesLaterIsMappedToo) {
  const auto function = open();
  ASSERT_TRUE(memory->grow({.bytes = 64 * 1024, .hugepages = false}).has_value());
  EXPECT_EQ(kernel.dma_mappings(), 2U);
}

TEST_F(Bus, TwoDevicesShareTheAddressSpaceAndGoInAnyOrder) {
  auto first = open();
  auto second = open(kSecond);
  EXPECT_EQ(&first->dma(), &second->dma());
  EXPECT_EQ(kernel.dma_mappings(), 1U);
  first.reset();
  EXPECT_EQ(kernel.at(kFirst).driver, "virtio-pci");
  EXPECT_EQ(kernel.dma_mappings(), 1U);
  first = open();
  second.reset();
  EXPECT_EQ(kernel.dma_mappings(), 1U);
  first.reset();
  EXPECT_EQ(kernel.dma_mappings(), 0U);
  first = open();  // a new address space in the same container
  EXPECT_EQ(kernel.dma_mappings(), 1U);
}

TEST_F(Bus, ADeviceLeftWithVfioByAKilledProcessIsJustUsed) {
  kernel.at(kFirst).driver = "vfio-pci";
  { const auto function = open(); }
  EXPECT_EQ(kernel.at(kFirst).driver, "vfio-pci");
  kernel.at(kFirst).driver = "virtio-pci";
}

TEST_F(Bus, WithoutBindADeviceElsewhereIsRefused) {
  options.bind = false;
  bus = std::move(VfioBus::create(*memory, options, kernel).value());
  EXPECT_REFUSED(bus->open(kFirst), Errc::kBind,
                 AllOf(HasSubstr("with virtio-pci"), HasSubstr("spinring-devbind --bind 0000:01:00.0")));
}

TEST_F(Bus, RefusesBadAddressesMissingDevicesAndDevicesOpenAlready) {
  const auto function = open();
  EXPECT_REFUSED(bus->open("eth0"), Errc::kBadAddress, HasSubstr("eth0"));
  EXPECT_REFUSED(bus->open("0000:33:00.0"), Errc::kNoDevice, HasSubstr("0000:33:00.0"));
  EXPECT_REFUSED(bus->open(kFirst), Errc::kBusy, HasSubstr(kFirst));
  EXPECT_EQ(kernel.at(kFirst).driver, "vfio-pci");  // the refusal took nothing away
}

TEST_F(Bus, WithoutAnIommuNothingIsBound) {
  kernel.at(kFirst).group = kernel.at(kSecond).group = -1;
  bus = std::move(VfioBus::create(*memory, options, kernel).value());
  EXPECT_REFUSED(bus->open(kFirst), Errc::kNoIommu, HasSubstr("intel_iommu=on"));
  EXPECT_THAT(kernel.trace(), testing::Not(Contains(HasSubstr("write "))));
}

TEST_F(Bus, ADeviceMayGetItsGroupByBeingBound) {
  sim::FakeDevice& late = kernel.add("0000:03:00.0", -1, "");
  late.group_on_bind = 9;
  {
    const auto function = open("0000:03:00.0");
    EXPECT_EQ(function->iommu_group(), 9);
  }
  kernel.add("0000:04:00.0", -1, "");  // this one gets none
  EXPECT_REFUSED(bus->open("0000:04:00.0"), Errc::kBind, HasSubstr("0000:04:00.0"));
}

TEST_F(Bus, RefusedMemoryLeavesTheDeviceWithItsDriver) {
  kernel.memlock = 4096;
  bus = std::move(VfioBus::create(*memory, options, kernel).value());
  EXPECT_REFUSED(bus->open(kFirst), Errc::kMemlock,
                 AllOf(HasSubstr("ulimit -l"), HasSubstr("4 KiB are allowed")));
  EXPECT_EQ(kernel.at(kFirst).driver, "virtio-pci");
}

TEST_F(Bus, DoorbellsAreMappedWhereTheyCanBe) {
  kernel.at(kFirst).bars[2] = {0x2000, true, false, {{0, 0x1000}}};
  const auto function = open();
  function->doorbell(2, 0x10, 16).value().ring(0x1234);
  EXPECT_EQ(kernel.peek(kFirst, 2, 0x10), 0x1234U);
  function->doorbell(2, 0x14, 32).value().ring(0xabcd1234);
  EXPECT_EQ(kernel.peek(kFirst, 2, 0x14), 0xabcd1234U);
  const unsigned calls = kernel.calls();
  const Doorbell word = function->doorbell(2, 0x1000, 16).value();
  const Doorbell dword = function->doorbell(2, 0x1004, 32).value();
  word.ring(0x5678);
  dword.ring(0x9abcdef0);
  EXPECT_EQ(kernel.peek(kFirst, 2, 0x1000), 0x5678U);
  EXPECT_EQ(kernel.peek(kFirst, 2, 0x1004), 0x9abcdef0U);
  EXPECT_EQ(kernel.calls(), calls + 2);
  for (const auto& [offset, width] : {std::pair{0x2000U, 32U}, {0x11U, 16U}, {0x10U, 8U}, {0x1ffeU, 32U}}) {
    EXPECT_REFUSED(function->doorbell(2, offset, width), Errc::kBadRegion, HasSubstr("doorbell"));
  }
}

TEST_F(Bus, InterruptsAndRemovalReachTheirDescriptors) {
  const auto function = open();
  EXPECT_EQ(function->interrupt_fd(0), -1);
  EXPECT_EQ(function->enable_interrupts(2).value(), 2U);
  kernel.fire(kFirst, 2, 1);
  std::uint64_t count = 0;
  EXPECT_EQ(::read(function->interrupt_fd(1), &count, sizeof(count)), 8);
  EXPECT_EQ(::read(function->interrupt_fd(0), &count, sizeof(count)), -1);
  EXPECT_TRUE(function->unmask_interrupt(1).has_value());
  EXPECT_REFUSED(function->unmask_interrupt(2), Errc::kNoInterrupt, HasSubstr("vector 2"));
  kernel.fire(kFirst, 4);
  EXPECT_EQ(::read(function->removal_fd(), &count, sizeof(count)), 8);
}

TEST_F(Bus, ConfigurationSpaceRegistersAndReset) {
  const auto function = open();
  EXPECT_EQ(function->read_config(PCI_STATUS, 2).value(), 0x10U);
  ASSERT_TRUE(function->write_config(0x80, 1, 0x42).has_value());
  EXPECT_EQ(kernel.at(kFirst).config[0x80], 0x42);
  RegisterBlock& registers = *function->bar(0).value();
  registers.write32(8, 7);
  EXPECT_EQ(kernel.peek(kFirst, 0, 8), 7U);
  EXPECT_REFUSED(function->bar(5), Errc::kBadRegion, HasSubstr("BAR 5"));
  ASSERT_TRUE(function->reset().has_value());
  EXPECT_EQ(kernel.at(kFirst).function_resets, 1U);
}

TEST_F(Bus, NoIommuModeFindsTheGroupThatVfioMakes) {
  kernel.noiommu = true;
  kernel.add("0000:03:00.0", -1, "virtio-pci");
  options.no_iommu = true;
  // Normal pages are refused in this mode, which shows that all was opened and is given back.
  bus = std::move(VfioBus::create(*memory, options, kernel).value());
  EXPECT_REFUSED(bus->open("0000:03:00.0"), vfio_glue::Errc::kAlignment, HasSubstr("needs hugepages"));
  EXPECT_THAT(kernel.trace(), Contains(HasSubstr("open /dev/vfio/noiommu-")));
}

TEST(BusFailures, EveryCallThatFailsLeavesNothing) {
  const auto memory = std::move(mempool::Memory::create({.bytes = 64 * 1024, .hugepages = false}).value());
  unsigned opening = 0;
  const auto run = [&](sim::FakeKernel& kernel) -> Result<void> {
    Result<std::unique_ptr<VfioBus>> bus = VfioBus::create(*memory, {}, kernel);
    if (!bus) return fail(std::move(bus));
    Result<std::unique_ptr<PciFunction>> function = (*bus)->open(kFirst);
    if (!function) return fail(std::move(function));
    if (auto bell = (*function)->doorbell(0, 0, 32); !bell) return fail(std::move(bell));
    if (auto armed = (*function)->enable_interrupts(1); !armed) return fail(std::move(armed));
    if (auto on = (*function)->set_bus_master(true); !on) return on;
    opening = kernel.calls();
    return {};
  };
  {
    sim::FakeKernel kernel;
    kernel.add(kFirst, 7, "virtio-pci");
    ASSERT_TRUE(run(kernel).has_value());
    EXPECT_THAT(kernel.leftovers(), IsEmpty());
  }
  const unsigned calls = opening;
  ASSERT_GT(calls, 40U);
  for (unsigned nth = 1; nth <= calls; ++nth) {
    sim::FakeKernel kernel;
    kernel.add(kFirst, 7, "virtio-pci");
    kernel.fail_call(nth, EIO);
    const Result<void> done = run(kernel);
    ASSERT_FALSE(done.has_value()) << "swallowed: call " << nth << ", " << kernel.trace()[nth - 1];
    EXPECT_EQ(done.error().system_errno, EIO) << kernel.trace()[nth - 1];
    EXPECT_THAT(kernel.leftovers(), IsEmpty()) << "call " << nth << ": " << kernel.trace()[nth - 1];
  }
  std::printf("%u calls of the bus failed in turn\n", calls);
}

}  // namespace
}  // namespace spinring::pmd
