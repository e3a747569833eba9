#include "apps/testpmd/topology.hpp"

#include <gtest/gtest.h>

#include <set>
#include <utility>

#include "apps/testpmd/session.hpp"

namespace spinring::testpmd {
namespace {

TopologyInput input(std::size_t ports, std::uint16_t queues, unsigned lcores,
                    ForwardMode mode = ForwardMode::kIo) {
  TopologyInput made;
  made.present.assign(ports, true);
  made.rx_queues = queues;
  made.tx_queues = queues;
  made.lcores = lcores;
  made.mode = mode;
  return made;
}

TEST(PeerOf, PairedJoinsNeighboursAndALastOddOneWithItself) {
  EXPECT_EQ(peer_of(0, 4, PortTopology::kPaired), 1U);
  EXPECT_EQ(peer_of(1, 4, PortTopology::kPaired), 0U);
  EXPECT_EQ(peer_of(3, 4, PortTopology::kPaired), 2U);
  EXPECT_EQ(peer_of(2, 3, PortTopology::kPaired), 2U);
  EXPECT_EQ(peer_of(0, 1, PortTopology::kPaired), 0U);
}

TEST(PeerOf, ChainedAndLoop) {
  EXPECT_EQ(peer_of(0, 3, PortTopology::kChained), 1U);
  EXPECT_EQ(peer_of(2, 3, PortTopology::kChained), 0U);
  EXPECT_EQ(peer_of(2, 3, PortTopology::kLoop), 2U);
}

TEST(PlanStreams, OneLcoreTakesAll) {
  const LcorePlan plan = plan_streams(input(2, 1, 1));
  ASSERT_EQ(plan.size(), 1U);
  const std::vector<StreamPlan> expected{{1, 0, 0, 0}, {0, 0, 1, 0}};
  EXPECT_EQ(plan[0], expected);
}

TEST(PlanStreams, ALcoreOfItsOwnForEachQueuePair) {
  const LcorePlan plan = plan_streams(input(2, 2, 2));
  ASSERT_EQ(plan.size(), 2U);
  for (std::uint16_t queue = 0; queue < 2; ++queue) {
    ASSERT_EQ(plan[queue].size(), 2U);
    for (const StreamPlan& stream : plan[queue]) {
      EXPECT_EQ(stream.rx_queue, queue);
      EXPECT_EQ(stream.tx_queue, queue);
    }
  }
}

TEST(PlanStreams, MoreLcoresThanStreamsLeaveSomeIdle) {
  const LcorePlan plan = plan_streams(input(2, 1, 4));
  ASSERT_EQ(plan.size(), 4U);
  std::size_t streams = 0;
  for (const auto& lcore : plan) {
    EXPECT_LE(lcore.size(), 1U);
    streams += lcore.size();
  }
  EXPECT_EQ(streams, 2U);
}

/// For all shapes: every RX queue is polled exactly once, every queue by one lcore alone.
TEST(PlanStreams, EveryQueueHasOneLcore) {
  for (const ForwardMode mode : {ForwardMode::kIo, ForwardMode::kRxOnly, ForwardMode::kTxOnly}) {
    for (std::size_t ports = 1; ports <= 5; ++ports) {
      for (std::uint16_t rx = 1; rx <= 4; ++rx) {
        for (std::uint16_t tx = 1; tx <= 4; ++tx) {
          for (unsigned lcores = 1; lcores <= 6; ++lcores) {
            for (const auto topology : {PortTopology::kPaired, PortTopology::kChained, PortTopology::kLoop}) {
              TopologyInput in = input(ports, rx, lcores, mode);
              in.tx_queues = tx;
              in.topology = topology;
              const LcorePlan plan = plan_streams(in);
              ASSERT_EQ(plan.size(), lcores);
              std::set<std::pair<unsigned, unsigned>> polled;
              for (unsigned lcore = 0; lcore < lcores; ++lcore) {
                for (const StreamPlan& stream : plan[lcore]) {
                  const auto queue = receives(mode)
                                         ? std::pair<unsigned, unsigned>{stream.rx_port, stream.rx_queue}
                                         : std::pair<unsigned, unsigned>{stream.tx_port, stream.tx_queue};
                  ASSERT_TRUE(polled.insert(queue).second) << "polled twice";
                  if (receives(mode)) {
                    ASSERT_EQ(lcore_of_rx(plan, mode, stream.rx_port, stream.rx_queue), lcore);
                  }
                  if (sends(mode)) {
                    ASSERT_LT(stream.tx_queue, tx);
                    ASSERT_EQ(lcore_of_tx(plan, mode, stream.tx_port, stream.tx_queue), lcore)
                        << "a TX queue shared by two lcores";
                  }
                }
              }
              ASSERT_EQ(polled.size(), ports * (receives(mode) ? rx : tx));
            }
          }
        }
      }
    }
  }
}

TEST(PlanStreams, LeavesOutPortsThatAreGoneAndTheirPartners) {
  TopologyInput in = input(4, 1, 1);
  in.present[1] = false;
  const LcorePlan plan = plan_streams(in);
  for (const StreamPlan& stream : plan[0]) {
    EXPECT_GE(stream.rx_port, 2U);
    EXPECT_GE(stream.tx_port, 2U);
  }
  EXPECT_EQ(plan[0].size(), 2U);
}

TEST(ForwardingLcores, AreAllButTheFirstUpToTheLimit) {
  const std::vector<lcore::LcoreSpec> three{{0, 0}, {1, 1}, {2, 2}};
  EXPECT_EQ(forwarding_lcores(three, 0), (std::vector<lcore::LcoreSpec>{{1, 1}, {2, 2}}));
  EXPECT_EQ(forwarding_lcores(three, 1), (std::vector<lcore::LcoreSpec>{{1, 1}}));
  EXPECT_EQ(forwarding_lcores({{5, 5}}, 0), (std::vector<lcore::LcoreSpec>{{5, 5}}))
      << "shares with the main one";
}

}  // namespace
}  // namespace spinring::testpmd
