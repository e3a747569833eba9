#include "mempool/memory.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "base/log.hpp"
#include "base/mapping.hpp"
#include "mempool/errors.hpp"
#include "tests/unit/mempool/memory_fixture.hpp"
#include "tests/unit/mempool/recording_mapper.hpp"

namespace spinring::mempool {
namespace {

using MemoryTest = InMemory;
INSTANTIATE_TEST_SUITE_P(, MemoryTest, testing::Bool(), page_kind);

TEST_P(MemoryTest, DescribesItsRegion) {
  auto memory = make(kTwoMiB - 1);
  ASSERT_NE(memory, nullptr);
  const auto regions = memory->regions();
  ASSERT_EQ(regions.size(), 1U);
  EXPECT_EQ(regions[0].length, kTwoMiB);
  EXPECT_EQ(regions[0].page_size, GetParam() ? kTwoMiB : 4096U);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(regions[0].va) % regions[0].page_size, 0U);
  EXPECT_EQ(regions[0].id, 0);
  EXPECT_GE(regions[0].numa_node, -1);
}

TEST_P(MemoryTest, EveryPageIsThereBeforeAnybodyTouchesIt) {
  const std::size_t hugepages_before = process_bytes("HugetlbPages");
  const std::size_t locked_before = process_bytes("VmLck");
  auto memory = make();
  ASSERT_NE(memory, nullptr);
  if (GetParam()) {
    EXPECT_EQ(process_bytes("HugetlbPages"), hugepages_before + kTwoMiB);
  } else {
    EXPECT_EQ(process_bytes("VmLck"), locked_before + kTwoMiB);
    std::vector<unsigned char> present(kTwoMiB / 4096);
    ASSERT_EQ(::mincore(memory->regions()[0].va, kTwoMiB, present.data()), 0);
    EXPECT_TRUE(
        std::all_of(present.begin(), present.end(), [](unsigned char byte) { return (byte & 1) != 0; }));
  }
  memory.reset();
  EXPECT_EQ(process_bytes("HugetlbPages"), hugepages_before);
  EXPECT_EQ(process_bytes("VmLck"), locked_before);
}

TEST_P(MemoryTest, IsSharedByItsDescriptor) {
  auto memory = make();
  ASSERT_NE(memory, nullptr);
  const MemoryRegion region = memory->regions()[0];
  void* address = ::mmap(nullptr, region.length, PROT_READ | PROT_WRITE, MAP_SHARED, region.fd,
                         static_cast<off_t>(region.fd_offset));
  ASSERT_NE(address, MAP_FAILED);
  const Mapping other(address, region.length);
  region.va[region.length - 1] = std::byte{0x5a};
  EXPECT_EQ(other.data()[region.length - 1], std::byte{0x5a});
}

TEST_P(MemoryTest, BlocksAreZeroedAlignedAndReused) {
  auto memory = make();
  ASSERT_NE(memory, nullptr);
  std::byte* where = nullptr;
  {
    auto block = memory->allocate(5000, 4096);
    ASSERT_TRUE(block) << block.error().message();
    EXPECT_EQ(block->size(), 5000U);
    where = block->data();
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(where) % 4096, 0U);
    std::memset(where, 0xff, 5000);
  }
  auto again = memory->allocate(5000, 64);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->data(), where);
  EXPECT_TRUE(std::all_of(where, where + 5000, [](std::byte byte) { return byte == std::byte{0}; }));
}

TEST_P(MemoryTest, MovedBlocksAreGivenBackOnce) {
  auto memory = make();
  ASSERT_NE(memory, nullptr);
  auto block = memory->allocate(kTwoMiB, 64);
  ASSERT_TRUE(block);
  DmaBlock moved(std::move(*block));
  EXPECT_FALSE(*block);  // NOLINT(bugprone-use-after-move): empty, as it says
  EXPECT_TRUE(moved);
  EXPECT_FALSE(memory->allocate(1, 1));
  moved = DmaBlock{};
  EXPECT_TRUE(memory->allocate(kTwoMiB, 64));
}

TEST_P(MemoryTest, RefusesBlocksThatCannotBe) {
  auto memory = make();
  ASSERT_NE(memory, nullptr);
  EXPECT_EQ(memory->allocate(0, 64).error().code, make_error_code(Errc::kBadArgument));
  EXPECT_EQ(memory->allocate(64, 0).error().code, make_error_code(Errc::kBadArgument));
  EXPECT_EQ(memory->allocate(64, 96).error().code, make_error_code(Errc::kBadArgument));
  auto most = memory->allocate(kTwoMiB - 4096, 64);
  const auto more = memory->allocate(8192, 64);
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().code, make_error_code(Errc::kOutOfMemory));
  EXPECT_NE(more.error().message().find("8 KiB"), std::string::npos) << more.error().message();
  EXPECT_NE(more.error().message().find("widest gap has 4 KiB"), std::string::npos) << more.error().message();
}

TEST_P(MemoryTest, BlocksComeFromLaterRegionsToo) {
  auto memory = make();
  ASSERT_NE(memory, nullptr);
  auto first = memory->allocate(kTwoMiB, 64);
  ASSERT_TRUE(first);
  ASSERT_TRUE(memory->grow(config()));
  auto second = memory->allocate(kTwoMiB, 64);
  ASSERT_TRUE(second) << second.error().message();
  EXPECT_EQ(first->region(), 0);
  EXPECT_EQ(second->region(), 1);
}

TEST_P(MemoryTest, ReplaysPresentAndLaterRegionsToEveryMapper) {
  auto memory = make();
  ASSERT_NE(memory, nullptr);
  RecordingMapper early;
  RecordingMapper late;
  {
    auto first = memory->attach(early);
    ASSERT_TRUE(first) << first.error().message();
    EXPECT_EQ(early.mapped, (std::set<RegionId>{0}));
    ASSERT_TRUE(memory->grow(config()));
    auto second = memory->attach(late);
    ASSERT_TRUE(second);
    EXPECT_EQ(early.mapped, (std::set<RegionId>{0, 1}));
    EXPECT_EQ(late.mapped, (std::set<RegionId>{0, 1}));

    auto block = memory->allocate(64, 64);
    ASSERT_TRUE(block);
    const auto offset = static_cast<std::uint64_t>(block->data() - memory->regions()[0].va);
    EXPECT_EQ(to_u64(block->iova(late.table())), RecordingMapper::iova_of(0) + offset);
  }
  EXPECT_TRUE(early.mapped.empty());
  EXPECT_TRUE(late.mapped.empty());
  EXPECT_EQ(early.unmaps, 2U);
  EXPECT_EQ(late.unmaps, 2U);
}

TEST_P(MemoryTest, AttachmentsMoveAndDetachOnce) {
  auto memory = make();
  ASSERT_NE(memory, nullptr);
  RecordingMapper mapper;
  auto attachment = memory->attach(mapper);
  ASSERT_TRUE(attachment);
  Attachment moved(std::move(*attachment));
  const auto twice = memory->attach(mapper);
  ASSERT_FALSE(twice);
  EXPECT_EQ(twice.error().code, make_error_code(Errc::kBadArgument));
  EXPECT_EQ(mapper.maps, 1U);
  moved = Attachment{};
  EXPECT_EQ(mapper.unmaps, 1U);
  EXPECT_TRUE(memory->attach(mapper));
  EXPECT_FALSE(mapper.unmapped_a_stranger);
}

TEST_P(MemoryTest, RefusedAttachmentLeavesNothingMapped) {
  auto memory = make();
  ASSERT_NE(memory, nullptr);
  ASSERT_TRUE(memory->grow(config()));
  ASSERT_TRUE(memory->grow(config()));
  RecordingMapper mapper;
  for (const RegionId nth : {RegionId{0}, RegionId{1}, RegionId{2}}) {
    mapper.refuse = nth;
    const auto attachment = memory->attach(mapper);
    ASSERT_FALSE(attachment);
    EXPECT_EQ(attachment.error().system_errno, ENOSPC);
    EXPECT_TRUE(mapper.mapped.empty());
    EXPECT_FALSE(mapper.unmapped_a_stranger);
  }
  mapper.refuse.reset();
  EXPECT_TRUE(memory->attach(mapper));
}

TEST_P(MemoryTest, RefusedGrowthLeavesNothingBehind) {
  const std::size_t hugepages_before = process_bytes("HugetlbPages");
  const std::size_t locked_before = process_bytes("VmLck");
  auto memory = make();
  ASSERT_NE(memory, nullptr);
  RecordingMapper willing;
  RecordingMapper refusing;
  RecordingMapper last;
  auto first = memory->attach(willing);
  auto second = memory->attach(refusing);
  auto third = memory->attach(last);
  ASSERT_TRUE(first && second && third);
  refusing.refuse = RegionId{1};
  const Result<void> grown = memory->grow(config());
  ASSERT_FALSE(grown);
  EXPECT_EQ(grown.error().system_errno, ENOSPC);
  EXPECT_EQ(memory->regions().size(), 1U);
  for (const RecordingMapper* mapper : {&willing, &refusing, &last}) {
    EXPECT_EQ(mapper->mapped, (std::set<RegionId>{0}));
    EXPECT_FALSE(mapper->unmapped_a_stranger);
  }
  EXPECT_EQ(process_bytes("HugetlbPages") + process_bytes("VmLck"),
            hugepages_before + locked_before + kTwoMiB);
  refusing.refuse.reset();
  EXPECT_TRUE(memory->grow(config()));
  EXPECT_EQ(last.mapped, (std::set<RegionId>{0, 1}));
}

std::string kept_warning;

TEST_P(MemoryTest, WarnsOfBlocksThatOutliveIt) {
  set_log_sink([](LogLevel level, std::string_view text) {
    if (level == LogLevel::kWarning) kept_warning = text;
  });
  auto memory = make();
  ASSERT_NE(memory, nullptr);
  auto block = memory->allocate(64, 64);
  ASSERT_TRUE(block);
  // The handle is given up without a word to the memory: all that such a program could do without crashing.
  alignas(DmaBlock) std::byte leaked[sizeof(DmaBlock)];
  new (leaked) DmaBlock(std::move(*block));
  memory.reset();
  EXPECT_NE(kept_warning.find("1 blocks"), std::string::npos) << kept_warning;
  set_log_sink([](LogLevel, std::string_view) {});
}

TEST(MemoryLimits, HasAtMostSixtyFourRegions) {
  const MemoryConfig page{.bytes = 4096, .hugepages = false};
  auto memory = Memory::create(page);
  ASSERT_TRUE(memory) << memory.error().message();
  for (std::size_t i = 1; i < kMaxRegions; ++i) {
    ASSERT_TRUE((*memory)->grow(page));
  }
  const Result<void> more = (*memory)->grow(page);
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().code, make_error_code(Errc::kTooManyRegions));
  EXPECT_EQ((*memory)->regions().back().id, kMaxRegions - 1);
}

TEST(MemoryLimits, RefusesSizesThatCannotBe) {
  for (const std::size_t bytes : {std::size_t{0}, SIZE_MAX}) {
    const auto memory = Memory::create({.bytes = bytes, .hugepages = false});
    ASSERT_FALSE(memory);
    EXPECT_EQ(memory.error().code, make_error_code(Errc::kBadArgument));
  }
  const auto odd_pages = Memory::create({.bytes = 1, .page_size = 3 << 20});
  ASSERT_FALSE(odd_pages);
  EXPECT_EQ(odd_pages.error().code, make_error_code(Errc::kBadArgument));
}

TEST(MempoolErrors, EachHasItsOwnText) {
  std::set<std::string> texts;
  for (const Errc code : {Errc::kNoHugepages, Errc::kPageSize, Errc::kBadArgument, Errc::kOutOfMemory,
                          Errc::kTooManyRegions, Errc::kKernel, Errc::kLockLimit}) {
    texts.insert(make_error_code(code).message());
  }
  EXPECT_EQ(texts.size(), 7U);
  EXPECT_STREQ(make_error_code(Errc::kKernel).category().name(), "mempool");
}

}  // namespace
}  // namespace spinring::mempool
