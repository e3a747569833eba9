#pragma once

#include <array>
#include <memory>
#include <string_view>
#include <utility>

#include "pmd/port.hpp"
#include "pmd/virtio/features.hpp"
#include "pmd/virtio/rx_queue.hpp"
#include "pmd/virtio/tx_queue.hpp"

/// Every instantiation of the loops, as data. A row has its features, its name, how to make a queue of it and
/// its burst as one function pointer. The choice is made once, after feature negotiation.
namespace spinring::pmd::virtio {

[[nodiscard]] constexpr RxFeatures rx_features(FeatureSet negotiated) noexcept {
  return {.packed = negotiated.has(Feature::kRingPacked),
          .in_order = negotiated.has(Feature::kInOrder),
          .mergeable = negotiated.has(Feature::kMergeableRx)};
}
[[nodiscard]] constexpr TxFeatures tx_features(FeatureSet negotiated) noexcept {
  return {.packed = negotiated.has(Feature::kRingPacked), .in_order = negotiated.has(Feature::kInOrder)};
}

/// By RxFeatures::index() and TxFeatures::index().
inline constexpr std::array<std::string_view, RxFeatures::kCombinations> kRxPathNames{
    "virtio split rx",
    "virtio packed rx",
    "virtio split rx in-order",
    "virtio packed rx in-order",
    "virtio split rx mergeable",
    "virtio packed rx mergeable",
    "virtio split rx in-order mergeable",
    "virtio packed rx in-order mergeable"};
inline constexpr std::array<std::string_view, TxFeatures::kCombinations> kTxPathNames{
    "virtio split tx", "virtio packed tx", "virtio split tx in-order", "virtio packed tx in-order"};

template <PacketPool Packets>
struct RxPath {
  RxFeatures features;
  std::string_view name;
  std::unique_ptr<RxQueueControl> (*make)(QueueParts<Packets>&& parts);
  AnyRxQueue<Packets> (*handle)(RxQueueControl& queue);
};

template <PacketPool Packets>
struct TxPath {
  TxFeatures features;
  std::string_view name;
  std::unique_ptr<TxQueueControl> (*make)(QueueParts<Packets>&& parts, Iova empty_header);
  AnyTxQueue<Packets> (*handle)(TxQueueControl& queue);
};

template <PacketPool Packets>
inline constexpr auto kRxPaths = []<unsigned... Index>(std::integer_sequence<unsigned, Index...>) {
  return std::array{[]<RxFeatures F>(std::integral_constant<unsigned, F.index()>) {
    using Concrete = RxQueue<Packets, F>;
    return RxPath<Packets>{
        F, kRxPathNames[F.index()],
        [](QueueParts<Packets>&& parts) -> std::unique_ptr<RxQueueControl> {
          return std::make_unique<Concrete>(std::move(parts));
        },
        [](RxQueueControl& queue) { return erase<AnyRxQueue<Packets>>(static_cast<Concrete&>(queue)); }};
  }.template operator()<RxFeatures::from_index(Index)>(std::integral_constant<unsigned, Index>{})...};
}
(std::make_integer_sequence<unsigned, RxFeatures::kCombinations>{});

template <PacketPool Packets>
inline constexpr auto kTxPaths = []<unsigned... Index>(std::integer_sequence<unsigned, Index...>) {
  return std::array{[]<TxFeatures F>(std::integral_constant<unsigned, F.index()>) {
    using Concrete = TxQueue<Packets, F>;
    return TxPath<Packets>{
        F, kTxPathNames[F.index()],
        [](QueueParts<Packets>&& parts, Iova empty_header) -> std::unique_ptr<TxQueueControl> {
          return std::make_unique<Concrete>(std::move(parts), empty_header);
        },
        [](TxQueueControl& queue) {
          return erase<AnyTxQueue<Packets>, Concrete, More>(static_cast<Concrete&>(queue));
        }};
  }.template operator()<TxFeatures::from_index(Index)>(std::integral_constant<unsigned, Index>{})...};
}
(std::make_integer_sequence<unsigned, TxFeatures::kCombinations>{});

template <PacketPool Packets>
[[nodiscard]] constexpr const RxPath<Packets>& select_rx_path(FeatureSet negotiated) noexcept {
  return kRxPaths<Packets>[rx_features(negotiated).index()];
}
template <PacketPool Packets>
[[nodiscard]] constexpr const TxPath<Packets>& select_tx_path(FeatureSet negotiated) noexcept {
  return kTxPaths<Packets>[tx_features(negotiated).index()];
}

}  // namespace spinring::pmd::virtio
