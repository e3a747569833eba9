#pragma once

#include <array>
#include <cstring>

#include "apps/testpmd/engines/burst_loop.hpp"

namespace spinring::testpmd {

/// Sends frames back to who sent them: source and destination address change places.
struct MacSwapEngine {
  static constexpr bool kReceives = true;
  static constexpr bool kSends = true;
  static constexpr bool kTouchesData = true;
  explicit MacSwapEngine(const Stream&) noexcept {}
  void transform(mempool::Packet& packet) const noexcept {
    constexpr std::size_t kAddress = 6;
    if (packet.data_length < 2 * kAddress) [[unlikely]]
      return;  // no addresses to swap: sent as it is
    std::byte* frame = packet.data();
    std::array<std::byte, kAddress> destination;
    std::memcpy(destination.data(), frame, kAddress);
    std::memcpy(frame, frame + kAddress, kAddress);
    std::memcpy(frame + kAddress, destination.data(), kAddress);
  }
};
static_assert(Engine<MacSwapEngine>);

}  // namespace spinring::testpmd
