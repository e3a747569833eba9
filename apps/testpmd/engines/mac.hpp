#pragma once

#include <algorithm>
#include <array>
#include <cstring>

#include "apps/testpmd/engines/burst_loop.hpp"

namespace spinring::testpmd {

/// Routes as a gateway would: the frame goes from the TX port's address to that port's peer.
struct MacEngine {
  static constexpr bool kReceives = true;
  static constexpr bool kSends = true;
  static constexpr bool kTouchesData = true;
  explicit MacEngine(const Stream& stream) noexcept {
    std::copy(stream.peer.begin(), stream.peer.end(), addresses_.begin());
    std::copy(stream.source.begin(), stream.source.end(), addresses_.begin() + 6);
  }
  void transform(mempool::Packet& packet) const noexcept {
    if (packet.data_length < addresses_.size()) [[unlikely]]
      return;  // no room for addresses: sent as it is
    std::memcpy(packet.data(), addresses_.data(), addresses_.size());
  }

 private:
  std::array<std::uint8_t, 12> addresses_{};  ///< destination, source: as they lie in a frame
};
static_assert(Engine<MacEngine>);

}  // namespace spinring::testpmd
