#pragma once

#include <array>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "base/vector_bits.hpp"
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
          .mergeable = negotiated.has(Feature::kMergeableRx),
          .offloads = negotiated.has(Feature::kGuestChecksum) || negotiated.has(Feature::kHashReport)};
}
[[nodiscard]] constexpr TxFeatures tx_features(FeatureSet negotiated) noexcept {
  return {.packed = negotiated.has(Feature::kRingPacked),
          .in_order = negotiated.has(Feature::kInOrder),
          .offloads = negotiated.has(Feature::kChecksum) || negotiated.has(Feature::kHashReport)};
}

/// A path's name, made of its features: "virtio packed rx in-order mergeable offloads".
class PathName {
 public:
  constexpr explicit PathName(RxFeatures features) {
    begin(features.packed, "rx", features.in_order);
    add(" mergeable", features.mergeable);
    add(" offloads", features.offloads);
  }
  constexpr explicit PathName(TxFeatures features) {
    begin(features.packed, "tx", features.in_order);
    add(" offloads", features.offloads);
  }
  [[nodiscard]] constexpr std::string_view view() const noexcept { return {text_.data(), length_}; }

 private:
  constexpr void add(std::string_view word, bool there = true) {
    if (!there) return;
    for (const char letter : word) text_[length_++] = letter;
  }
  constexpr void begin(bool packed, std::string_view direction, bool in_order) {
    add(packed ? "virtio packed " : "virtio split ");
    add(direction);
    add(" in-order", in_order);
  }

  std::array<char, 64> text_{};
  std::size_t length_ = 0;
};
template <auto F>
inline constexpr PathName kPathName{F};

/// A queue's burst by these vectors; of one that can tell that it rests, behind that.
template <class Runs, class Queue, class... Extra>
std::uint16_t burst_by(Queue& queue, typename Queue::Packet** packets, std::uint16_t count,
                       Extra... extra) noexcept {
  if constexpr (requires { queue.rests(); }) {
    return queue.template busy_burst<Runs>(packets, count);
  } else {
    return queue.template burst<Runs>(packets, count, extra...);
  }
}
/// The whole loop is compiled for the CPUs that have such vectors.
#if defined(SPINRING_AVX2_TARGET)
struct Avx2Loop {
  template <class Queue, class... Extra>
  [[gnu::target(SPINRING_AVX2_TARGET), gnu::flatten, gnu::noinline]] static std::uint16_t burst(
      Queue& queue, typename Queue::Packet** packets, std::uint16_t count, Extra... extra) noexcept {
    return burst_by<Avx2Runs>(queue, packets, count, extra...);
  }
};
#endif
#if defined(SPINRING_AVX512_TARGET)
struct Avx512Loop {
  template <class Queue, class... Extra>
  [[gnu::target(SPINRING_AVX512_TARGET), gnu::flatten, gnu::noinline]] static std::uint16_t burst(
      Queue& queue, typename Queue::Packet** packets, std::uint16_t count, Extra... extra) noexcept {
    return burst_by<Avx512Runs>(queue, packets, count, extra...);
  }
};
#endif
/// Such a loop behind a poll that finds nothing, which saves no registers.
template <class Loop, class Queue, class... Extra>
std::uint16_t erased_burst(void* self, typename Queue::Packet** packets, std::uint16_t count,
                           Extra... extra) noexcept {
  auto& queue = *static_cast<Queue*>(self);
  if constexpr (requires { queue.rests(); }) {
    if (queue.rests()) return 0;
  }
  return Loop::template burst<Queue, Extra...>(queue, packets, count, extra...);
}
/// A queue behind one function pointer, that of the best loop for this CPU. `Extra` as in erase().
template <class Any, class Queue, class... Extra>
[[nodiscard]] Any handle_of(Queue& queue) noexcept {
#if defined(SPINRING_AVX512_TARGET)
  if (vector_bits() == 512) return Any(&queue, &erased_burst<Avx512Loop, Queue, Extra...>);
#endif
#if defined(SPINRING_AVX2_TARGET)
  if (vector_bits() == 256) return Any(&queue, &erased_burst<Avx2Loop, Queue, Extra...>);
#endif
  return erase<Any, Queue, Extra...>(queue);
}

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
  void (*withdraw)(TxQueueControl& queue, std::vector<typename Packets::Packet*>& unsent);
};

template <PacketPool Packets>
inline constexpr auto kRxPaths = []<unsigned... Index>(std::integer_sequence<unsigned, Index...>) {
  return std::array{[]<RxFeatures F>(std::integral_constant<unsigned, F.index()>) {
    using Concrete = RxQueue<Packets, F>;
    return RxPath<Packets>{
        F, kPathName<F>.view(),
        [](QueueParts<Packets>&& parts) -> std::unique_ptr<RxQueueControl> {
          return std::make_unique<Concrete>(std::move(parts));
        },
        [](RxQueueControl& queue) { return handle_of<AnyRxQueue<Packets>>(static_cast<Concrete&>(queue)); }};
  }.template operator()<RxFeatures::from_index(Index)>(std::integral_constant<unsigned, Index>{})...};
}
(std::make_integer_sequence<unsigned, RxFeatures::kCombinations>{});

template <PacketPool Packets>
inline constexpr auto kTxPaths = []<unsigned... Index>(std::integer_sequence<unsigned, Index...>) {
  return std::array{[]<TxFeatures F>(std::integral_constant<unsigned, F.index()>) {
    using Concrete = TxQueue<Packets, F>;
    return TxPath<Packets>{
        F, kPathName<F>.view(),
        [](QueueParts<Packets>&& parts, Iova empty_header) -> std::unique_ptr<TxQueueControl> {
          return std::make_unique<Concrete>(std::move(parts), empty_header);
        },
        [](TxQueueControl& queue) {
          return handle_of<AnyTxQueue<Packets>, Concrete, More>(static_cast<Concrete&>(queue));
        },
        [](TxQueueControl& queue, std::vector<typename Packets::Packet*>& unsent) {
          static_cast<Concrete&>(queue).withdraw(unsent);
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
