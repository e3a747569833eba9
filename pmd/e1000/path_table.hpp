#pragma once

#include <array>
#include <memory>
#include <string_view>
#include <utility>

#include "pmd/e1000/rx_queue.hpp"
#include "pmd/e1000/tx_queue.hpp"
#include "pmd/port.hpp"

/// Every instantiation of the loops, as data: its features, its name, how to make a queue of it and its burst
/// as one function pointer. The choice is made once, at start.
namespace spinring::pmd::e1000 {

template <PacketPool Packets>
struct RxPath {
  RxFeatures features;
  std::string_view name;
  std::unique_ptr<RxQueueControl> (*make)(QueueParts<Packets>&& parts, const RxSettings& settings);
  AnyRxQueue<Packets> (*handle)(RxQueueControl& queue);
};

template <PacketPool Packets>
struct TxPath {
  TxFeatures features;
  std::string_view name;
  std::unique_ptr<TxQueueControl> (*make)(QueueParts<Packets>&& parts, const TxSettings& settings);
  AnyTxQueue<Packets> (*handle)(TxQueueControl& queue);
};

template <PacketPool Packets, RxFeatures F>
[[nodiscard]] constexpr RxPath<Packets> rx_path(std::string_view name) noexcept {
  using Concrete = RxQueue<Packets, F>;
  return {F, name,
          [](QueueParts<Packets>&& parts, const RxSettings& settings) -> std::unique_ptr<RxQueueControl> {
            return std::make_unique<Concrete>(std::move(parts), settings);
          },
          [](RxQueueControl& queue) { return erase<AnyRxQueue<Packets>>(static_cast<Concrete&>(queue)); }};
}

template <PacketPool Packets, TxFeatures F>
[[nodiscard]] constexpr TxPath<Packets> tx_path(std::string_view name) noexcept {
  using Concrete = TxQueue<Packets, F>;
  return {F, name,
          [](QueueParts<Packets>&& parts, const TxSettings& settings) -> std::unique_ptr<TxQueueControl> {
            return std::make_unique<Concrete>(std::move(parts), settings);
          },
          [](TxQueueControl& queue) {
            return erase<AnyTxQueue<Packets>, Concrete, More>(static_cast<Concrete&>(queue));
          }};
}

template <PacketPool Packets>
inline constexpr std::array kRxPaths{
    rx_path<Packets, RxFeatures{RxFormat::kLegacy, false}>("e1000 legacy rx"),
    rx_path<Packets, RxFeatures{RxFormat::kLegacy, true}>("e1000 legacy rx with offloads"),
    rx_path<Packets, RxFeatures{RxFormat::kExtended, false}>("e1000 extended rx"),
    rx_path<Packets, RxFeatures{RxFormat::kExtended, true}>("e1000 extended rx with offloads"),
};
template <PacketPool Packets>
inline constexpr std::array kTxPaths{
    tx_path<Packets, TxFeatures{TxFormat::kLegacy}>("e1000 legacy tx"),
    tx_path<Packets, TxFeatures{TxFormat::kAdvanced}>("e1000 advanced tx"),
};

/// The path with those features: there is one for each.
template <class Path, std::size_t Size, class Features>
[[nodiscard]] constexpr const Path& select_path(const std::array<Path, Size>& paths,
                                                const Features& features) noexcept {
  for (const Path& path : paths) {
    if (path.features == features) return path;
  }
  return paths.front();
}

}  // namespace spinring::pmd::e1000
