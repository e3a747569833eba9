#pragma once

#include "apps/testpmd/engines/burst_loop.hpp"

namespace spinring::testpmd {

/// Sends packets on as they came, untouched: the fastest way through.
struct IoEngine {
  static constexpr bool kReceives = true;
  static constexpr bool kSends = true;
  static constexpr bool kTouchesData = false;
  explicit IoEngine(const Stream&) noexcept {}
};
static_assert(Engine<IoEngine>);

}  // namespace spinring::testpmd
