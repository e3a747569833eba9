#include "vfio_glue/iommu_type1.hpp"

#include <linux/vfio.h>

#include <cerrno>

#include "tests/unit/vfio_glue/machine.hpp"

namespace spinring::vfio_glue {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

/// A container with its IOMMU set.
class Mapping1 : public Machine {
 protected:
  Mapping1() {
    container_.emplace(std::move(Container::open(kernel).value()));
    group_.emplace(std::move(Group::open(kernel, 7, false).value()));
    EXPECT_TRUE(group_->attach(*container_).has_value());
    EXPECT_TRUE(container_->set_iommu(VFIO_TYPE1v2_IOMMU).has_value());
  }
  ~Mapping1() override {
    group_.reset();
    container_.reset();
  }
  std::unique_ptr<Type1Mapper> mapper() {
    return std::move(Type1Mapper::create(kernel, container_->fd()).value());
  }

 private:
  std::optional<Container> container_;
  std::optional<Group> group_;
};

TEST_F(Mapping1, ReadsTheCapabilityChain) {
  kernel.ranges = {{0x1000, 0xffff'ffff}, {1ULL << 33, (1ULL << 34) - 1}};
  const auto type1 = mapper();
  EXPECT_THAT(type1->ranges(),
              ElementsAre(IovaRange{0x1000, 0xffff'ffff}, IovaRange{1ULL << 33, (1ULL << 34) - 1}));
  EXPECT_EQ(type1->page_sizes(), kernel.page_sizes);
  EXPECT_EQ(type1->mappings_left(), 65535U);
}

TEST_F(Mapping1, WithoutReportedRangesIsConservative) {
  kernel.report_ranges = false;
  const auto type1 = mapper();
  const auto defaults = default_iova_ranges();
  EXPECT_TRUE(std::equal(type1->ranges().begin(), type1->ranges().end(), defaults.begin(), defaults.end()));
}

TEST_F(Mapping1, MapsAWholeRegionInOneCallAndUnmapsIt) {
  const auto type1 = mapper();
  TestMemory memory(5, 8 << 20, 2 << 20);
  ASSERT_TRUE(type1->add(memory.region()).has_value());
  EXPECT_EQ(kernel.dma_mappings(), 1U);
  const std::uint64_t iova = to_u64(type1->table().iova(memory.region().va, 5));
  EXPECT_NE(iova, 0U);
  EXPECT_EQ(iova % (2 << 20), 0U);
  EXPECT_EQ(to_u64(type1->table().iova(memory.region().va + 12345, 5)), iova + 12345);
  type1->remove(memory.region());
  EXPECT_EQ(kernel.dma_mappings(), 0U);
}

TEST_F(Mapping1, UnmapsWhatIsLeftWhenItGoes) {
  TestMemory first(0);
  TestMemory second(1);
  {
    const auto type1 = mapper();
    ASSERT_TRUE(type1->add(first.region()).has_value());
    ASSERT_TRUE(type1->add(second.region()).has_value());
    EXPECT_EQ(kernel.dma_mappings(), 2U);
  }
  EXPECT_EQ(kernel.dma_mappings(), 0U);
}

TEST_F(Mapping1, GiantPagesGetGiantAlignment) {
  const auto type1 = mapper();
  TestMemory small(0);
  TestMemory giant(1, 1UL << 30, 1UL << 30);
  ASSERT_TRUE(type1->add(small.region()).has_value());
  ASSERT_TRUE(type1->add(giant.region()).has_value());
  EXPECT_EQ(to_u64(type1->table().iova(giant.region().va, 1)) % (1UL << 30), 0U);
  type1->remove(giant.region());
  type1->remove(small.region());
}

TEST_F(Mapping1, MemlockNamesWhatIsNeededAndWhatIsAllowed) {
  kernel.memlock = 100 * 1024;
  const auto type1 = mapper();
  TestMemory first(0);
  TestMemory second(1);
  ASSERT_TRUE(type1->add(first.region()).has_value());
  EXPECT_REFUSED(type1->add(second.region()), Errc::kMemlock,
                 AllOf(HasSubstr("memory region 1"), HasSubstr("128 KiB of locked memory are needed"),
                       HasSubstr("100 KiB are allowed"), HasSubstr("ulimit -l 128"),
                       HasSubstr("Cannot allocate memory")));
  EXPECT_EQ(kernel.dma_mappings(), 1U);
  type1->remove(first.region());
}

TEST_F(Mapping1, MappingsUsedUpNamesTheLimit) {
  kernel.dma_entry_limit = 1;
  const auto type1 = mapper();
  TestMemory first(0);
  TestMemory second(1);
  ASSERT_TRUE(type1->add(first.region()).has_value());
  EXPECT_REFUSED(type1->add(second.region()), Errc::kMappingsExhausted,
                 AllOf(HasSubstr("memory region 1"), HasSubstr("dma_entry_limit"), HasSubstr("1 left")));
  type1->remove(first.region());
}

TEST_F(Mapping1, AnApertureTooNarrowNamesItAndTheMemory) {
  kernel.ranges = {{0, (1 << 20) - 1}};
  const auto type1 = mapper();
  TestMemory memory(2, 4 << 20, 2 << 20);
  EXPECT_REFUSED(type1->add(memory.region()), Errc::kAperture,
                 AllOf(HasSubstr("memory region 2 (4096 KiB)"), HasSubstr("0x0-0xfffff"),
                       HasSubstr("aligned to 2048 KiB"), HasSubstr("aw-bits=48")));
}

TEST_F(Mapping1, PagesSmallerThanTheIommusAreRefused) {
  kernel.page_sizes = 0x10000;
  const auto type1 = mapper();
  TestMemory memory(0);
  EXPECT_REFUSED(type1->add(memory.region()), Errc::kAlignment, HasSubstr("smallest page has 65536"));
}

TEST_F(Mapping1, ARefusedMapGivesItsAddressBack) {
  const auto type1 = mapper();
  TestMemory first(0);
  TestMemory second(1);
  kernel.fail_call("ioctl VFIO_DEVICE_PCI_HOT_RESET or VFIO_IOMMU_MAP_DMA", 1, EFAULT);
  EXPECT_REFUSED(type1->add(first.region()), Errc::kKernel, HasSubstr("VFIO_IOMMU_MAP_DMA"));
  ASSERT_TRUE(type1->add(second.region()).has_value());
  EXPECT_EQ(to_u64(type1->table().iova(second.region().va, 1)), 4096U);  // the lowest there is
  type1->remove(second.region());
}

}  // namespace
}  // namespace spinring::vfio_glue
