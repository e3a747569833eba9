// Each combination of features that DPDK's vhost offers: negotiated, and frames compared byte for byte in
// both directions, several times round the rings.

#include <algorithm>
#include <array>
#include <cstring>

#include "tests/sim/uapi_virtio.hpp"
#include "tests/vhost/vhost_rig.hpp"

namespace spinring::vhost_test {
namespace {

using pmd::Offload;

constexpr unsigned kInOrder = 35;  // VIRTIO_F_IN_ORDER: not in the UAPI's headers of this Linux
constexpr std::uint16_t kLongBuffer = 9216;

pmd::Offloads all_offloads(bool mergeable) {
  const pmd::Offloads offloads = Offload::kTxChecksum | Offload::kTxSegment | Offload::kRxChecksum;
  return mergeable ? offloads | Offload::kRxCoalesce : offloads;
}

class Combination : public ::testing::TestWithParam<VhostConfig> {};

std::string name_of(const VhostConfig& config) {
  std::string name = config.packed ? "packed" : "split";
  if (config.mergeable) name += "Mergeable";
  if (config.in_order) name += "InOrder";
  if (!config.offloads.empty()) name += "Offloads";
  if (config.server) name += "Server";
  if (!config.aligned) name += "BehindHeaders";
  return name + std::to_string(config.queues) + "x" + std::to_string(config.ring);
}

std::vector<VhostConfig> combinations() {
  std::vector<VhostConfig> all;
  for (unsigned bits = 0; bits < 16; ++bits) {
    VhostConfig config{
        .packed = (bits & 1U) != 0, .mergeable = (bits & 2U) != 0, .in_order = (bits & 4U) != 0};
    if ((bits & 8U) != 0) config.offloads = all_offloads(config.mergeable);
    // Without mergeable buffers a frame needs one that holds it.
    if (!config.mergeable) config.buffer_length = kLongBuffer;
    for (const std::uint16_t queues : std::array<std::uint16_t, 3>{1, 2, 4}) {
      config.queues = queues;
      all.push_back(config);
    }
    if (!config.offloads.empty()) continue;
    config.queues = 1;
    for (const std::uint16_t ring : std::array<std::uint16_t, 2>{1024, 4096}) {
      if (ring == 4096 && !config.mergeable) config.buffer_length = 2304;
      config.ring = ring;
      all.push_back(config);
    }
  }
  // Frames that share their first cache line with the header.
  all.push_back({.packed = false, .mergeable = false, .buffer_length = kLongBuffer, .aligned = false});
  all.push_back({.packed = true, .in_order = true, .offloads = all_offloads(true), .aligned = false});
  // The other socket mode: the switch takes up to a second to find the port.
  all.push_back({.server = true});
  all.push_back({.packed = true, .in_order = true, .server = true});
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, Combination, ::testing::ValuesIn(combinations()),
                         [](const auto& config) { return name_of(config.param); });

/// Frames of one burst: most are short, as in life; the longest that the buffers take come often enough.
std::vector<Frame> burst_of(std::uint32_t& seed, std::size_t count, std::size_t longest) {
  constexpr std::array<std::size_t, 16> kLengths{60, 61, 64,  65, 100, 128, 60,  1514,
                                                 60, 60, 590, 60, 256, 60,  511, 9000};
  std::vector<Frame> frames;
  for (; frames.size() < count; ++seed)
    frames.push_back(make_frame(seed, std::min(kLengths[seed % kLengths.size()], longest)));
  return frames;
}

void expect_negotiated(const VhostConfig& config, std::uint64_t features) {
  const auto has = [features](auto bit) { return (features >> bit & 1U) != 0; };
  EXPECT_TRUE(has(VIRTIO_F_VERSION_1));
  EXPECT_TRUE(has(VIRTIO_RING_F_INDIRECT_DESC));
  EXPECT_TRUE(has(VIRTIO_RING_F_EVENT_IDX));
  EXPECT_EQ(has(VIRTIO_F_RING_PACKED), config.packed);
  EXPECT_EQ(has(kInOrder), config.in_order);
  EXPECT_EQ(has(VIRTIO_NET_F_MRG_RXBUF), config.mergeable);
  EXPECT_EQ(has(VIRTIO_NET_F_MQ), config.queues > 1);
  for (const int bit :
       {VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_HOST_TSO6})
    EXPECT_EQ(has(bit), !config.offloads.empty()) << bit;
  EXPECT_EQ(has(VIRTIO_NET_F_GUEST_TSO4), config.offloads.has(Offload::kRxCoalesce));
}

/// One burst there and back: what the port received, it sends. `place`: where frames begin in a cache line.
void bounce(VhostRig& rig, const std::vector<Frame>& frames, std::uint16_t queue, std::size_t place) {
  ASSERT_EQ(rig.far->deliver(frames, queue), frames.size());
  auto packets = rig.receive(frames.size(), queue);
  ASSERT_EQ(packets.size(), frames.size());
  for (std::size_t i = 0; i < frames.size(); ++i) {
    ASSERT_EQ(bytes_of(packets[i]), frames[i]) << i;
    ASSERT_EQ(reinterpret_cast<std::uintptr_t>(packets[i]->data()) % kCacheLine, place) << i;
  }
  ASSERT_NO_FATAL_FAILURE(rig.send(packets, queue));
  const auto sent = rig.collect(frames.size(), queue);
  ASSERT_EQ(sent.size(), frames.size());
  for (std::size_t i = 0; i < frames.size(); ++i) ASSERT_EQ(sent[i].bytes, frames[i]) << i;
}

TEST_P(Combination, MovesFramesByteForByte) {
  const VhostConfig& config = GetParam();
  VhostRig rig(config);
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  expect_negotiated(config, rig.far->negotiated());
  EXPECT_EQ(rig.far->rings(), 2U * config.queues);
  const std::size_t place = config.aligned ? 0 : sizeof(virtio_net_hdr_v1);
  const bool long_frames = config.mergeable || config.buffer_length == kLongBuffer;
  std::uint32_t seed = 0;
  std::uint64_t bursts = 0;
  while (seed < config.queues * config.ring * 3U) {
    for (std::uint16_t queue = 0; queue < config.queues; ++queue) {
      const std::size_t count = std::array<std::size_t, 4>{1, 7, 32, 16}[bursts++ % 4];
      ASSERT_NO_FATAL_FAILURE(bounce(rig, burst_of(seed, count, long_frames ? 9000 : 1514), queue, place));
    }
  }
  std::uint64_t received = 0;
  std::uint64_t sent = 0;
  for (std::uint16_t queue = 0; queue < config.queues; ++queue) {
    const pmd::RxStats rx = rig.port->rx_stats(queue);
    EXPECT_EQ(rx.bad_completions + rx.truncated + rx.refill_short, 0U);
    const pmd::TxStats tx = rig.port->tx_stats(queue);
    EXPECT_EQ(tx.bad_completions + tx.rejected, 0U);
    received += rx.packets;
    sent += tx.packets;
  }
  // Every queue is polled; but with EVENT_IDX DPDK's vhost makes one interrupt of each split ring at first,
  // whatever the driver waits for.
  EXPECT_LE(rig.far->interrupts(), config.packed ? 0U : 2U * config.queues);
  EXPECT_EQ(received, seed);
  EXPECT_EQ(sent, seed);
}

/// The rig looks that the pool is whole.
TEST_P(Combination, AStopGivesBackWhatTheSwitchHadNotTaken) {
  const VhostConfig& config = GetParam();
  if (config.ring > 256) return;
  VhostRig rig(config);
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  for (int round = 0; round < 2; ++round) {
    for (std::uint16_t queue = 0; queue < config.queues; ++queue) {
      std::vector<mempool::Packet*> packets;
      for (std::uint32_t i = 0; i < 100; ++i) packets.push_back(rig.packet(make_frame(i, 100)));
      ASSERT_NO_FATAL_FAILURE(rig.send(packets, queue));
      ASSERT_EQ(rig.collect(1, queue).size(), 32U);
      ASSERT_EQ(rig.far->deliver(std::vector<Frame>{make_frame(7, 60)}, queue), 1U);
    }
    rig.port->stop();
    rig.cache->flush();
    EXPECT_EQ(rig.pool->available(), rig.pool->capacity());
    ASSERT_NO_FATAL_FAILURE(rig.start());
  }
}

/// A burst that begins near the ring's end and goes on at its start, of single packets and of chains, with
/// the flags of a packed ring turning over in its middle.
TEST_P(Combination, ABurstMayWrapTheRing) {
  const VhostConfig& config = GetParam();
  if (config.ring > 256 || config.queues > 1) return;
  VhostRig rig(config);
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  std::uint32_t seed = 0;
  for (unsigned round = 0; round < 40; ++round) {
    std::vector<mempool::Packet*> packets;
    std::vector<Frame> frames;
    while (packets.size() < 27) {  // 27 and 27 + 9 * 2: no divisors of 256
      frames.push_back(make_frame(seed++, 200));
      mempool::Packet* const head = rig.packet(Frame(frames.back().begin(), frames.back().begin() + 120));
      if (round % 2 != 0 && packets.size() % 3 == 0) {
        mempool::Packet* const second =
            rig.packet(Frame(frames.back().begin() + 120, frames.back().begin() + 160));
        second->next = rig.packet(Frame(frames.back().begin() + 160, frames.back().end()));
        head->next = second;
        head->segments = 3;
        head->packet_length = 200;
      } else {
        std::memcpy(head->data() + 120, frames.back().data() + 120, 80);
        head->data_length = 200;
        head->packet_length = 200;
      }
      packets.push_back(head);
    }
    ASSERT_NO_FATAL_FAILURE(rig.send(packets));
    const auto sent = rig.collect(frames.size());
    ASSERT_EQ(sent.size(), frames.size());
    for (std::size_t i = 0; i < frames.size(); ++i) ASSERT_EQ(sent[i].bytes, frames[i]) << round << ' ' << i;
  }
}

}  // namespace
}  // namespace spinring::vhost_test
