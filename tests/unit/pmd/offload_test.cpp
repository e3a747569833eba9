#include "pmd/offload.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>

namespace spinring::pmd {
namespace {

/// Microsoft's published vectors for the verification of RSS: addresses and ports as they lie in the frame,
/// source first.
struct ToeplitzVector {
  std::array<std::uint8_t, 12> input;
  std::uint32_t addresses;
  std::uint32_t addresses_and_ports;
};

TEST(ToeplitzHash, GivesMicrosoftsPublishedValues) {
  constexpr std::array kVectors{
      ToeplitzVector{{66, 9, 149, 187, 161, 142, 100, 80, 0x0A, 0xEA, 0x06, 0xE6}, 0x323e8fc2, 0x51ccc178},
      ToeplitzVector{{199, 92, 111, 2, 65, 69, 140, 83, 0x37, 0x96, 0x12, 0x83}, 0xd718262a, 0xc626b0ea},
      ToeplitzVector{{24, 19, 198, 95, 12, 22, 207, 184, 0x32, 0x62, 0x94, 0x88}, 0xd2d0a5de, 0x5c2b394a},
      ToeplitzVector{{38, 27, 205, 30, 209, 142, 163, 6, 0xBC, 0x64, 0x08, 0xA9}, 0x82989176, 0xafc7327f},
      ToeplitzVector{{153, 39, 163, 191, 202, 188, 127, 2, 0xAC, 0xDB, 0x05, 0x17}, 0x5d1809c5, 0x10e828a2},
  };
  const RssConfig rss;
  for (const ToeplitzVector& vector : kVectors) {
    EXPECT_EQ(toeplitz_hash(rss.key, vector.input.data(), 8), vector.addresses);
    EXPECT_EQ(toeplitz_hash(rss.key, vector.input.data(), 12), vector.addresses_and_ports);
  }
}

TEST(OffloadSet, NamesItsMembers) {
  EXPECT_EQ(to_string(Offloads{}), "none");
  EXPECT_EQ(to_string(Offload::kRxChecksum | Offload::kTxSegment), "rx-checksum tx-segment");
  EXPECT_FALSE(
      (Offload::kRxChecksum | Offload::kTxSegment).without(Offload::kTxSegment).has(Offload::kTxSegment));
}

}  // namespace
}  // namespace spinring::pmd
