#include "bench/vhost/backend.hpp"

#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include <algorithm>

#include "bench/vhost/test/shared_ring_memory.hpp"

namespace spinring::bench::vhost {
namespace {

constexpr std::uint16_t kSize = 16;

class BackendTest : public testing::Test {
 protected:
  template <class T>
  Result<std::optional<Message>> tell(Request request, const T& payload, std::vector<Fd> fds = {},
                                      std::uint32_t flags = kFlagVersion1) {
    Message message;
    message.request = request;
    message.flags = flags;
    message.set(payload);
    message.fds = std::move(fds);
    return backend_->handle(std::move(message));
  }
  std::uint64_t ask(Request request) {
    Message message;
    message.request = request;
    const auto reply = backend_->handle(std::move(message));
    EXPECT_TRUE(reply && *reply);
    EXPECT_NE((*reply)->flags & kFlagReply, 0U);
    return (*reply)->as<std::uint64_t>().value_or(0);
  }
  static std::vector<Fd> one(Fd fd) {
    std::vector<Fd> fds;
    fds.push_back(std::move(fd));
    return fds;
  }

  void make(const TrafficOptions& traffic = {}) {
    BackendOptions options;
    options.pairs = 2;
    options.traffic = traffic;
    options.patience_ticks = 1000;
    backend_ = std::make_unique<Backend>(options);
  }
  /// Everything that DPDK's front end sends, up to two running queues.
  void bring_up(std::uint64_t features, std::uint32_t base = 0) {
    ASSERT_TRUE(tell(Request::kSetProtocolFeatures, Backend::offered_protocol()));
    ASSERT_TRUE(tell(Request::kSetFeatures, features));
    struct {
      MemoryTableHeader header;
      MemoryRegion region;
    } table{{1, 0}, SharedRingMemory::region()};
    ASSERT_TRUE(tell(Request::kSetMemTable, table, one(memory_.duplicate())));
    for (std::uint32_t queue = 0; queue < 2; ++queue) {
      ASSERT_TRUE(tell(Request::kSetVringCall, std::uint64_t{queue}, one(Fd(::eventfd(0, EFD_NONBLOCK)))));
      ASSERT_TRUE(tell(Request::kSetVringNum, VringState{queue, kSize}));
      ASSERT_TRUE(tell(Request::kSetVringBase, VringState{queue, base}));
      const std::uint64_t user = SharedRingMemory::kUser;
      ASSERT_TRUE(tell(
          Request::kSetVringAddr,
          VringAddress{queue, 0, user + SharedRingMemory::descriptors(queue),
                       user + SharedRingMemory::used(queue), user + SharedRingMemory::available(queue), 0}));
      ASSERT_TRUE(tell(Request::kSetVringKick, std::uint64_t{queue}, one(Fd(::eventfd(0, EFD_NONBLOCK)))));
      ASSERT_FALSE(backend_->running() && queue == 0);
      ASSERT_TRUE(tell(Request::kSetVringEnable, VringState{queue, 1}));
    }
    ASSERT_TRUE(backend_->running());
  }
  static std::uint64_t features(std::uint64_t more = 0) {
    return bit(VIRTIO_F_VERSION_1) | bit(kFeatureProtocol) | more;
  }

  SharedRingMemory memory_;
  SplitDriver rx_{memory_, kSize, 0};
  SplitDriver tx_{memory_, kSize, 1};
  std::unique_ptr<Backend> backend_;
};

TEST_F(BackendTest, OffersWhatItCanDo) {
  make();
  const std::uint64_t offered = ask(Request::kGetFeatures);
  for (const unsigned feature : {unsigned{VIRTIO_F_VERSION_1}, unsigned{VIRTIO_NET_F_MRG_RXBUF},
                                 unsigned{VIRTIO_F_RING_PACKED}, kFeatureInOrder, kFeatureProtocol}) {
    EXPECT_NE(offered & bit(feature), 0U) << feature;
  }
  EXPECT_EQ(offered & bit(VIRTIO_RING_F_EVENT_IDX), 0U);
  EXPECT_EQ(ask(Request::kGetQueueNum), 2U);
  EXPECT_EQ(ask(Request::kGetProtocolFeatures), Backend::offered_protocol());
  make({.touch = Touch::kNone});
  EXPECT_EQ(backend_->offered() & bit(VIRTIO_NET_F_MRG_RXBUF), 0U);
}

TEST_F(BackendTest, RefusesByReplyWhenAskedToAndByErrorOtherwise) {
  make();
  EXPECT_FALSE(tell(Request::kSetFeatures, bit(VIRTIO_RING_F_EVENT_IDX)));
  ASSERT_TRUE(tell(Request::kSetProtocolFeatures, bit(kProtocolReplyAck)));
  const auto refused =
      tell(Request::kSetFeatures, bit(VIRTIO_RING_F_EVENT_IDX), {}, kFlagVersion1 | kFlagNeedReply);
  ASSERT_TRUE(refused && *refused);
  EXPECT_EQ((*refused)->as<std::uint64_t>(), 1U);
  const auto taken = tell(Request::kSetFeatures, features(), {}, kFlagVersion1 | kFlagNeedReply);
  ASSERT_TRUE(taken && *taken);
  EXPECT_EQ((*taken)->as<std::uint64_t>(), 0U);
}

TEST_F(BackendTest, RefusesWhatCannotBe) {
  make();
  EXPECT_FALSE(tell(Request::kSetVringNum, VringState{4, kSize})) << "two pairs: queues 0 to 3";
  EXPECT_FALSE(tell(Request::kSetVringNum, VringState{0, 0}));
  EXPECT_FALSE(tell(Request::kSetVringNum, std::uint32_t{0})) << "a short payload";
  EXPECT_FALSE(tell(Request::kSetVringKick, std::uint64_t{0})) << "no descriptor came";
  EXPECT_FALSE(tell(static_cast<Request>(1000), std::uint64_t{0}));
  EXPECT_EQ(backend_->unknown_requests(), 1U);
  struct {
    MemoryTableHeader header;
    MemoryRegion region;
  } table{{1, 0}, SharedRingMemory::region()};
  table.region.size += 4096;  // beyond the file
  EXPECT_FALSE(tell(Request::kSetMemTable, table, one(memory_.duplicate())));
  EXPECT_FALSE(tell(Request::kSetMemTable, table)) << "no descriptor for the region";
  EXPECT_FALSE(backend_->running());
}

TEST_F(BackendTest, FillsReceiveBuffersAndTellsTheDriver) {
  make();
  bring_up(features());
  for (std::uint16_t i = 0; i < kSize; ++i) {
    rx_.describe(i, SharedRingMemory::buffer(i), 2048, VRING_DESC_F_WRITE);
    rx_.publish(i);
  }
  EXPECT_TRUE(backend_->pass(0));
  EXPECT_EQ(rx_.used().idx, kSize);
  EXPECT_EQ(rx_.used().ring[5].len, 72U);
  virtio_net_hdr_v1 header;
  std::memcpy(&header, memory_.at(SharedRingMemory::buffer(5)), sizeof(header));
  EXPECT_EQ(header.num_buffers, 1);
  EXPECT_EQ(std::to_integer<int>(memory_.at(SharedRingMemory::buffer(5))[12 + 14]), 0x45);
  EXPECT_EQ(backend_->traffic().counters().received, kSize);
  EXPECT_EQ(backend_->interrupts(), 1U);
  EXPECT_FALSE(backend_->pass(0)) << "nothing is left to do";
}

TEST_F(BackendTest, VerifiesWhatComesBack) {
  make({.content = Content::kSequence});
  bring_up(features());
  for (std::uint16_t i = 0; i < 6; ++i) {
    rx_.describe(i, SharedRingMemory::buffer(i), 2048, VRING_DESC_F_WRITE);
    rx_.publish(i);
  }
  EXPECT_TRUE(backend_->pass(0));
  // 0 in one piece, 2 in two pieces, 1 late, 1 again, 3 changed, 4 lost, 5 with num_buffers left as received.
  for (unsigned i = 0; i < 5; ++i) memory_.at(SharedRingMemory::buffer(i))[10] = std::byte{0};
  memory_.at(SharedRingMemory::buffer(3))[12 + 20] ^= std::byte{1};
  const auto send = [&](std::uint16_t slot, unsigned buffer) {
    tx_.describe(slot, SharedRingMemory::buffer(buffer), 72, 0);
    tx_.publish(slot);
  };
  send(0, 0);
  tx_.describe(1, SharedRingMemory::buffer(2), 40, VRING_DESC_F_NEXT, 2);
  tx_.describe(2, SharedRingMemory::buffer(2) + 40, 32, 0);
  tx_.publish(1);
  send(3, 1);
  send(4, 1);
  send(5, 3);
  send(6, 5);
  EXPECT_TRUE(backend_->pass(0));
  const SequenceChecker& stream = backend_->traffic().streams()[0];
  EXPECT_EQ(stream.verified(), 5U);
  EXPECT_EQ(stream.lost(), 2U);
  EXPECT_EQ(stream.reordered(), 1U);
  EXPECT_EQ(stream.duplicated(), 1U);
  EXPECT_EQ(backend_->traffic().counters().corrupt, 1U);
  EXPECT_EQ(backend_->traffic().counters().transmitted, 6U);
  EXPECT_EQ(backend_->violations().of(Violation::kNumBuffers), 1U);
  EXPECT_EQ(backend_->violations().total(), 1U);
  EXPECT_EQ(backend_->violations().total(1U << static_cast<unsigned>(Violation::kNumBuffers)), 0U);
}

TEST_F(BackendTest, SpreadsALongFrameOverMergeableBuffers) {
  make({.content = Content::kSequence, .frame_size = 5000});
  bring_up(features(bit(VIRTIO_NET_F_MRG_RXBUF)));
  for (std::uint16_t i = 0; i < 5; ++i) {
    rx_.describe(i, SharedRingMemory::buffer(i), 2048, VRING_DESC_F_WRITE);
    rx_.publish(i);
  }
  EXPECT_TRUE(backend_->pass(0));
  ASSERT_EQ(rx_.used().idx, 3) << "the other two buffers wait for a third";
  EXPECT_EQ(rx_.used().ring[0].len, 2048U);
  EXPECT_EQ(rx_.used().ring[2].len, 5012U - 4096U);
  virtio_net_hdr_v1 header;
  std::memcpy(&header, memory_.at(SharedRingMemory::buffer(0)), sizeof(header));
  EXPECT_EQ(header.num_buffers, 3);
  memory_.at(SharedRingMemory::buffer(0))[10] = std::byte{0};
  tx_.describe(0, SharedRingMemory::buffer(0), 2048, VRING_DESC_F_NEXT, 1);
  tx_.describe(1, SharedRingMemory::buffer(1), 2048, VRING_DESC_F_NEXT, 2);
  tx_.describe(2, SharedRingMemory::buffer(2), 5012 - 4096, 0);
  tx_.publish(0);
  EXPECT_TRUE(backend_->pass(0));
  EXPECT_EQ(backend_->traffic().streams()[0].verified(), 1U);
  EXPECT_EQ(backend_->traffic().counters().corrupt, 0U);
  EXPECT_EQ(backend_->violations().total(), 0U);
}

TEST_F(BackendTest, ABufferThatIsTooSmallIsGivenBackEmpty) {
  make({.frame_size = 5000});
  bring_up(features());
  rx_.describe(0, SharedRingMemory::buffer(0), 2048, VRING_DESC_F_WRITE);
  rx_.publish(0);
  EXPECT_TRUE(backend_->pass(0));
  EXPECT_EQ(rx_.used().ring[0].len, 0U);
  EXPECT_EQ(backend_->traffic().counters().received, 0U);
  EXPECT_EQ(backend_->violations().of(Violation::kBufferSmall), 1U);
}

TEST_F(BackendTest, KeepsNoMoreFramesInFlightThanAllowedAndForgivesDroppedOnes) {
  make({.in_flight = 4});
  bring_up(features());
  for (std::uint16_t i = 0; i < kSize; ++i) {
    rx_.describe(i, SharedRingMemory::buffer(i), 2048, VRING_DESC_F_WRITE);
    rx_.publish(i);
  }
  EXPECT_TRUE(backend_->pass(1));
  EXPECT_FALSE(backend_->pass(2));
  EXPECT_EQ(rx_.used().idx, 4);
  backend_->pass(5000);  // longer than patience_ticks
  backend_->pass(5001);
  EXPECT_EQ(rx_.used().idx, 8);
  EXPECT_EQ(backend_->traffic().counters().forgiven, 4U);
}

TEST_F(BackendTest, StopsAQueueAndGoesOnWhereItWas) {
  make();
  bring_up(features());
  for (std::uint16_t i = 0; i < 3; ++i) {
    rx_.describe(i, SharedRingMemory::buffer(i), 2048, VRING_DESC_F_WRITE);
    rx_.publish(i);
  }
  backend_->pass(0);
  const auto base = tell(Request::kGetVringBase, VringState{0, 0});
  ASSERT_TRUE(base && *base);
  EXPECT_EQ((*base)->as<VringState>()->number, 3U);
  rx_.publish(3);
  backend_->pass(0);
  EXPECT_EQ(rx_.used().idx, 3) << "a stopped ring is left alone";
  ASSERT_TRUE(tell(Request::kSetVringBase, VringState{0, 3}));
  ASSERT_TRUE(tell(Request::kSetVringKick, std::uint64_t{0}, one(Fd(::eventfd(0, EFD_NONBLOCK)))));
  rx_.describe(3, SharedRingMemory::buffer(3), 2048, VRING_DESC_F_WRITE);
  backend_->pass(0);
  EXPECT_EQ(rx_.used().idx, 4);
  ASSERT_TRUE(tell(Request::kSetVringEnable, VringState{0, 0}));
  ASSERT_TRUE(tell(Request::kSetVringEnable, VringState{1, 0}));
  EXPECT_FALSE(backend_->running());
}

TEST_F(BackendTest, ANewMemoryTableKeepsRunningRings) {
  make();
  bring_up(features());
  rx_.describe(0, SharedRingMemory::buffer(0), 2048, VRING_DESC_F_WRITE);
  rx_.publish(0);
  backend_->pass(0);
  struct {
    MemoryTableHeader header;
    MemoryRegion region;
  } table{{1, 0}, SharedRingMemory::region()};
  ASSERT_TRUE(tell(Request::kSetMemTable, table, one(memory_.duplicate())));
  rx_.describe(1, SharedRingMemory::buffer(1), 2048, VRING_DESC_F_WRITE);
  rx_.publish(1);
  backend_->pass(0);
  EXPECT_EQ(rx_.used().idx, 2);
}

TEST_F(BackendTest, ServesPackedRingsInOrder) {
  make({.content = Content::kSequence});
  bring_up(features(bit(VIRTIO_F_RING_PACKED) | bit(kFeatureInOrder)), 0x8000);
  PackedDriver rx(memory_, kSize, 0);
  PackedDriver tx(memory_, kSize, 1);
  for (std::uint16_t i = 0; i < 8; ++i) rx.publish(SharedRingMemory::buffer(i), 2048, i, VRING_DESC_F_WRITE);
  EXPECT_TRUE(backend_->pass(0));
  for (std::uint16_t i = 0; i < 8; ++i) {
    ASSERT_TRUE(rx.is_used(i, true)) << i;
    EXPECT_EQ(rx.descriptor(i).len, 72U);
    memory_.at(SharedRingMemory::buffer(i))[10] = std::byte{0};
    tx.publish(SharedRingMemory::buffer(i), 72, i, 0);
  }
  EXPECT_TRUE(backend_->pass(0));
  EXPECT_TRUE(tx.is_used(0, true));
  EXPECT_EQ(tx.descriptor(0).id, 7);
  EXPECT_EQ(backend_->traffic().streams()[0].verified(), 8U);
  EXPECT_EQ(backend_->violations().total(), 0U);
}

TEST_F(BackendTest, ForgetsAFrontEndThatHasGone) {
  make();
  bring_up(features());
  backend_->disconnect();
  EXPECT_FALSE(backend_->running());
  EXPECT_FALSE(backend_->pass(0));
  bring_up(features());
  EXPECT_TRUE(backend_->running());
}

}  // namespace
}  // namespace spinring::bench::vhost
