// What the port interface itself does: errors, addresses, the erased queues, the path table.

#include "pmd/port.hpp"

#include <gtest/gtest.h>

#include <array>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "pmd/errors.hpp"
#include "pmd/virtio/path_table.hpp"

namespace spinring::pmd {
namespace {

using mempool::Packet;

TEST(Errors, EachHasATextOfItsOwn) {
  std::set<std::string> texts;
  constexpr int kFirst = static_cast<int>(Errc::kUnknownDevice);
  constexpr int kLast = static_cast<int>(Errc::kQemu);
  for (int value = kFirst; value <= kLast; ++value) {
    const std::error_code code = make_error_code(static_cast<Errc>(value));
    EXPECT_STREQ(code.category().name(), "pmd");
    EXPECT_NE(code.message(), "unknown error") << value;
    texts.insert(code.message());
  }
  EXPECT_EQ(texts.size(), static_cast<std::size_t>(kLast - kFirst + 1));
  EXPECT_EQ(make_error_code(static_cast<Errc>(kLast + 1)).message(), "unknown error");
}

TEST(Errors, CompareWithTheEnumeration) {
  const std::error_code code = Errc::kTimeout;
  EXPECT_EQ(code, Errc::kTimeout);
  EXPECT_NE(code, Errc::kRejected);
  const tl::unexpected<Error> failed = fail(Errc::kRemoved, "virtio reset", "0000:01:00.0", 0, "Plug it in");
  EXPECT_EQ(failed.value().message(), "0000:01:00.0: virtio reset: the device has gone. Plug it in");
}

TEST(MacText, IsTheUsualOne) {
  EXPECT_EQ(to_string(MacAddress{0x52, 0x54, 0, 0xab, 0x0c, 0xff}), "52:54:00:ab:0c:ff");
  EXPECT_EQ(to_string(MacAddress{}), "00:00:00:00:00:00");
}

TEST(Link, ComparesByValue) {
  EXPECT_EQ((LinkState{true, 1000, true}), (LinkState{true, 1000, true}));
  EXPECT_NE((LinkState{true, 1000, true}), (LinkState{false, 1000, true}));
}

/// Notes what it was called with and answers a part of it.
struct Recorder {
  Packet** packets = nullptr;
  std::uint16_t count = 0;
  More more = More::kNo;
};
std::uint16_t record(void* queue, Packet** packets, std::uint16_t count) noexcept {
  *static_cast<Recorder*>(queue) = {packets, count};
  return static_cast<std::uint16_t>(count / 2);
}
std::uint16_t record_tx(void* queue, Packet** packets, std::uint16_t count, More more) noexcept {
  *static_cast<Recorder*>(queue) = {packets, count, more};
  return static_cast<std::uint16_t>(count / 2);
}

TEST(ErasedQueues, PassTheBurstOn) {
  Recorder rx_recorder;
  Recorder tx_recorder;
  const AnyRxQueue<SpinringPackets> rx(&rx_recorder, record);
  const AnyTxQueue<SpinringPackets> tx(&tx_recorder, record_tx);
  std::array<Packet*, 8> packets{};
  EXPECT_EQ(rx.burst(packets), 4);
  EXPECT_EQ(rx_recorder.packets, packets.data());
  EXPECT_EQ(rx_recorder.count, 8);
  const AnyTxQueue<SpinringPackets> copy = tx;
  EXPECT_EQ(copy.burst(std::span(packets).subspan(2, 6)), 3);
  EXPECT_EQ(tx_recorder.packets, packets.data() + 2);
  EXPECT_EQ(tx_recorder.count, 6);
  EXPECT_EQ(tx_recorder.more, More::kNo);
  EXPECT_EQ(copy.burst(packets, More::kSoon), 4);
  EXPECT_EQ(tx_recorder.more, More::kSoon);
  EXPECT_EQ(tx.burst({}), 0);
  EXPECT_EQ(tx_recorder.count, 0);
}

// --- the choice of a path is a constant expression; that a row is where its features say, the table's types
// tell ---

using virtio::Feature;
using virtio::FeatureSet;
using virtio::kPathName;
using virtio::rx_features;
using virtio::RxFeatures;
using virtio::tx_features;
using virtio::TxFeatures;

constexpr FeatureSet kPlain = FeatureSet().with(Feature::kVersion1);
static_assert(kPathName<rx_features(kPlain)>.view() == "virtio split rx");
static_assert(kPathName<rx_features(kPlain.with(Feature::kMergeableRx))>.view() ==
              "virtio split rx mergeable");
static_assert(kPathName<tx_features(kPlain)>.view() == "virtio split tx");
constexpr FeatureSet kPackedInOrder = kPlain.with(Feature::kRingPacked).with(Feature::kInOrder);
static_assert(kPathName<rx_features(kPackedInOrder)>.view() == "virtio packed rx in-order");
static_assert(kPathName<tx_features(kPackedInOrder)>.view() == "virtio packed tx in-order");
constexpr FeatureSet kChecksums = kPlain.with(Feature::kGuestChecksum).with(Feature::kChecksum);
static_assert(kPathName<rx_features(kChecksums)>.view() == "virtio split rx offloads");
static_assert(kPathName<tx_features(kChecksums)>.view() == "virtio split tx offloads");
constexpr FeatureSet kHashes = kPackedInOrder.with(Feature::kMergeableRx).with(Feature::kHashReport);
static_assert(kPathName<rx_features(kHashes)>.view() == "virtio packed rx in-order mergeable offloads");
static_assert(kPathName<tx_features(kHashes)>.view() == "virtio packed tx in-order offloads");

/// Names of all combinations; each is found by its own index.
template <class Features>
std::set<std::string_view> path_names() {
  std::set<std::string_view> names;
  [&]<unsigned... Index>(std::integer_sequence<unsigned, Index...>) {
    static_assert(((Features::from_index(Index).index() == Index) && ...));
    (names.insert(kPathName<Features::from_index(Index)>.view()), ...);
  }
  (std::make_integer_sequence<unsigned, Features::kCombinations>{});
  return names;
}

TEST(PathNames, AreDifferentForEachCombination) {
  std::set<std::string_view> names = path_names<RxFeatures>();
  names.merge(path_names<TxFeatures>());
  EXPECT_EQ(names.size(), RxFeatures::kCombinations + TxFeatures::kCombinations);
}

TEST(FeatureNames, AreTheSpecifications) {
  EXPECT_EQ(virtio::to_string(FeatureSet().with(Feature::kVersion1).with(Feature::kMac)), "MAC VERSION_1");
  EXPECT_EQ(virtio::to_string(FeatureSet()), "");
}

}  // namespace
}  // namespace spinring::pmd
