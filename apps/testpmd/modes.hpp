#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

namespace spinring::testpmd {

/// What is done to packets; one engine each (engines/).
enum class ForwardMode { kIo, kMac, kMacSwap, kRxOnly, kTxOnly, kNoisy };
/// Which port a port's packets leave by.
enum class PortTopology {
  kPaired,   ///< 0 with 1, 2 with 3; a last odd one with itself
  kChained,  ///< 0 to 1, 1 to 2, the last to 0
  kLoop,     ///< each back out of itself
};

inline constexpr std::array<std::pair<std::string_view, ForwardMode>, 6> kForwardModes{
    {{"io", ForwardMode::kIo},
     {"mac", ForwardMode::kMac},
     {"macswap", ForwardMode::kMacSwap},
     {"rxonly", ForwardMode::kRxOnly},
     {"txonly", ForwardMode::kTxOnly},
     {"noisy", ForwardMode::kNoisy}}};
inline constexpr std::array<std::pair<std::string_view, PortTopology>, 3> kPortTopologies{
    {{"paired", PortTopology::kPaired}, {"chained", PortTopology::kChained}, {"loop", PortTopology::kLoop}}};

/// What noisy does to packets that it forwards.
struct Noise {
  std::uint32_t keep = 0;        ///< packets that are kept, of each stream
  std::uint32_t keep_every = 1;  ///< one in so many is kept until the room is needed
  std::uint32_t drop_every = 0;  ///< one in so many is dropped; 0: none
};

/// The value of `name` in one of the tables above; nothing if it is not there.
template <class Table>
[[nodiscard]] constexpr auto find_by_name(const Table& table, std::string_view name) noexcept
    -> std::optional<decltype(table[0].second)> {
  for (const auto& [entry, value] : table) {
    if (entry == name) return value;
  }
  return {};
}

/// The name of `value`.
template <class Table, class Value>
[[nodiscard]] constexpr std::string_view name_of(const Table& table, Value value) noexcept {
  for (const auto& [entry, entry_value] : table) {
    if (entry_value == value) return entry;
  }
  return "?";
}

}  // namespace spinring::testpmd
