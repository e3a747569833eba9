// Frames of ports with RX offloads, made fit to be sent on.

#include "apps/testpmd/engines/settle.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "mempool/memory.hpp"

namespace spinring::testpmd {
namespace {

using mempool::Packet;
using pmd::Offload;
using Bytes = std::vector<std::uint8_t>;

constexpr std::uint16_t kL4 = 34;

/// The ones' complement sum of everything from `begin` on, as RFC 1071 writes it, over a contiguous frame.
unsigned sum_from(const Bytes& frame, std::size_t begin, unsigned start = 0) {
  std::uint64_t sum = start;
  for (std::size_t i = begin; i < frame.size(); i += 2) {
    sum += static_cast<unsigned>(frame[i]) << 8U;
    if (i + 1 < frame.size()) sum += frame[i + 1];
  }
  while (sum > 0xFFFF) sum = (sum & 0xFFFF) + (sum >> 16);
  return static_cast<unsigned>(sum);
}
/// Of IPv4 addresses, protocol and length.
unsigned pseudo_sum(const Bytes& frame, unsigned length) {
  return sum_from(Bytes(frame.begin() + 26, frame.begin() + kL4), 0, frame[23] + length);
}

/// An IPv4 frame of TCP or UDP with the pseudo header's sum in its checksum field.
Bytes partial_frame(std::uint8_t protocol, std::size_t payload) {
  Bytes frame(kL4 + (protocol == 6 ? 20U : 8U) + payload);
  for (std::size_t i = kL4; i < frame.size(); ++i) frame[i] = static_cast<std::uint8_t>(31 * i + payload);
  frame[12] = 0x08;
  frame[14] = 0x45;
  frame[23] = protocol;
  for (std::size_t i = 26; i < kL4; ++i) frame[i] = static_cast<std::uint8_t>(i);
  if (protocol == 6) frame[kL4 + 12U] = 0x50;
  const std::size_t field = kL4 + (protocol == 6 ? 16U : 6U);
  frame[field] = frame[field + 1] = 0;
  const unsigned pseudo = pseudo_sum(frame, static_cast<unsigned>(frame.size() - kL4));
  frame[field] = static_cast<std::uint8_t>(pseudo >> 8);
  frame[field + 1] = static_cast<std::uint8_t>(pseudo & 0xFFU);
  return frame;
}

class Settle : public testing::Test {
 protected:
  /// A received packet of the frame in segments of at most `most` bytes.
  Packet* received(const Bytes& frame, std::size_t most, std::uint32_t notes, std::uint16_t offset = 16) {
    Packet* head = nullptr;
    Packet* tail = nullptr;
    for (std::size_t done = 0; done < frame.size();) {
      Packet* const part = cache_->get();
      const std::size_t length = std::min(most, frame.size() - done);
      part->reset(static_cast<std::uint16_t>(length));
      std::copy_n(reinterpret_cast<const std::byte*>(frame.data()) + done, length, part->data());
      done += length;
      if (head == nullptr) {
        head = part;
      } else {
        tail->next = part;
        ++head->segments;
        head->packet_length += static_cast<std::uint32_t>(length);
      }
      tail = part;
    }
    head->offloads = notes;
    head->csum_start = kL4;
    head->csum_offset = offset;
    return head;
  }
  Bytes take(Packet* head) {
    Bytes frame;
    for (Packet* part = head; part != nullptr; part = part->next) {
      const auto* const data = reinterpret_cast<const std::uint8_t*>(part->data());
      frame.insert(frame.end(), data, data + part->data_length);
    }
    cache_->put_chain(head);
    return frame;
  }

  std::unique_ptr<mempool::Memory> memory_ =
      mempool::Memory::create({.bytes = 1UL << 20, .hugepages = false}).value();
  std::unique_ptr<mempool::Pool> pool_ = mempool::Pool::create(*memory_, {.packets = 64}).value();
  std::unique_ptr<mempool::PoolCache> cache_ = std::make_unique<mempool::PoolCache>(*pool_);
};

TEST_F(Settle, AMissingChecksumIsAskedFor) {
  const Bytes frame = partial_frame(6, 100);
  Packet* const packet = received(frame, 2000, mempool::kRxChecksumPartial);
  settle(*packet, Offload::kTxChecksum);
  EXPECT_EQ(packet->offloads, mempool::kTxChecksum);
  EXPECT_EQ(packet->csum_start, kL4);
  EXPECT_EQ(take(packet), frame);
}

TEST_F(Settle, AMissingChecksumIsFilledInWhereNobodyElseDoes) {
  for (const std::size_t payload : {0U, 1U, 100U, 101U, 1400U}) {
    for (const std::size_t most : {2000U, 60U, 61U}) {
      for (const std::uint8_t protocol : {std::uint8_t{6}, std::uint8_t{17}}) {
        const Bytes frame = partial_frame(protocol, payload);
        Packet* const packet = received(frame, most, mempool::kRxChecksumPartial | mempool::kRxHashValid,
                                        protocol == 6 ? 16 : 6);
        settle(*packet, {});
        EXPECT_EQ(packet->offloads, mempool::kRxHashValid);
        const Bytes sent = take(packet);
        EXPECT_EQ(sum_from(sent, kL4, pseudo_sum(sent, static_cast<unsigned>(sent.size() - kL4))), 0xFFFFU)
            << payload << " in segments of " << most;
      }
    }
  }
}

TEST_F(Settle, JoinedSegmentsAreAskedForAgain) {
  for (const bool partial : {true, false}) {
    const Bytes frame = partial_frame(6, 5000);
    Packet* const packet = received(
        frame, 2000, mempool::kRxCoalesced | (partial ? mempool::kRxChecksumPartial : std::uint32_t{0}));
    packet->segment_size = 1448;
    packet->header_length = 0;  // what the device says of it is a hint
    settle(*packet, Offload::kTxChecksum | Offload::kTxSegment);
    EXPECT_EQ(packet->offloads, mempool::kTxSegment);
    EXPECT_EQ(packet->csum_start, kL4);
    EXPECT_EQ(packet->csum_offset, 16);
    EXPECT_EQ(packet->header_length, kL4 + 20);
    EXPECT_EQ(packet->segment_size, 1448);
    const Bytes sent = take(packet);
    EXPECT_EQ(sent[50] << 8 | sent[51], static_cast<int>(pseudo_sum(sent, 0)))
        << "the length is each segment's";
  }
}

TEST_F(Settle, FramesThatAreNoTcpAreNotCut) {
  Bytes frame = partial_frame(6, 500);
  frame[23] = 17;
  Packet* const packet = received(frame, 2000, mempool::kRxCoalesced);
  settle(*packet, Offload::kTxChecksum | Offload::kTxSegment);
  EXPECT_EQ(packet->offloads & mempool::kTxOffloads, 0U);
  EXPECT_EQ(take(packet), frame);
  Packet* const tiny = received(Bytes(40), 2000, mempool::kRxCoalesced | mempool::kRxChecksumPartial);
  settle(*tiny, {});
  EXPECT_EQ(take(tiny), Bytes(40)) << "a checksum beyond the first segment is left alone";
}

}  // namespace
}  // namespace spinring::testpmd
