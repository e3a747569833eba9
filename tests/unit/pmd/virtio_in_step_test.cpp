// On a split ring a buffer's place follows from how many go round. Where that number divides the ring's, each
// comes to where it stood before: in order to a descriptor that names it already, otherwise to such an entry
// of the available ring; and nothing is written. Packets that an application drops are gone without a word:
// the driver must find its way back into step.

#include <algorithm>
#include <string>
#include <vector>

#include "tests/quick_mode.hpp"
#include "tests/unit/pmd/virtio_rig.hpp"

namespace spinring::pmd {
namespace {

using mempool::Packet;

constexpr std::uint16_t kStepBurst = 8;

struct Step {
  bool in_order;
  std::uint16_t ring;
  std::uint16_t fill;
};

class InStep : public ::testing::TestWithParam<Step> {
 protected:
  InStep() : rig(config()) {}
  void SetUp() override {
    rig.device.queue_size_max = GetParam().ring;
    ASSERT_OK(rig.open());
    auto port = rig.port_config();
    port.rx[0].fill = GetParam().fill;
    ASSERT_OK(rig.port->start(port));
  }
  [[nodiscard]] static RigConfig config() {
    RigConfig of;
    if (GetParam().in_order) of.device = with(sim::feature(VIRTIO_F_IN_ORDER));
    of.ring_size = GetParam().ring;
    of.packets = 1024;
    of.memory_bytes = 4U << 20;
    return of;
  }
  /// A burst comes, its first `dropped` packets are dropped, the others offered; the device sends as many.
  void forward(std::size_t dropped = 0) { forward(dropped, kStepBurst - dropped); }
  void forward(std::size_t dropped, std::size_t sent) {
    for (std::uint32_t i = 0; i < kStepBurst; ++i) ASSERT_TRUE(rig.device.deliver(make_frame(i, 60)));
    std::vector<Packet*> packets = rig.receive_packets();
    ASSERT_EQ(packets.size(), kStepBurst);
    rig.cache->put(std::span(packets).first(dropped));
    const auto rest = std::span(packets).subspan(dropped);
    ASSERT_EQ(rig.port->tx(0).burst(rest), rest.size());
    ASSERT_EQ(rig.device.collect(0, sent).size(), sent);
  }
  /// Forwards one ring of packets; where its descriptors point then, and what the available ring says.
  [[nodiscard]] std::vector<std::uint64_t> after_a_round() {
    for (unsigned i = 0; i < GetParam().ring / kStepBurst; ++i) forward();
    std::vector<std::uint64_t> written;
    for (std::uint16_t slot = 0; slot < GetParam().ring; ++slot) {
      written.push_back(rig.device.rx_ring().descriptor(slot).addr);
      written.push_back(rig.device.rx_ring().available_entry(slot));
    }
    return written;
  }
  /// A pool that keeps books gives packets in another order each time.
  static void expect_in_step(bool expected, const std::vector<std::uint64_t>& now,
                             const std::vector<std::uint64_t>& before) {
    if constexpr (!mempool::kPoolDebug) {
      EXPECT_EQ(now == before, expected);
    }
  }
  /// From a pool that keeps books the ring is filled each time.
  void expect_low() {
    if constexpr (!mempool::kPoolDebug) {
      EXPECT_GT(rig.device.rx_buffers(), 64U);
      EXPECT_LT(rig.device.rx_buffers(), 128U) << "more go round than before";
    }
  }
  void forward_long() {
    for (unsigned i = 0; i < (mempool::kPoolDebug ? 20 : 100); ++i) (void)after_a_round();
  }

  Rig rig;
};

std::string step_name(const ::testing::TestParamInfo<Step>& step) {
  return (step.param.in_order ? "in_order_" : "by_id_") + std::to_string(step.param.fill) + "_of_" +
         std::to_string(step.param.ring);
}

INSTANTIATE_TEST_SUITE_P(Fills, InStep,
                         ::testing::Values(Step{true, 64, 32}, Step{true, 64, 48}, Step{true, 64, 64},
                                           Step{false, 512, 256}, Step{false, 512, 200}),
                         step_name);

TEST_P(InStep, TheRingStaysAsItIsAgainAfterPacketsWereDropped) {
  forward_long();
  for (std::size_t dropped = 1; dropped < kStepBurst; dropped += test::quick_mode() ? 5 : 1) {
    const auto in_step = after_a_round();
    expect_in_step(true, after_a_round(), in_step);
    forward(dropped);
    const auto out_of_step = after_a_round();
    expect_in_step(false, after_a_round(), out_of_step);
    forward_long();
  }
}

using DeviceIsBehind = InStep;
INSTANTIATE_TEST_SUITE_P(Fills, DeviceIsBehind,
                         ::testing::Values(Step{true, 1024, 512}, Step{false, 1024, 512}), step_name);

TEST_P(DeviceIsBehind, AnRxRingThatIsLowSinceMostPacketsWaitToBeSentTakesNoMoreOfThePool) {
  forward_long();
  for (unsigned given = 0; rig.device.rx_buffers() > 96 && given < GetParam().fill; given += kStepBurst)
    forward(0, 0);
  expect_low();
  (void)after_a_round();  // they come to other places than before
  for (unsigned round = 0; round < 20; ++round) {
    const auto in_step = after_a_round();
    expect_in_step(true, after_a_round(), in_step);
    expect_low();
  }
}

}  // namespace
}  // namespace spinring::pmd
