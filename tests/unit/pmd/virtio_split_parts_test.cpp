// virtio 1.2, 2.7: where the parts of a split virtqueue may lie, and where they do.

#include <gtest/gtest.h>

#include <cstdint>

#include "pmd/virtio/ring_layout.hpp"

namespace spinring::pmd::virtio {
namespace {

class SplitParts : public ::testing::TestWithParam<std::uint16_t> {};
INSTANTIATE_TEST_SUITE_P(Sizes, SplitParts, ::testing::Values(1, 2, 4, 64, 256, 1024, 32768));

TEST_P(SplitParts, LieBehindEachOtherWhereTheSpecificationAllows) {
  const std::uint16_t size = GetParam();
  EXPECT_GE(SplitLayout::avail(size), sizeof(Descriptor) * size);
  EXPECT_EQ(SplitLayout::avail(size) % 2, 0U);
  EXPECT_EQ(SplitLayout::used_event(size), SplitLayout::avail(size) + 4 + 2 * std::size_t{size});
  EXPECT_GE(SplitLayout::used(size), SplitLayout::used_event(size) + 2);
  EXPECT_EQ(SplitLayout::used(size) % 4, 0U);
  EXPECT_EQ(SplitLayout::avail_event(size), SplitLayout::used(size) + 4 + 8 * std::size_t{size});
  EXPECT_GE(SplitLayout::bytes(size), SplitLayout::avail_event(size) + 2);
}

TEST_P(SplitParts, OfDriverAndDeviceShareNoLineAndEntriesBeginWithOne) {
  const std::uint16_t size = GetParam();
  const auto line = [](std::size_t offset) { return offset / kCacheLine; };
  EXPECT_EQ((SplitLayout::avail(size) + sizeof(AvailHead)) % kCacheLine, 0U);
  EXPECT_EQ((SplitLayout::used(size) + sizeof(UsedHead)) % kCacheLine, 0U);
  EXPECT_GE(line(SplitLayout::avail(size)), line(sizeof(Descriptor) * size + kCacheLine - 1));
  EXPECT_GT(line(SplitLayout::used(size)), line(SplitLayout::used_event(size) + 1));
}

}  // namespace
}  // namespace spinring::pmd::virtio
