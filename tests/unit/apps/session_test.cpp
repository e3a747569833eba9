#include "apps/testpmd/session.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "apps/testpmd/sizing.hpp"
#include "lcore/errors.hpp"
#include "mempool/errors.hpp"
#include "tests/unit/apps/loopback_port.hpp"

namespace spinring::testpmd {
namespace {

using namespace std::chrono_literals;

/// Ports cabled in pairs, and a session over them with `lcores` forwarding lcores on the CPUs there are.
class SessionTest : public testing::Test {
 protected:
  static std::vector<lcore::LcoreSpec> lcores(unsigned forwarding) {
    const std::vector<int> cpus = lcore::allowed_cpus().value().cpus();
    std::vector<lcore::LcoreSpec> specs;
    for (unsigned i = 0; i <= forwarding; ++i) specs.push_back({i, cpus[i % cpus.size()]});
    return specs;
  }
  /// Small rings, and lcores that share CPUs.
  static ForwardOptions small() {
    ForwardOptions options;
    options.rx_ring = 64;
    options.tx_ring = 64;
    options.packets = 1200;
    options.idle = {.kind = lcore::Idle::kSleep, .empty_polls_before_sleep = 64, .sleep = 20us};
    return options;
  }
  Result<std::unique_ptr<Session>> make(const ForwardOptions& options, unsigned forwarding) {
    return Session::create(options, lcores(forwarding), lcore::allowed_cpus().value(), *lab_.memory,
                           std::move(lab_.opened));
  }
  static bool forwarded(Session& session, std::uint64_t packets) {
    const std::uint64_t before = totals(session.report()).rx;
    return wait_until([&] { return totals(session.report()).rx >= before + packets; }, Deadline(20s), 1ms);
  }
  /// Ends the session and checks that every packet is accounted for and back in the pool.
  static Report finish(Session& session) {
    EXPECT_TRUE(session.finish());
    Report report = session.report();
    const Totals sum = totals(report);
    EXPECT_EQ(sum.rx + sum.generated, sum.tx + sum.tx_dropped + sum.tx_rejected + sum.consumed);
    EXPECT_EQ(report.pool.available, report.pool.capacity) << "the pool is whole";
    return report;
  }

  Lab lab_{2};
};

TEST_F(SessionTest, PortsAreStartedWithWhatTheOptionsAskFor) {
  using pmd::Offload;
  lab_.port[0]->offer(Offload::kTxChecksum | Offload::kTxSegment | Offload::kTxSegmentUdp);
  ForwardOptions options = small();
  options.rx_checksum = true;
  options.rss_types = pmd::kRssIpv4;
  options.mtu = 1400;
  auto session = make(options, 1);
  ASSERT_TRUE(session) << session.error().message();
  const auto& first = lab_.port[0]->started_with;
  EXPECT_EQ(pmd::to_string(first.offloads), "rx-checksum tx-checksum tx-segment rss")
      << "of sending, what is there";
  EXPECT_EQ(first.rss_types, pmd::kRssIpv4);
  EXPECT_EQ(first.mtu, 1400);
  EXPECT_EQ(pmd::to_string(lab_.port[1]->started_with.offloads), "rx-checksum rss");
  (void)finish(**session);
}

TEST_F(SessionTest, JoinedFramesAreNotForwardedToPortsThatCannotCutThem) {
  ForwardOptions options = small();
  options.coalesce = true;
  auto session = make(options, 1);
  ASSERT_TRUE(session) << session.error().message();
  const auto refused = (*session)->start(0);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message().find("--enable-lro"), std::string::npos) << refused.error().message();
  (void)finish(**session);
}

TEST_F(SessionTest, ForwardsAndAccountsForEveryPacket) {
  for (const auto mode : {ForwardMode::kIo, ForwardMode::kMac, ForwardMode::kMacSwap, ForwardMode::kNoisy}) {
    Lab lab(2);
    ForwardOptions options = small();
    options.noise = {.keep = 8, .keep_every = 3};
    options.mode = mode;
    auto session = Session::create(options, lcores(1), lcore::allowed_cpus().value(), *lab.memory,
                                   std::move(lab.opened));
    ASSERT_TRUE(session) << session.error().message();
    ASSERT_TRUE((*session)->start(1));
    EXPECT_TRUE(forwarded(**session, 10'000));
    const Report report = finish(**session);
    EXPECT_EQ(totals(report).generated, 64U) << "a burst by each of two streams";
    EXPECT_GE(totals(report).rx, 10'000U);
    EXPECT_GT(report.duration_s, 0.0);
    EXPECT_GT(totals(report).pps, 0.0);
    ASSERT_EQ(report.lcores.size(), 1U);
    EXPECT_EQ(report.lcores[0].stats.packets, totals(report).rx);
    EXPECT_GT(report.lcores[0].stats.cycles_per_packet(), 0.0);
  }
}

TEST_F(SessionTest, ForwardsOnSeveralLcoresAndQueues) {
  ForwardOptions options = small();
  options.rx_queues = 2;
  options.tx_queues = 2;
  auto session = make(options, 2);
  ASSERT_TRUE(session) << session.error().message();
  ASSERT_TRUE((*session)->start(1));
  const auto all_work = [&] {
    const Report now = (*session)->report();
    return std::all_of(now.lcores.begin(), now.lcores.end(),
                       [](const LcoreReport& lcore) { return lcore.stats.packets >= 1'000; });
  };
  EXPECT_TRUE(wait_until(all_work, Deadline(20s), 1ms));
  const Report report = finish(**session);
  ASSERT_EQ(report.lcores.size(), 2U);
  for (const LcoreReport& lcore : report.lcores) EXPECT_GT(lcore.stats.packets, 0U);
  for (const PortReport& port : report.ports) {
    ASSERT_EQ(port.rx.size(), 2U);
    for (const auto& queue : port.rx) EXPECT_GT(queue.packets, 0U);
  }
}

TEST_F(SessionTest, AFullRingDropsByNameAndLosesNothing) {
  auto session = make(small(), 1);
  ASSERT_TRUE(session) << session.error().message();
  ASSERT_TRUE((*session)->start(4)) << "128 frames by each stream; a ring holds 64";
  EXPECT_TRUE(forwarded(**session, 5'000));
  const Report report = finish(**session);
  EXPECT_EQ(totals(report).generated, 256U);
  EXPECT_GE(totals(report).tx_dropped, 128U);
  std::uint64_t ring_full = 0;
  for (const PortReport& port : report.ports) ring_full += tx_total(port).ring_full;
  EXPECT_EQ(ring_full, totals(report).tx_dropped);
}

TEST_F(SessionTest, ModesChangeBetweenRunsAndCountersGoOn) {
  auto session = make(small(), 1);
  ASSERT_TRUE(session) << session.error().message();
  (*session)->set_mode(ForwardMode::kTxOnly);
  ASSERT_TRUE((*session)->start(0));
  ASSERT_TRUE(wait_until([&] { return totals((*session)->report()).tx >= 128; }, Deadline(10s)));
  ASSERT_TRUE((*session)->stop());
  const Totals sent = totals((*session)->report());
  EXPECT_EQ(sent.generated, sent.tx + sent.tx_dropped);
  EXPECT_EQ(sent.rx, 0U);
  (*session)->set_mode(ForwardMode::kRxOnly);
  ASSERT_TRUE((*session)->start(0));
  // The frames of the first run lie in the rings unless the queues changed lcores; the port says what it
  // received.
  ASSERT_TRUE((*session)->stop());
  const Report report = finish(**session);
  EXPECT_EQ(totals(report).generated, sent.generated);
  EXPECT_EQ(totals(report).consumed, totals(report).rx);
}

TEST_F(SessionTest, RxOnlySendsNothingSoTxFirstIsRefused) {
  ForwardOptions options = small();
  options.mode = ForwardMode::kRxOnly;
  auto session = make(options, 1);
  ASSERT_TRUE(session) << session.error().message();
  const auto refused = (*session)->start(1);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message().find("tx_first"), std::string::npos);
  EXPECT_FALSE((*session)->forwarding());
}

TEST_F(SessionTest, StartingTwiceIsRefusedAndStoppingTwiceIsNot) {
  auto session = make(small(), 1);
  ASSERT_TRUE(session) << session.error().message();
  ASSERT_TRUE((*session)->start(0));
  EXPECT_FALSE((*session)->start(0));
  EXPECT_TRUE((*session)->forwarding());
  EXPECT_TRUE((*session)->stop());
  EXPECT_TRUE((*session)->stop());
}

TEST_F(SessionTest, ARunningSessionMayBeDestroyed) {
  auto session = make(small(), 1);
  ASSERT_TRUE(session) << session.error().message();
  bool gone = false;
  lab_.port[0]->destroyed = &gone;
  ASSERT_TRUE((*session)->start(1));
  EXPECT_TRUE(forwarded(**session, 100));
  session->reset();
  EXPECT_TRUE(gone);
}

TEST_F(SessionTest, AFaultIsMendedAndCountersGoOn) {
  auto session = make(small(), 1);
  ASSERT_TRUE(session) << session.error().message();
  ASSERT_TRUE((*session)->start(1));
  ASSERT_TRUE(forwarded(**session, 1000));
  const std::uint64_t before = totals((*session)->report()).rx;
  lab_.port[0]->faulty = true;
  ASSERT_TRUE((*session)->check_ports());
  EXPECT_EQ(lab_.port[0]->starts, 1) << "what the device has delivered is taken first";
  ASSERT_TRUE((*session)->check_ports());
  EXPECT_TRUE((*session)->forwarding());
  EXPECT_EQ(lab_.port[0]->starts, 2);
  EXPECT_EQ(lab_.port[1]->starts, 1) << "the other port runs on";
  const Report report = finish(**session);
  EXPECT_EQ(report.ports[0].recoveries, 1U);
  EXPECT_FALSE(report.ports[0].faulted);
  EXPECT_GE(totals(report).rx, before) << "what the port counted before its restart is kept";
}

TEST_F(SessionTest, AFailedRestartIsTriedAgainLater) {
  auto session = make(small(), 1);
  ASSERT_TRUE(session) << session.error().message();
  ASSERT_TRUE((*session)->start(0));
  lab_.port[1]->faulty = true;
  lab_.port[1]->starts_to_fail = 1;
  ASSERT_TRUE((*session)->check_ports());
  ASSERT_TRUE((*session)->check_ports());
  EXPECT_TRUE((*session)->report().ports[1].faulted);
  EXPECT_FALSE((*session)->port(1).running());
  ASSERT_TRUE((*session)->check_ports());
  EXPECT_FALSE((*session)->port(1).running()) << "not at once";
  ASSERT_TRUE(wait_until(
      [&] {
        EXPECT_TRUE((*session)->check_ports());
        return (*session)->port(1).running();
      },
      Deadline(5s), 50ms));
  EXPECT_EQ(finish(**session).ports[1].recoveries, 1U);
}

TEST_F(SessionTest, WithoutAutoRecoverAFaultIsOnlyReported) {
  ForwardOptions options = small();
  options.auto_recover = false;
  auto session = make(options, 1);
  ASSERT_TRUE(session) << session.error().message();
  ASSERT_TRUE((*session)->start(0));
  lab_.port[0]->faulty = true;
  ASSERT_TRUE((*session)->check_ports());
  EXPECT_EQ(lab_.port[0]->starts, 1);
  EXPECT_TRUE(finish(**session).ports[0].faulted);
}

TEST_F(SessionTest, ARemovedPortGoesAndItsNumbersStay) {
  auto session = make(small(), 1);
  ASSERT_TRUE(session) << session.error().message();
  bool gone = false;
  lab_.port[0]->destroyed = &gone;
  ASSERT_TRUE((*session)->start(1));
  ASSERT_TRUE(forwarded(**session, 1000));
  ASSERT_TRUE((*session)->remove_port((*session)->port(0)));
  EXPECT_TRUE(gone) << "the device was given back";
  EXPECT_TRUE((*session)->forwarding());
  EXPECT_TRUE((*session)->any_port_left());
  const Report report = finish(**session);
  EXPECT_FALSE(report.ports[0].present);
  EXPECT_GT(rx_total(report.ports[0]).packets, 0U);
  EXPECT_EQ(report.ports[0].info.name, "loop0");
  ASSERT_TRUE((*session)->remove_port((*session)->port(1)));
  EXPECT_FALSE((*session)->any_port_left());
}

TEST_F(SessionTest, ClearBeginsAnew) {
  auto session = make(small(), 1);
  ASSERT_TRUE(session) << session.error().message();
  ASSERT_TRUE((*session)->start(1));
  ASSERT_TRUE(forwarded(**session, 1000));
  ASSERT_TRUE((*session)->stop());
  (*session)->clear_stats();
  const Report report = (*session)->report();
  const Totals sum = totals(report);
  EXPECT_EQ(sum.rx, 0U);
  EXPECT_EQ(sum.tx, 0U);
  EXPECT_EQ(sum.generated, 0U);
  EXPECT_EQ(report.duration_s, 0.0);
  EXPECT_EQ(report.lcores[0].stats.packets, 0U);
  EXPECT_EQ(report.lcores[0].stats.total_cycles, 0U);
}

TEST_F(SessionTest, ALinkThatChangesIsSeen) {
  auto session = make(small(), 1);
  ASSERT_TRUE(session) << session.error().message();
  EXPECT_TRUE((*session)->report().ports[1].link.up);
  lab_.port[1]->link_up = false;
  (*session)->refresh_link((*session)->port(1));
  EXPECT_FALSE((*session)->report().ports[1].link.up);
}

TEST_F(SessionTest, TooManyQueuesAreRefusedByOptionAndRange) {
  ForwardOptions options = small();
  options.rx_queues = 5;
  options.rx_ring = 8;
  const auto session = make(options, 1);
  ASSERT_FALSE(session);
  EXPECT_NE(session.error().message().find("--rxq=5"), std::string::npos);
  EXPECT_NE(session.error().message().find("1 to 4"), std::string::npos);
}

TEST_F(SessionTest, APoolTooSmallForTheRingsIsRefusedWithTheNumber) {
  ForwardOptions options = small();
  options.packets = 287;
  const auto session = make(options, 1);
  ASSERT_FALSE(session);
  EXPECT_EQ(session.error().code, mempool::Errc::kBadArgument);
  EXPECT_NE(session.error().message().find("--total-num-mbufs=287"), std::string::npos);
  EXPECT_NE(session.error().message().find("288"), std::string::npos) << session.error().message();
}

TEST_F(SessionTest, TooManyForwardingCoresAreRefused) {
  ForwardOptions options = small();
  options.forwarding_cores = 3;
  const auto session = make(options, 1);
  ASSERT_FALSE(session);
  EXPECT_NE(session.error().message().find("--nb-cores=3"), std::string::npos);
}

TEST_F(SessionTest, ACpuThatIsNotThereIsRefusedBeforeAnyPortStarts) {
  const auto session = Session::create(small(), {{0, 0}, {1, 4095}}, lcore::allowed_cpus().value(),
                                       *lab_.memory, std::move(lab_.opened));
  ASSERT_FALSE(session);
  EXPECT_EQ(session.error().code, lcore::Errc::kCpuNotAvailable);
  EXPECT_NE(session.error().message().find("4095"), std::string::npos);
}

TEST_F(SessionTest, APortThatDoesNotStartIsAnError) {
  lab_.port[1]->starts_to_fail = 1;
  const auto session = make(small(), 1);
  ASSERT_FALSE(session);
  EXPECT_NE(session.error().message().find("loop1"), std::string::npos);
}

TEST(Sizing, TheStandardPoolFillsRingsAndCaches) {
  ForwardOptions options;
  options.rx_ring = 512;
  EXPECT_EQ(ring_entries(0, 0), 256);
  EXPECT_EQ(ring_entries(0, 128), 128);
  EXPECT_EQ(ring_entries(1024, 128), 1024) << "what the user asks for is the driver's to refuse";
  EXPECT_EQ(pool_need(options, 2, 1).least, 2U * (512 + 256) + 32);
  EXPECT_EQ(pool_packets(options, 2, 1).value(), pool_need(options, 2, 1).standard);
  options.packets = 1568;
  EXPECT_EQ(pool_packets(options, 2, 1).value(), 1568U);
}

TEST(Sizing, MemoryHoldsThePool) {
  ForwardOptions options;
  const std::uint32_t packets = pool_packets(options, 2, 1).value();
  auto memory = mempool::Memory::create({.bytes = memory_bytes(options, 2, packets), .hugepages = false});
  ASSERT_TRUE(memory) << memory.error().message();
  EXPECT_TRUE(mempool::Pool::create(**memory, {"packets", packets, options.buffer_length}));
}

}  // namespace
}  // namespace spinring::testpmd
