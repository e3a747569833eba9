#include "bench/vhost/least_frames.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "bench/vhost/test/vector_widths.hpp"

namespace spinring::bench::vhost {
namespace {

constexpr std::size_t kApart = 160;
constexpr std::byte kUntouched{0xa5};

/// Buffers at odd places, so that frames lie over the ends of lines.
class LeastFramesTest : public testing::Test {
 protected:
  LeastFramesTest() {
    for (unsigned i = 0; i < Batch::kMost; ++i) {
      chains_.push_back({.data = memory_.data() + kApart * i + i, .length = sizeof(LeastFrame)});
    }
  }
  void set(unsigned frame, const virtio_net_hdr_v1& header) {
    std::memcpy(chains_[frame].data, &header, sizeof(header));
  }
  static void expect_same(const FramesRead& a, const FramesRead& b) {
    EXPECT_EQ(a.requests, b.requests);
    EXPECT_EQ(a.with_buffers, b.with_buffers);
    EXPECT_EQ(a.buffers, b.buffers);
    EXPECT_EQ(a.sum, b.sum);
  }

  std::vector<std::byte> memory_ = std::vector<std::byte>(kApart * (Batch::kMost + 1), kUntouched);
  std::vector<Chain> chains_;
};

std::vector<unsigned> with_none() {
  std::vector<unsigned> all = vector_widths();
  all.push_back(kNoVectors);
  return all;
}

TEST_F(LeastFramesTest, WritesTheWholeFrameAndNothingElse) {
  LeastFrame frame;
  for (std::size_t i = 0; i < frame.bytes.size(); ++i) frame.bytes[i] = static_cast<std::byte>(i + 1);
  for (const unsigned bits : with_none()) {
    std::fill(memory_.begin(), memory_.end(), kUntouched);
    write_frames(bits, chains_, frame);
    std::size_t touched = 0;
    for (const std::byte byte : memory_) touched += static_cast<std::size_t>(byte != kUntouched);
    EXPECT_EQ(touched, Batch::kMost * sizeof(frame));
    for (const Chain& chain : chains_) EXPECT_EQ(std::memcmp(chain.data, &frame, sizeof(frame)), 0);
  }
}

/// By these vectors, whose width is the parameter, as without.
class LeastFramesByTest : public LeastFramesTest, public testing::WithParamInterface<unsigned> {};
INSTANTIATE_TEST_SUITE_P(By, LeastFramesByTest, testing::ValuesIn(vector_widths()),
                         testing::PrintToStringParamName());

TEST_P(LeastFramesByTest, EveryByteIsRead) {
  std::iota(reinterpret_cast<unsigned char*>(memory_.data()),
            reinterpret_cast<unsigned char*>(memory_.data() + memory_.size()), std::uint8_t{1});
  const std::span<const Chain> some(chains_.data(), 7);
  const FramesRead before = read_frames(kNoVectors, some);
  expect_same(read_frames(GetParam(), some), before);
  for (std::size_t at = 0; at < sizeof(LeastFrame); ++at) {
    some[3].data[at] ^= std::byte{0x10};
    EXPECT_NE(read_frames(kNoVectors, some).sum, before.sum) << at;
    EXPECT_NE(read_frames(GetParam(), some).sum, before.sum) << at;
    some[3].data[at] ^= std::byte{0x10};
  }
}

TEST_P(LeastFramesByTest, EveryByteOfAStretchOfAnyLengthIsRead) {
  constexpr std::size_t kLongest = 200;  // some vectors and what is left of one
  for (std::size_t length = 0; length <= kLongest; ++length) {
    const auto stretch = std::span(memory_).subspan(3, length);
    std::iota(reinterpret_cast<unsigned char*>(memory_.data()),
              reinterpret_cast<unsigned char*>(memory_.data() + memory_.size()), std::uint8_t{1});
    const std::uint64_t before = read_bytes(kNoVectors, stretch);
    EXPECT_EQ(read_bytes(GetParam(), stretch), before) << length;
    memory_[2] = memory_[3 + length] = std::byte{0};  // its neighbours
    EXPECT_EQ(read_bytes(GetParam(), stretch), before) << length;
    for (std::byte& byte : stretch) {
      byte ^= std::byte{0x10};
      EXPECT_NE(read_bytes(kNoVectors, stretch), before) << length;
      EXPECT_NE(read_bytes(GetParam(), stretch), before) << length;
      byte ^= std::byte{0x10};
    }
  }
}

TEST_F(LeastFramesTest, OneHeaderThatSaysSomethingIsSeen) {
  for (const unsigned bits : with_none()) {
    for (unsigned place = 0; place < Batch::kMost; ++place) {
      write_frames(bits, chains_, LeastFrame{});
      EXPECT_FALSE(read_frames(bits, chains_).requests);
      EXPECT_EQ(read_frames(bits, chains_).with_buffers, 0U);
      virtio_net_hdr_v1 header{};
      header.csum_start = 0xffff;  // of no meaning without flags
      header.hdr_len = 0xffff;
      set(place, header);
      EXPECT_FALSE(read_frames(bits, chains_).requests);
      EXPECT_EQ(read_frames(bits, chains_).with_buffers, 0U);
      header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
      set(place, header);
      EXPECT_TRUE(read_frames(bits, chains_).requests);
      header.flags = 0;
      header.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
      set(place, header);
      EXPECT_TRUE(read_frames(bits, chains_).requests);
      header.gso_type = 0;
      header.num_buffers = static_cast<std::uint16_t>(place + 1);
      set(place, header);
      const FramesRead read = read_frames(bits, chains_);
      EXPECT_FALSE(read.requests);
      EXPECT_EQ(read.with_buffers, 1U);
      EXPECT_EQ(read.buffers, place + 1);
    }
  }
}

}  // namespace
}  // namespace spinring::bench::vhost
