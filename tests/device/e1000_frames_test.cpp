// Frames in and out of QEMU's models of the e1000 family by our driver, byte for byte.

#include <gtest/gtest.h>

#include <thread>

#include "pmd/errors.hpp"
#include "tests/device/e1000_models.hpp"

namespace spinring::test {
namespace {

class E1000Frames : public E1000Test {};
INSTANTIATE_TEST_SUITE_P(Models, E1000Frames, kE1000Models, model_name);

std::vector<Frame> of_lengths(std::size_t first, std::size_t last, std::size_t step) {
  std::vector<Frame> frames;
  for (std::size_t length = first; length <= last; length += step) {
    frames.push_back(make_frame(length, static_cast<std::uint32_t>(length), kMac));
  }
  return frames;
}

TEST_P(E1000Frames, EveryLengthComesThroughBothWays) {
  Lab lab({.model = GetParam()});
  start_with_link(lab);
  const std::vector<Frame> frames = of_lengths(60, 1514, 1);
  std::uint64_t bytes = 0;
  for (std::size_t first = 0; first < frames.size(); first += 97) {
    const std::vector<Frame> part(
        frames.begin() + static_cast<std::ptrdiff_t>(first),
        frames.begin() + static_cast<std::ptrdiff_t>(std::min(first + 97, frames.size())));
    expect_both_ways(lab, part);
    for (const Frame& frame : part) bytes += frame.size();
  }
  const pmd::RxStats rx = lab.port->rx_stats(0);
  EXPECT_EQ(rx.packets, frames.size());
  EXPECT_EQ(rx.bytes, bytes);
  EXPECT_EQ(rx.bad_completions, 0U);
  EXPECT_EQ(rx.truncated, 0U);
  const pmd::TxStats tx = lab.port->tx_stats(0);
  EXPECT_EQ(tx.packets, frames.size());
  EXPECT_EQ(tx.bytes, bytes);
  EXPECT_EQ(tx.rejected, 0U);
  lab.stop();
}

TEST_P(E1000Frames, JumboFramesTakeSeveralBuffers) {
  Lab lab({.model = GetParam()});
  start_with_link(lab, {.mtu = 9000});
  expect_both_ways(lab, of_lengths(60, 9018, 407));
  expect_both_ways(lab, {make_frame(9018, 1, kMac), make_frame(2048, 2, kMac), make_frame(2049, 3, kMac),
                         make_frame(4096, 4, kMac), make_frame(6144, 5, kMac), make_frame(60, 6, kMac)});
  EXPECT_EQ(lab.port->rx_stats(0).truncated, 0U);
  lab.stop();
}

TEST_P(E1000Frames, SmallBuffersAreChained) {
  // 256 bytes a buffer: a frame of 9018 is 36 descriptors, a short one is one. A round is 46, and a NIC drops
  // what finds no buffer: so many are there while half of the ring is.
  Lab lab({.packets = 1024, .buffer_length = 448, .model = GetParam()});
  start_with_link(lab, {.rx_ring = 120, .tx_ring = 80, .mtu = 9000});
  for (std::uint32_t round = 0; round < 12; ++round) {
    expect_both_ways(
        lab, {make_frame(9018, round, kMac), make_frame(60, round, kMac), make_frame(1500, round, kMac),
              make_frame(256, round, kMac), make_frame(257, round, kMac)});
  }
  EXPECT_EQ(lab.port->rx_stats(0).bad_completions, 0U);
  lab.stop();
}

TEST_P(E1000Frames, FramesBeyondTheMtuAreNotReceived) {
  Lab lab({.model = GetParam()});
  start_with_link(lab);
  lab.peer_send({make_frame(1800, 1, kMac), make_frame(1514, 2, kMac)});
  EXPECT_EQ(lab.receive(1), std::vector<Frame>{make_frame(1514, 2, kMac)});
  mempool::Packet* packet = lab.packet(make_frame(1519, 1, kMac));
  EXPECT_EQ(lab.port->tx(0).burst({&packet, 1}), 1U);
  EXPECT_EQ(lab.port->tx_stats(0).rejected, 1U) << "nor sent";
  lab.expect_traffic();
  lab.stop();
}

TEST_P(E1000Frames, RingsOfEachSizeAreFilledAndReused) {
  for (const std::uint16_t ring : {std::uint16_t{8}, std::uint16_t{80}, std::uint16_t{4096}}) {
    SCOPED_TRACE(ring);
    Lab lab({.packets = 5000, .buffer_length = 448, .model = GetParam()});
    start_with_link(lab, {.rx_ring = ring, .tx_ring = ring});
    const std::size_t step = std::min<std::size_t>(ring / 2, 256);
    const std::size_t total = std::size_t{3} * ring;
    for (std::size_t done = 0; done < total; done += step) {
      expect_both_ways(lab, make_frames(step, 80, static_cast<std::uint32_t>(done)), 64);
    }
    EXPECT_GE(lab.port->rx_stats(0).packets, total);
    lab.stop();
  }
}

TEST_P(E1000Frames, RingsThatTheDeviceDoesNotHaveAreRefused) {
  Lab lab({.model = GetParam()});
  EXPECT_EQ(lab.port->info().max_rx_ring, 4096U);
  for (const std::uint16_t ring : {std::uint16_t{4}, std::uint16_t{100}, std::uint16_t{4104}}) {
    pmd::PortConfig<pmd::SpinringPackets> config{.rx = {{ring, lab.cache.get()}},
                                                 .tx = {{0, lab.cache.get()}}};
    const auto refused = lab.port->start(config);
    ASSERT_FALSE(refused) << ring;
    EXPECT_EQ(refused.error().code, pmd::Errc::kBadArgument);
    EXPECT_NE(refused.error().message().find("multiple of 8"), std::string::npos)
        << refused.error().message();
  }
  start_with_link(lab);
  lab.expect_traffic();
}

TEST_P(E1000Frames, BurstsOfEverySizeFrom1To64) {
  Lab lab({.model = GetParam()});
  start_with_link(lab);
  for (std::size_t burst = 1; burst <= 64; ++burst) {
    SCOPED_TRACE(burst);
    expect_both_ways(lab, make_frames(2 * burst, 60 + burst, static_cast<std::uint32_t>(burst * 1000)),
                     burst);
  }
  lab.stop();
}

TEST_P(E1000Frames, ChainsAreSentWhole) {
  Lab lab({.model = GetParam()});
  start_with_link(lab, {.mtu = 9000});
  const auto tx = lab.port->tx(0);
  for (const std::size_t segment : {150U, 333U, 1000U, 2000U}) {
    const Frame frame = make_frame(9000, static_cast<std::uint32_t>(segment), kMac);
    mempool::Packet* packet = lab.packet(frame, segment);
    ASSERT_EQ(tx.burst({&packet, 1}), 1U) << segment;
    EXPECT_EQ(lab.peer_receive(1), std::vector<Frame>{frame}) << segment;
  }
  // More pieces than the device takes, a chain that is not as its head says: refused, and back in the pool.
  mempool::Packet* split = lab.packet(make_frame(9000, 1, kMac), 100);
  ASSERT_EQ(tx.burst({&split, 1}), 1U);
  mempool::Packet* liar = lab.packet(make_frame(3000, 1, kMac), 1000);
  liar->packet_length = 2999;
  ASSERT_EQ(tx.burst({&liar, 1}), 1U);
  EXPECT_EQ(lab.port->tx_stats(0).rejected, 2U);
  lab.expect_traffic();
  lab.stop();
}

TEST_P(E1000Frames, AFullTxRingGivesTheRestBackAndLosesNothing) {
  for (const std::uint16_t ring : {std::uint16_t{8}, std::uint16_t{80}, std::uint16_t{4096}}) {
    SCOPED_TRACE(ring);
    Lab lab({.packets = 5000, .buffer_length = 448, .model = GetParam()});
    start_with_link(lab, {.rx_ring = 64, .tx_ring = ring});
    const std::size_t most = ring - 1U;
    const std::vector<Frame> frames = make_frames(most + 57, 100);
    std::vector<mempool::Packet*> packets;
    for (const Frame& frame : frames) packets.push_back(lab.packet(frame));
    // The device hears of them only when the burst ends: one less than the ring has fill it. It sends while
    // the doorbell is written, and the wire does not hold as much: another thread takes what arrives.
    std::vector<Frame> arrived;
    std::thread peer([&] { arrived = lab.peer_receive(frames.size()); });
    EXPECT_EQ(lab.port->tx(0).burst(packets), most);
    EXPECT_EQ(lab.port->tx_stats(0).ring_full, 57U);
    std::span<mempool::Packet*> left = std::span(packets).subspan(most);
    const auto send_more = [&] {
      left = left.subspan(lab.port->tx(0).burst(left, pmd::More::kSoon));
      return left.empty();
    };
    EXPECT_TRUE(wait_until(send_more, Deadline(kPatience)));
    (void)lab.port->tx(0).burst({});
    peer.join();
    EXPECT_TRUE(arrived == frames) << "all arrive, in order";
    EXPECT_EQ(lab.port->tx_stats(0).packets, frames.size());
    lab.stop();
  }
}

/// What is under way is less than a batch, and yet too much for the chain: who offers that alone, again and
/// again, must get it through.
TEST_P(E1000Frames, AChainThatNeedsNearlyTheWholeRingGoesInTheEnd) {
  for (const auto& [ring, segments] : {std::pair{std::uint16_t{8}, 7U}, std::pair{std::uint16_t{80}, 60U}}) {
    SCOPED_TRACE(ring);
    Lab lab({.packets = 500, .buffer_length = 448, .model = GetParam()});
    start_with_link(lab, {.rx_ring = 80, .tx_ring = ring});
    const auto tx = lab.port->tx(0);
    const Frame frame = make_frame(std::size_t{20} * segments, 1, kMac);
    const auto offer = [&](mempool::Packet* packet) {
      return wait_until([&] { return tx.burst({&packet, 1}) == 1; }, Deadline(kPatience));
    };
    // Too many for the chain to fit beside them, too few for a batch.
    const std::size_t before = std::min<std::size_t>(ring - segments, ring / 4U - 1U);
    for (std::uint32_t round = 0; round < 3U * ring; ++round) {
      std::vector<Frame> sent = make_frames(before, 60, round);
      for (const Frame& small : sent) {
        mempool::Packet* packet = lab.packet(small);
        ASSERT_TRUE(offer(packet)) << round;
      }
      mempool::Packet* chain = lab.packet(frame, 20);
      ASSERT_EQ(chain->segments, segments);
      ASSERT_TRUE(offer(chain)) << round;
      sent.push_back(frame);
      ASSERT_EQ(lab.peer_receive(sent.size()), sent);
    }
    lab.stop();
  }
}

TEST_P(E1000Frames, PacketsHeldBackGoWithTheNextCall) {
  Lab lab({.model = GetParam()});
  start_with_link(lab);
  const std::vector<Frame> frames = make_frames(3, 100);
  for (const Frame& frame : frames) {
    mempool::Packet* packet = lab.packet(frame);
    ASSERT_EQ(lab.port->tx(0).burst({&packet, 1}, pmd::More::kSoon), 1U);
  }
  EXPECT_FALSE(lab.peer->receive(Deadline(50ms))) << "held back";
  ASSERT_EQ(lab.port->tx(0).burst({}), 0U);
  EXPECT_EQ(lab.peer_receive(frames.size()), frames);
  lab.stop();
}

TEST_P(E1000Frames, AStarvedReceiverGoesOn) {
  // More frames than the ring has packets, while nobody polls. The models drop what finds no buffer, as a NIC
  // does (QUIRK(QEMU): e1000e keeps it in its queue).
  Lab lab({.packets = 300, .model = GetParam()});
  start_with_link(lab, {.rx_ring = 80, .tx_ring = 80});
  const std::vector<Frame> frames = make_frames(1000, 100);
  std::thread sender([&] { lab.peer_send(frames); });
  std::this_thread::sleep_for(1500ms);
  const std::vector<Frame> received = lab.receive(frames.size(), 32, 0, 500ms);
  sender.join();
  EXPECT_GE(received.size(), 79U);
  auto from = frames.begin();
  for (const Frame& frame : received) {
    from = std::find(from, frames.end(), frame);
    ASSERT_NE(from, frames.end()) << "not in order, or not as it was sent";
    ++from;
  }
  EXPECT_EQ(lab.port->rx_stats(0).packets, received.size());
  lab.expect_traffic();
  lab.stop();
}

TEST_P(E1000Frames, APollThatFindsNothingRefills) {
  Lab lab({.model = GetParam()});
  start_with_link(lab, {.rx_ring = 64});
  lab.expect_refill_without_frames();
  lab.expect_traffic();
  lab.stop();
}

TEST_P(E1000Frames, BuffersThatAreTooFewForAFrameAreRefused) {
  Lab lab({.packets = 256, .buffer_length = 448, .model = GetParam()});
  pmd::PortConfig<pmd::SpinringPackets> config{.rx = {{8, lab.cache.get()}}, .tx = {{0, lab.cache.get()}}};
  config.mtu = 9000;
  const auto refused = lab.port->start(config);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, pmd::Errc::kBadArgument);
  EXPECT_NE(refused.error().message().find("longest frame takes 36"), std::string::npos)
      << refused.error().message();
}

}  // namespace
}  // namespace spinring::test
