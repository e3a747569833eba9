#include "vfio_glue/container_iommu.hpp"

#include <cerrno>

#include "base/log.hpp"
#include "tests/unit/vfio_glue/machine.hpp"

namespace spinring::vfio_glue {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class Opening : public Machine {};

TEST_F(Opening, TakesType1v2AndFallsBackToType1) {
  { const auto v2 = open(*backend()); }
  kernel.type1v2 = false;
  auto v1 = backend();
  {
    const auto device = open(*v1);
    EXPECT_NE(v1->mapper(), nullptr);
    v1->release_device(address(kNic));
  }
  EXPECT_EQ(v1->mapper(), nullptr);
}

TEST_F(Opening, TheLastDeviceTakesTheMapperAlongAndTheNextMakesANewOne) {
  auto space = backend();
  EXPECT_EQ(space->mapper(), nullptr);
  for (int round = 0; round < 3; ++round) {
    const auto device = open(*space);
    EXPECT_NE(space->mapper(), nullptr);
    EXPECT_EQ(space->devices(), 1U);
    space->release_device(address(kNic));
    EXPECT_EQ(space->mapper(), nullptr);
  }
}

TEST_F(Opening, SeveralGroupsShareOneContainerAndItsMemory) {
  kernel.add("0000:02:00.0", 8, "vfio-pci");
  auto space = backend();
  TestMemory memory;
  {
    const auto first = open(*space);
    ASSERT_TRUE(space->mapper()->add(memory.region()).has_value());
    {
      const auto second = open(*space, "0000:02:00.0");
      ASSERT_TRUE(second->set_bus_master(true).has_value());
      memory.region().va[5] = std::byte{'x'};
      const Iova iova = space->mapper()->table().iova(memory.region().va + 5, 0);
      EXPECT_EQ(kernel.dma_read("0000:02:00.0", to_u64(iova), 1), "x");
    }
    space->release_device(address("0000:02:00.0"));
    EXPECT_EQ(kernel.dma_mappings(), 1U);  // the first still needs it
    space->mapper()->remove(memory.region());
  }
  space->release_device(address(kNic));
}

TEST_F(Opening, SeveralDevicesShareOneGroup) {
  kernel.add("0000:01:00.1", 7, "vfio-pci");
  auto space = backend();
  {
    const auto first = open(*space);
    const auto second = open(*space, "0000:01:00.1");
    EXPECT_EQ(space->devices(), 2U);
    EXPECT_THAT(kernel.open_files(), Contains("/dev/vfio/7").Times(1));
  }
  space->release_device(address(kNic));
  EXPECT_THAT(kernel.open_files(), Contains("/dev/vfio/7"));
  space->release_device(address("0000:01:00.1"));
  EXPECT_THAT(kernel.open_files(), testing::Not(Contains("/dev/vfio/7")));
}

TEST_F(Opening, ADeviceOpensOnce) {
  auto space = backend();
  {
    const auto device = open(*space);
    EXPECT_REFUSED(space->open_device(info()), Errc::kBusy, HasSubstr("This program has opened it already"));
  }
  space->release_device(address(kNic));
}

TEST_F(Opening, AGroupWithANarrowerIommuIsRefusedIfMemoryIsInItsWay) {
  kernel.add("0000:02:00.0", 8, "vfio-pci");
  kernel.group_ranges[8] = {{1 << 30, (1ULL << 32) - 1}};
  auto space = backend();
  TestMemory memory;
  {
    const auto first = open(*space);
    ASSERT_TRUE(space->mapper()->add(memory.region()).has_value());
    EXPECT_REFUSED(space->open_device(info("0000:02:00.0")), Errc::kAperture,
                   AllOf(HasSubstr("/dev/vfio/8"), HasSubstr("open its devices before the others")));
    EXPECT_EQ(kernel.dma_mappings(), 1U);
    space->mapper()->remove(memory.region());
  }
  space->release_device(address(kNic));
}

TEST_F(Opening, AGroupThatJoinsNarrowsTheRangesForLaterMemory) {
  kernel.add("0000:02:00.0", 8, "vfio-pci");
  kernel.group_ranges[8] = {{1 << 30, (1ULL << 32) - 1}};
  auto space = backend();
  TestMemory memory;
  {
    const auto first = open(*space);
    const auto second = open(*space, "0000:02:00.0");
    ASSERT_TRUE(space->mapper()->add(memory.region()).has_value());
    EXPECT_EQ(to_u64(space->mapper()->table().iova(memory.region().va, 0)), 1U << 30);
    space->mapper()->remove(memory.region());
  }
  space->release_device(address("0000:02:00.0"));
  space->release_device(address(kNic));
}

TEST_F(Opening, NoVfioSaysWhichModule) {
  kernel.at(kNic).driver = "";
  kernel.vfio_pci_loaded = false;
  EXPECT_REFUSED(ContainerIommu::create(kernel, false), Errc::kNoModule,
                 AllOf(HasSubstr("/dev/vfio/vfio"), HasSubstr("modprobe vfio-pci")));
  kernel.vfio_pci_loaded = true;
  kernel.at(kNic).driver = "vfio-pci";
}

TEST_F(Opening, NoIommuTypeSaysWhichModule) {
  kernel.type1 = kernel.type1v2 = false;
  EXPECT_REFUSED(ContainerIommu::create(kernel, false), Errc::kNoModule,
                 HasSubstr("modprobe vfio_iommu_type1"));
}

TEST_F(Opening, AnUnknownApiVersionIsRefused) {
  kernel.api_version = 1;
  EXPECT_REFUSED(ContainerIommu::create(kernel, false), Errc::kApiVersion, HasSubstr("version 1"));
}

TEST_F(Opening, ADeviceBehindNoIommuIsRefusedWithTheBootOption) {
  kernel.add("0000:02:00.0", -1, "vfio-pci");
  auto space = backend();
  EXPECT_REFUSED(space->open_device(info("0000:02:00.0")), Errc::kNoIommu,
                 AllOf(HasSubstr("0000:02:00.0"), HasSubstr("intel_iommu=on")));
}

TEST_F(Opening, AGroupThatIsNotViableListsItsDevicesAndDrivers) {
  kernel.add("0000:01:00.1", 7, "e1000e");
  kernel.add("0000:01:00.2", 7, "");
  auto space = backend();
  EXPECT_REFUSED(space->open_device(info()), Errc::kGroupNotViable,
                 AllOf(HasSubstr("/dev/vfio/7"), HasSubstr("0000:01:00.0 (vfio-pci)"),
                       HasSubstr("0000:01:00.1 (e1000e)"), HasSubstr("0000:01:00.2 (no driver)"),
                       HasSubstr("spinring-devbind --bind 0000:01:00.1")));
}

TEST_F(Opening, PermissionOnTheGroupsNodeNamesTheNode) {
  kernel.denied.insert("/dev/vfio/7");
  auto space = backend();
  EXPECT_REFUSED(space->open_device(info()), Errc::kPermission,
                 AllOf(HasSubstr("/dev/vfio/7"), HasSubstr("Permission denied"),
                       HasSubstr("sudo chown $USER /dev/vfio/7")));
}

TEST_F(Opening, AGroupHeldByAnotherProcessSaysHowToFindIt) {
  kernel.held_elsewhere.insert(7);
  auto space = backend();
  EXPECT_REFUSED(space->open_device(info()), Errc::kBusy,
                 AllOf(HasSubstr("/dev/vfio/7"), HasSubstr("fuser -v /dev/vfio/7")));
}

TEST_F(Opening, ADeviceThatIsNotBoundSaysHowToBindIt) {
  kernel.add("0000:01:00.1", 7, "");
  auto space = backend();
  EXPECT_REFUSED(space->open_device(info("0000:01:00.1")), Errc::kBind,
                 AllOf(HasSubstr("0000:01:00.1"), HasSubstr("spinring-devbind --bind 0000:01:00.1")));
  kernel.add("0000:02:00.0", 8, "");
  EXPECT_REFUSED(space->open_device(info("0000:02:00.0")), Errc::kNoGroup,
                 AllOf(HasSubstr("/dev/vfio/8"), HasSubstr("spinring-devbind --bind")));
}

TEST_F(Opening, WithoutInterruptRemappingSaysWhatToSwitchOn) {
  kernel.interrupt_remapping = false;
  auto space = backend();
  EXPECT_REFUSED(space->open_device(info()), Errc::kPermission,
                 AllOf(HasSubstr("intremap=on"), HasSubstr("allow_unsafe_interrupts=1")));
}

std::string warnings;

class NoIommuMode : public testing::Test {
 protected:
  NoIommuMode() {
    kernel.noiommu = true;
    kernel.add("0000:01:00.0", -1, "virtio-pci");
    kernel.at("0000:01:00.0").driver_override = "vfio-pci";
    kernel.write_file("/sys/bus/pci/drivers/virtio-pci/unbind", "0000:01:00.0").value();
    kernel.write_file("/sys/bus/pci/drivers_probe", "0000:01:00.0").value();
    warnings.clear();
    set_log_sink([](LogLevel level, std::string_view text) {
      if (level == LogLevel::kWarning) warnings += text;
    });
  }
  ~NoIommuMode() override {
    set_log_sink([](LogLevel, std::string_view) {});
    EXPECT_THAT(kernel.open_files(), IsEmpty());
  }
  PciDeviceInfo info() { return read_pci_device(kernel, address("0000:01:00.0")).value(); }
  sim::FakeKernel kernel;
};

TEST_F(NoIommuMode, OpensTheNodeOfThatNameWithAWarning) {
  auto space = std::move(ContainerIommu::create(kernel, true).value());
  const Result<Fd> fd = space->open_device(info());
  ASSERT_TRUE(fd.has_value()) << fd.error().message();
  EXPECT_THAT(kernel.open_files(), Contains(HasSubstr("/dev/vfio/noiommu-")));
  EXPECT_THAT(warnings, AllOf(HasSubstr("/dev/vfio/noiommu-"), HasSubstr("no IOMMU")));

  // The device sees physical addresses: here, the fake's.
  TestMemory memory(3, 8 << 20, 2 << 20);
  ASSERT_TRUE(space->mapper()->add(memory.region()).has_value());
  const auto virtual_address = reinterpret_cast<std::uint64_t>(memory.region().va);
  EXPECT_EQ(to_u64(space->mapper()->table().iova(memory.region().va, 3)), virtual_address);
  space->mapper()->remove(memory.region());
}

TEST_F(NoIommuMode, IsNeverTakenUnlessAskedFor) {
  auto space = std::move(ContainerIommu::create(kernel, false).value());
  const Result<Fd> fd = space->open_device(info());
  EXPECT_REFUSED(fd, Errc::kNoGroup, HasSubstr("/dev/vfio/"));
  EXPECT_THAT(warnings, IsEmpty());
}

TEST_F(NoIommuMode, AKernelWithoutItSaysHowToSwitchItOn) {
  kernel.noiommu = false;
  EXPECT_REFUSED(ContainerIommu::create(kernel, true), Errc::kNoIommuType,
                 HasSubstr("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"));
}

TEST_F(NoIommuMode, RefusesMemoryThatIsNotOnePhysicalRange) {
  auto space = std::move(ContainerIommu::create(kernel, true).value());
  const Result<Fd> fd = space->open_device(info());
  ASSERT_TRUE(fd.has_value());
  TestMemory memory(0, 32 << 20, 2 << 20);
  kernel.scattered_memory = true;
  EXPECT_REFUSED(space->mapper()->add(memory.region()), Errc::kNotContiguous,
                 HasSubstr("2048 KiB are scattered"));
  kernel.pagemap_readable = false;
  EXPECT_REFUSED(space->mapper()->add(memory.region()), Errc::kPermission, HasSubstr("CAP_SYS_ADMIN"));
  TestMemory normal(1);
  EXPECT_REFUSED(space->mapper()->add(normal.region()), Errc::kAlignment, HasSubstr("needs hugepages"));
}

}  // namespace
}  // namespace spinring::vfio_glue
