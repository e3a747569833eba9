// What a device of the e1000 family may do wrong, and what the driver makes of it: no bad length is believed,
// no packet is lost, no wait is without end.

#include <gtest/gtest.h>

#include <cstring>
#include <tuple>

#include "base/endian.hpp"
#include "mempool/memory.hpp"
#include "mempool/pool.hpp"
#include "pmd/errors.hpp"
#include "pmd/open.hpp"
#include "tests/unit/pmd/fake_e1000.hpp"

namespace spinring::test {
namespace {

constexpr std::uint32_t kDd = 1;
constexpr std::uint32_t kEop = 2;
constexpr std::uint16_t kRing = 16;

/// A port on a device that the test plays. The 82540EM has legacy descriptors, the 82576 advanced ones.
class Stage {
 public:
  explicit Stage(std::uint16_t id) : device(id), legacy_(id == 0x100E) { device.reset(); }
  ~Stage() {
    port.reset();
    cache->flush();
    EXPECT_EQ(pool->available(), pool->capacity()) << "packets are missing";
  }

  Result<void> open() {
    auto opened = pmd::open_port(std::make_unique<FakeE1000Function>(device), *memory);
    if (!opened) return fail(std::move(opened));
    port = std::move(*opened);
    return {};
  }
  Result<void> start() {
    if (auto ok = open(); !ok) return ok;
    return port->start({.rx = {{kRing, cache.get()}}, .tx = {{kRing, cache.get()}}});
  }

  /// The device completes the next RX descriptor. `status` as the extended format has it.
  void complete(std::uint32_t status, std::uint16_t length) {
    std::uint32_t* const words = descriptor(FakeE1000::like_82576(device.id) ? 0xC000 : 0x2800, next_);
    next_ = (next_ + 1) % kRing;
    if (legacy_) {
      words[2] = length;
      words[3] = (status & 0xFFU) | (status >> 16 & 0xFF00U);
    } else {
      words[0] = words[1] = 0;
      words[2] = status;
      words[3] = length;
    }
  }
  std::uint32_t* descriptor(std::uint64_t block, unsigned slot) {
    const std::uint64_t ring = std::uint64_t{device.at(block + 4)} << 32 | device.at(block);
    return reinterpret_cast<std::uint32_t*>(ring) + std::size_t{4} * slot;
  }
  /// Lengths of the frames that one burst brings.
  std::vector<std::uint32_t> receive() {
    std::array<mempool::Packet*, 64> packets{};
    const std::uint16_t got = port->rx(0).burst(packets);
    std::vector<std::uint32_t> lengths;
    for (mempool::Packet* packet : std::span(packets).first(got)) {
      lengths.push_back(packet->packet_length);
      cache->put_chain(packet);
    }
    return lengths;
  }
  [[nodiscard]] pmd::RxStats stats() const { return port->rx_stats(0); }

  FakeE1000 device;
  std::unique_ptr<mempool::Memory> memory =
      std::move(*mempool::Memory::create({.bytes = 1 << 20, .hugepages = false}));
  std::unique_ptr<mempool::Pool> pool = std::move(*mempool::Pool::create(*memory, {.packets = 128}));
  std::unique_ptr<mempool::PoolCache> cache = std::make_unique<mempool::PoolCache>(*pool);
  std::unique_ptr<pmd::AnyPort> port;

 private:
  bool legacy_;
  unsigned next_ = 0;
};

class E1000Hostile : public testing::TestWithParam<std::uint16_t> {};
INSTANTIATE_TEST_SUITE_P(Formats, E1000Hostile,
                         testing::Values(0x100E, 0x10D3, 0x10C9, 0x1521, 0x1533, 0x1539, 0x153A, 0x156F),
                         [](const auto& test) { return "id" + std::to_string(test.param); });
using Lengths = std::vector<std::uint32_t>;

TEST_P(E1000Hostile, LengthsAreChecked) {
  Stage stage(GetParam());
  ASSERT_TRUE(stage.start());
  stage.complete(kDd | kEop, 60);
  stage.complete(kDd | kEop, 0);
  stage.complete(kDd | kEop, 13);
  stage.complete(kDd | kEop, 2049);
  stage.complete(kDd | kEop, 65535);
  stage.complete(kDd | kEop, 1518);
  stage.complete(kDd | kEop, 1519);  // fits the buffer, not the MTU
  EXPECT_EQ(stage.receive(), (Lengths{60, 1518}));
  EXPECT_EQ(stage.stats().bad_completions, 4U);
  EXPECT_EQ(stage.stats().truncated, 1U);
}

TEST_P(E1000Hostile, FramesWithErrorsAreDropped) {
  Stage stage(GetParam());
  ASSERT_TRUE(stage.start());
  for (const unsigned bit : {24U, 25U, 26U, 28U, 31U}) stage.complete(kDd | kEop | 1U << bit, 100);
  stage.complete(kDd | kEop, 100);
  EXPECT_EQ(stage.receive(), Lengths{100});
  EXPECT_EQ(stage.stats().bad_completions, 5U);
}

TEST_P(E1000Hostile, ABadPieceTakesItsFrameWithIt) {
  Stage stage(GetParam());
  ASSERT_TRUE(stage.start());
  stage.complete(kDd, 700);
  stage.complete(kDd | kEop, 300);
  stage.complete(kDd, 700);
  stage.complete(kDd, 0);  // bad: the frame is dropped to its end
  stage.complete(kDd, 100);
  stage.complete(kDd | kEop, 100);
  stage.complete(kDd, 5);
  stage.complete(kDd | kEop, 5);  // together no Ethernet header
  stage.complete(kDd | kEop, 99);
  EXPECT_EQ(stage.receive(), (Lengths{1000, 99}));
  EXPECT_EQ(stage.stats().bad_completions, 2U);
  EXPECT_EQ(stage.stats().packets, 2U);
}

TEST_P(E1000Hostile, AFrameWithoutEndKeepsNoPackets) {
  Stage stage(GetParam());
  ASSERT_TRUE(stage.start());
  for (int round = 0; round < 40; ++round) {
    for (int i = 0; i < 8; ++i) stage.complete(kDd, 2000);
    EXPECT_TRUE(stage.receive().empty());
  }
  EXPECT_EQ(stage.stats().truncated, 1U) << "one frame, however long";
  stage.complete(kDd | kEop, 60);
  EXPECT_TRUE(stage.receive().empty());
  stage.complete(kDd | kEop, 60);
  EXPECT_EQ(stage.receive(), Lengths{60});
}

TEST_P(E1000Hostile, AHalfReceivedFrameReturnsAtStop) {
  Stage stage(GetParam());
  ASSERT_TRUE(stage.start());
  stage.complete(kDd, 500);
  EXPECT_TRUE(stage.receive().empty());
  stage.port->stop();
  EXPECT_TRUE(stage.receive().empty());
  EXPECT_FALSE(stage.device.bus_master);
  stage.cache->flush();
  EXPECT_EQ(stage.pool->available(), stage.pool->capacity());
}

TEST_P(E1000Hostile, MoreCompletionsThanBuffersAreNotBelieved) {
  Stage stage(GetParam());
  ASSERT_TRUE(stage.start());
  for (int i = 0; i < kRing; ++i) stage.complete(kDd | kEop, 60);  // one more than it was given
  EXPECT_EQ(stage.receive().size(), kRing - 1U);
}

TEST_P(E1000Hostile, ReportsNobodyAskedForFreeNothing) {
  Stage stage(GetParam());
  ASSERT_TRUE(stage.start());
  const std::uint64_t block = FakeE1000::like_82576(GetParam()) ? 0xE000 : 0x3800;
  for (unsigned slot = 0; slot < kRing; ++slot) stage.descriptor(block, slot)[3] |= kDd;
  std::array<mempool::Packet*, 4> packets{};
  for (auto& packet : packets) {
    packet = stage.cache->get();
    packet->reset(100);
  }
  ASSERT_EQ(stage.port->tx(0).burst(packets), 4U);
  EXPECT_EQ(stage.device.at(block + 0x18), 4U) << "TDT";
  // Only the last asks for a report (RS): the others' DD changes nothing.
  EXPECT_EQ(stage.descriptor(block, 2)[2] & 1U << 27, 0U);
  EXPECT_NE(stage.descriptor(block, 3)[2] & 1U << 27, 0U);
  for (unsigned slot : {0U, 1U, 2U}) stage.descriptor(block, slot)[3] |= kDd;
  const std::uint32_t before = stage.cache->count();
  (void)stage.port->tx(0).burst({});
  EXPECT_EQ(stage.cache->count(), before);
  stage.descriptor(block, 3)[3] |= kDd;
  (void)stage.port->tx(0).burst({});
  EXPECT_EQ(stage.cache->count(), before + 4);
}

void expect_refused(const Result<void>& result, pmd::Errc code, const char* text) {
  ASSERT_FALSE(result) << text;
  EXPECT_EQ(result.error().code, code) << result.error().message();
  EXPECT_NE(result.error().message().find(text), std::string::npos) << result.error().message();
}

TEST_P(E1000Hostile, ADeviceThatDoesNotAnswerIsGivenUp) {
  {
    Stage stage(GetParam());
    stage.device.leaves_reset = false;
    expect_refused(stage.start(), pmd::Errc::kTimeout, "CTRL.RST");
  }
  {
    Stage stage(GetParam());
    stage.device.status = 0x80080781;  // no link: it must be negotiated
    stage.device.answers_mdic = false;
    expect_refused(stage.start(), pmd::Errc::kTimeout, "PHY");
  }
  {
    Stage stage(GetParam());
    stage.device.status = 0xFFFF'FFFF;
    expect_refused(stage.start(), pmd::Errc::kRemoved, "STATUS");
  }
  if (FakeE1000::like_82576(GetParam())) {
    Stage stage(GetParam());
    stage.device.enables_queues = false;
    expect_refused(stage.start(), pmd::Errc::kTimeout, "ENABLE");
  }
}

/// Not those whose NVM is the chipset's, or inside.
bool reads_nvm(std::uint16_t id) { return id != 0x1539 && id != 0x153A && id != 0x156F; }

TEST_P(E1000Hostile, TheAddressComesFromTheNvmWhenTheRegistersHaveNone) {
  Stage stage(GetParam());
  stage.device.keeps_address = false;
  stage.device.reset();
  expect_refused(stage.open(), pmd::Errc::kBadDevice, "MAC");
  stage.device.nvm[0] = 0x5452;
  stage.device.nvm[1] = 0x1200;
  stage.device.nvm[2] = 0x5634;
  expect_refused(stage.open(), pmd::Errc::kBadDevice, "MAC");  // its checksum is wrong
  stage.device.nvm[63] = static_cast<std::uint16_t>(0xBABA - 0x5452 - 0x1200 - 0x5634);
  if (!reads_nvm(GetParam())) return expect_refused(stage.open(), pmd::Errc::kBadDevice, "MAC");
  ASSERT_TRUE(stage.open());
  EXPECT_EQ(pmd::to_string(stage.port->info().mac), "52:54:00:12:34:56");
  stage.device.answers_eerd = false;
  expect_refused(stage.open(), pmd::Errc::kBadDevice, "MAC");
}

/// [82574] 10.2.2.9, [82576] 4.7.
TEST_P(E1000Hostile, ThePhyIsSharedWithTheFirmware) {
  Stage stage(GetParam());
  stage.device.status = 0x80080781;  // no link: it must be negotiated
  const bool shared = GetParam() != 0x100E;
  ASSERT_TRUE(stage.start());
  EXPECT_GE(stage.device.phy_accesses, 2U);
  EXPECT_EQ(stage.device.phy_owned, shared);
  EXPECT_EQ(stage.device.at(0x0F00) & 1U << 5, 0U) << "given back";
  EXPECT_EQ(stage.device.at(0x5B5C), 0U) << "given back";
  EXPECT_EQ(stage.device.at(0x5B50), 0U) << "and the semaphore";
  if (!FakeE1000::like_82576(GetParam())) return;
  stage.port->stop();
  stage.device.status |= 1U << 2;  // the second port's bit is the next
  stage.device.phy_bit = 1U << 2;
  ASSERT_TRUE(stage.port->start({.rx = {{kRing, stage.cache.get()}}, .tx = {{kRing, stage.cache.get()}}}));
  EXPECT_TRUE(stage.device.phy_owned);
  stage.port->stop();
  stage.device.holds_phy = 1U << 18;
  expect_refused(stage.port->start({.rx = {{kRing, stage.cache.get()}}, .tx = {{kRing, stage.cache.get()}}}),
                 pmd::Errc::kTimeout, "firmware");
}

TEST(E1000Models, HaveTheQueuesOfTheirDataSheets) {
  for (const auto& [id, queues, name] :
       {std::tuple{0x1521, 8, "igb (I350)"}, std::tuple{0x1533, 4, "igb (I210)"},
        std::tuple{0x1539, 2, "igb (I211)"}, std::tuple{0x153A, 2, "e1000e (I217)"},
        std::tuple{0x153B, 2, "e1000e (I217)"}, std::tuple{0x156F, 2, "e1000e (I219)"},
        std::tuple{0x1570, 2, "e1000e (I219)"}}) {
    Stage stage(static_cast<std::uint16_t>(id));
    ASSERT_TRUE(stage.open());
    EXPECT_EQ(stage.port->info().driver, name);
    EXPECT_EQ(stage.port->info().max_rx_queues, queues);
    EXPECT_FALSE(stage.port->info().offloads.has(pmd::Offload::kRxTimestamp));
    ASSERT_TRUE(stage.port->set_flow_control({.tx = true}));
  }
}

TEST_P(E1000Hostile, LinkEventsAreAcknowledged) {
  Stage stage(GetParam());
  stage.device.config[0x34] = 0x40;
  stage.device.config[0x40] = 0x80000011;  // MSI-X, enabled
  ASSERT_TRUE(stage.start());
  EXPECT_EQ(stage.port->link_event_fd(), stage.device.event.get());
  EXPECT_NE(stage.device.at(0x00D0) & 4U, 0U) << "IMS.LSC";
  EXPECT_EQ(stage.device.at(0x00E4), GetParam() == 0x10D3 ? 8U << 16 : 0U) << "IVAR: valid, vector 0";
  EXPECT_EQ(stage.device.at(0x1740), FakeE1000::like_82576(GetParam()) ? 0x8000U : 0U)
      << "IVAR_MISC: valid, vector 0";
  stage.port->acknowledge_link_event();
  EXPECT_EQ(stage.device.unmasked, 0U) << "nothing had happened";
  stage.device.at(0x00C0) = 4;
  const std::uint64_t one = 1;
  ASSERT_EQ(::write(stage.device.event.get(), &one, sizeof(one)), 8);
  stage.port->acknowledge_link_event();
  EXPECT_EQ(stage.device.at(0x00C0), 0U);
  EXPECT_EQ(stage.device.unmasked, 1U);
  stage.port->stop();
  EXPECT_EQ(stage.device.at(0x00D0), 0U);
}

TEST_P(E1000Hostile, ARingOfCapabilitiesEnds) {
  Stage stage(GetParam());
  stage.device.config[0x34] = 0x40;
  stage.device.config[0x40] = 0x4001;  // and then itself
  EXPECT_TRUE(stage.start());
  stage.port.reset();
  stage.device.vectors = 0;
  ASSERT_TRUE(stage.start());
  EXPECT_EQ(stage.port->link_event_fd(), -1);
}

}  // namespace
}  // namespace spinring::test
