#pragma once

#include "apps/testpmd/engines/burst_loop.hpp"

namespace spinring::testpmd {

/// Receives and frees: measures RX alone.
struct RxOnlyEngine {
  static constexpr bool kReceives = true;
  static constexpr bool kSends = false;
  static constexpr bool kTouchesData = false;
  explicit RxOnlyEngine(const Stream&) noexcept {}
};
static_assert(Engine<RxOnlyEngine>);

}  // namespace spinring::testpmd
