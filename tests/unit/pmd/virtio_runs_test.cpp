// Loops take packets in runs, by vectors. One packet that is not like the others must be found wherever in a
// run it stands, and must change nothing for its neighbours.

#include <algorithm>
#include <array>
#include <functional>
#include <string>

#include "tests/unit/pmd/virtio_rig.hpp"

namespace spinring::pmd {
namespace {

using mempool::Packet;
using sim::feature;

constexpr std::uint16_t kRunsRing = 64;
constexpr std::uint32_t kRunsBurst = 24;  // three runs of eight
constexpr std::uint32_t kRunRoom = 512 - Packet::kHeadroom;

struct KindOfRing {
  std::string name;
  std::uint64_t features;
};
std::ostream& operator<<(std::ostream& out, const KindOfRing& kind) { return out << kind.name; }

class Runs : public ::testing::TestWithParam<KindOfRing> {
 protected:
  Runs() : rig(config()) { rig.forgive_device(); }
  void SetUp() override { ASSERT_NO_FATAL_FAILURE(rig.open_and_start()); }
  [[nodiscard]] static RigConfig config() {
    RigConfig of;
    of.device = with(GetParam().features);
    of.ring_size = kRunsRing;
    of.buffer_length = 512;
    return of;
  }
  /// A burst of frames, of which one is delivered by `odd`.
  [[nodiscard]] Frames receive_with(std::uint32_t at, const std::function<void()>& odd) {
    for (std::uint32_t i = 0; i < kRunsBurst; ++i) {
      if (i == at) {
        odd();
      } else {
        EXPECT_TRUE(rig.device.deliver(frame(i)));
      }
    }
    return rig.receive();
  }
  [[nodiscard]] static Bytes frame(std::uint32_t i) { return make_frame(i, 60 + i); }
  /// All frames but the odd one, and `instead` in its place.
  [[nodiscard]] static Frames all_but(std::uint32_t at, const Frames& instead = {}) {
    Frames frames;
    for (std::uint32_t i = 0; i < kRunsBurst; ++i) {
      if (i == at) {
        frames.insert(frames.end(), instead.begin(), instead.end());
      } else {
        frames.push_back(frame(i));
      }
    }
    return frames;
  }

  Rig rig;
};

INSTANTIATE_TEST_SUITE_P(EveryRing, Runs,
                         ::testing::Values(KindOfRing{"split", 0},
                                           KindOfRing{"split_in_order", feature(VIRTIO_F_IN_ORDER)},
                                           KindOfRing{"packed", feature(VIRTIO_F_RING_PACKED)},
                                           KindOfRing{"packed_in_order", feature(VIRTIO_F_RING_PACKED) |
                                                                             feature(VIRTIO_F_IN_ORDER)}),
                         [](const auto& ring) { return ring.param.name; });

TEST_P(Runs, ALengthThatNoBufferHasDropsThatFrameAlone) {
  std::uint64_t bad = 0;
  for (std::uint32_t at = 0; at < kRunsBurst; ++at) {
    for (const std::uint32_t length : {0U, 25U, kRunRoom + 1, 0x8000'0000U + 72, 0xFFFF'FFFFU}) {
      const Frames got = receive_with(
          at, [&] { EXPECT_TRUE(rig.device.deliver(make_frame(1, 60), 0, {.used_length = length})); });
      ASSERT_EQ(got, all_but(at)) << at << ", length " << length;
      ASSERT_EQ(rig.port->rx_stats(0).bad_completions, ++bad);
    }
  }
}

TEST_P(Runs, AFrameOfSeveralBuffersIsJoinedAndItsNeighboursAreNot) {
  const Bytes longer = make_frame(7, 2 * kRunRoom);
  for (std::uint32_t at = 0; at < kRunsBurst; ++at) {
    const Frames got = receive_with(at, [&] { EXPECT_TRUE(rig.device.deliver(longer)); });
    ASSERT_EQ(got, all_but(at, {longer})) << at;
  }
}

TEST_P(Runs, AFrameOfNoBuffersIsDroppedAlone) {
  for (std::uint32_t at = 0; at < kRunsBurst; ++at) {
    const Frames got =
        receive_with(at, [&] { EXPECT_TRUE(rig.device.deliver(make_frame(1, 60), 0, {.num_buffers = 0})); });
    ASSERT_EQ(got, all_but(at)) << at;
    ASSERT_EQ(rig.port->rx_stats(0).truncated, at + 1);
  }
}

/// A packet that is not plain, in the middle of plain ones; what it becomes on the wire.
struct OddPacket {
  std::string name;
  std::function<Packet*(Rig&)> make;
  Frames sent;
};
std::vector<OddPacket> odd_packets() {
  const Bytes frame = make_frame(99, 200);
  const auto plain = [frame](Rig& rig) { return rig.packet(frame); };
  return {
      {"chain",
       [frame](Rig& rig) {
         return rig.chain(frame, std::array<std::size_t, 2>{80, 120});
       },
       {frame}},
      {"without headroom",
       [frame](Rig& rig) {
         Packet* const packet = rig.packet(frame);
         std::memmove(packet->buffer() + 11, packet->data(), frame.size());
         packet->data_offset = 11;  // one byte less than the header takes
         return packet;
       },
       {frame}},
      {"with what was noted when it was received",
       [plain](Rig& rig) {
         Packet* const packet = plain(rig);
         packet->offloads = mempool::kRxChecksumGood | mempool::kRxHashValid;
         packet->vlan_tci = 0x123;
         return packet;
       },
       {frame}},
      {"empty",
       [plain](Rig& rig) {
         Packet* const packet = plain(rig);
         packet->data_length = 0;
         return packet;
       },
       {}},
      {"no segment",
       [plain](Rig& rig) {
         Packet* const packet = plain(rig);
         packet->segments = 0;
         return packet;
       },
       {}},
      {"asks for what was not negotiated",
       [plain](Rig& rig) {
         Packet* const packet = plain(rig);
         packet->offloads = mempool::kTxSctpChecksum;
         return packet;
       },
       {}},
  };
}

TEST_P(Runs, APacketThatIsNotPlainIsFoundAmongPlainOnes) {
  std::uint64_t rejected = 0;
  for (const OddPacket& odd : odd_packets()) {
    for (std::uint32_t at = 0; at < kRunsBurst; ++at) {
      std::array<Packet*, kRunsBurst> burst{};
      for (std::uint32_t i = 0; i < kRunsBurst; ++i)
        burst[i] = i == at ? odd.make(rig) : rig.packet(frame(i));
      ASSERT_EQ(rig.port->tx(0).burst(burst), kRunsBurst) << odd.name << " at " << at;
      ASSERT_EQ(rig.sent(), all_but(at, odd.sent)) << odd.name << " at " << at;
      if (odd.sent.empty()) ++rejected;
      ASSERT_EQ(rig.port->tx_stats(0).rejected, rejected) << odd.name << " at " << at;
    }
  }
}

/// A run of the queue's own pool is placed at once. A packet of another pool, in another region of memory,
/// has its own address, and goes back to its own pool.
TEST_P(Runs, PacketsOfAnotherPoolGoFromWhereTheyLie) {
  constexpr std::uint32_t kOthers = 3500;  // more than the first region has room for
  ASSERT_OK(rig.memory->grow({.bytes = 4U << 20, .hugepages = false}));
  auto other =
      mempool::Pool::create(*rig.memory, {.name = "other", .packets = kOthers, .buffer_length = 512});
  ASSERT_OK(other);
  ASSERT_NE((*other)->packet(0)->region, rig.pool->packet(0)->region);
  {
    mempool::PoolCache others(**other);
    for (std::uint32_t from = 0; from <= kRunsBurst; ++from) {
      for (std::uint32_t until = from; until <= kRunsBurst; ++until) {
        std::array<Packet*, kRunsBurst> burst{};
        Frames expected;
        for (std::uint32_t i = 0; i < kRunsBurst; ++i) {
          burst[i] = rig.packet(frame(i));
          expected.push_back(frame(i));
          if (i < from || i >= until) continue;
          Packet* const foreign = others.get();
          ASSERT_NE(foreign, nullptr);
          const auto bytes = burst[i]->bytes();
          std::copy(bytes.begin(), bytes.end(), foreign->data());
          foreign->reset(static_cast<std::uint16_t>(bytes.size()));
          rig.cache->put({&burst[i], 1});
          burst[i] = foreign;
        }
        ASSERT_EQ(rig.port->tx(0).burst(burst), kRunsBurst);
        ASSERT_EQ(rig.sent(), expected) << from << " to " << until;
      }
    }
    rig.reclaim();
  }
  EXPECT_EQ((*other)->available(), kOthers);
}

}  // namespace
}  // namespace spinring::pmd
