// On a split ring in order a buffer's place follows from how many go round. Where that number divides the
// ring's, each comes to a descriptor that names it already, and nothing is written. Packets that an
// application drops are gone without a word: the driver must find its way back into step.

#include <algorithm>
#include <vector>

#include "tests/unit/pmd/virtio_rig.hpp"

namespace spinring::pmd {
namespace {

using mempool::Packet;

constexpr std::uint16_t kStepRing = 64;
constexpr std::uint16_t kStepBurst = 8;

class InStep : public ::testing::TestWithParam<std::uint16_t> {
 protected:
  InStep() : rig(config()) {}
  void SetUp() override {
    ASSERT_OK(rig.open());
    auto port = rig.port_config();
    port.rx[0].fill = GetParam();
    ASSERT_OK(rig.port->start(port));
  }
  [[nodiscard]] static RigConfig config() {
    RigConfig of;
    of.device = with(sim::feature(VIRTIO_F_IN_ORDER));
    of.ring_size = kStepRing;
    return of;
  }
  /// A burst comes, its first `dropped` packets are dropped, the others sent.
  void forward(std::size_t dropped = 0) {
    for (std::uint32_t i = 0; i < kStepBurst; ++i) ASSERT_TRUE(rig.device.deliver(make_frame(i, 60)));
    std::vector<Packet*> packets = rig.receive_packets();
    ASSERT_EQ(packets.size(), kStepBurst);
    rig.cache->put(std::span(packets).first(dropped));
    const auto rest = std::span(packets).subspan(dropped);
    ASSERT_EQ(rig.port->tx(0).burst(rest), rest.size());
    ASSERT_EQ(rig.sent().size(), rest.size());
  }
  /// Forwards one ring of packets; where its descriptors point then.
  [[nodiscard]] std::vector<std::uint64_t> after_a_round() {
    for (unsigned i = 0; i < kStepRing / kStepBurst; ++i) forward();
    std::vector<std::uint64_t> addresses;
    for (std::uint16_t id = 0; id < kStepRing; ++id)
      addresses.push_back(rig.device.rx_ring().descriptor(id).addr);
    return addresses;
  }
  /// A pool that keeps books gives packets in another order each time.
  static void expect_in_step(bool expected, const std::vector<std::uint64_t>& now,
                             const std::vector<std::uint64_t>& before) {
    if constexpr (!mempool::kPoolDebug) {
      EXPECT_EQ(now == before, expected);
    }
  }
  void forward_long() {
    for (unsigned i = 0; i < 100; ++i) (void)after_a_round();
  }

  Rig rig;
};

INSTANTIATE_TEST_SUITE_P(Fills, InStep, ::testing::Values(32, 48, 64));

TEST_P(InStep, DescriptorsStayAsTheyAreAgainAfterPacketsWereDropped) {
  forward_long();
  for (std::size_t dropped = 1; dropped < kStepBurst; ++dropped) {
    const auto in_step = after_a_round();
    expect_in_step(true, after_a_round(), in_step);
    forward(dropped);
    const auto out_of_step = after_a_round();
    expect_in_step(false, after_a_round(), out_of_step);
    forward_long();
  }
}

}  // namespace
}  // namespace spinring::pmd
