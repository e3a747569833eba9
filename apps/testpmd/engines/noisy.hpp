#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "apps/testpmd/engines/burst_loop.hpp"

namespace spinring::testpmd {

/// Forwards as a network function does that works on some packets for a while (DPDK's noisy mode): of what is
/// to be kept the oldest leaves when a new one comes and the room is full, in the new one's place in the
/// burst. So the packets that a TX queue gets are not those that were received last, in another order, and
/// some never come.
class NoisyEngine {
 public:
  static constexpr bool kReceives = true;
  static constexpr bool kSends = true;
  static constexpr bool kTouchesData = false;
  explicit NoisyEngine(const Stream& stream)
      : room_(stream.noise.keep),
        keep_in_(stream.noise.keep_every),
        drop_in_(stream.noise.drop_every),
        noise_(stream.noise) {}

  /// Takes away from a burst what is kept or dropped, and puts back what has been kept long enough; returns
  /// how many are to be sent now. What is dropped goes to `cache`, and is counted in `dropped`.
  std::uint16_t hold(Packets packets, mempool::PoolCache& cache, std::uint64_t& dropped) noexcept {
    std::size_t leaving = 0;
    for (mempool::Packet* packet : packets) {
      if (due(drop_in_, noise_.drop_every)) {
        cache.put_chain(packet);
        ++dropped;
        continue;
      }
      if (!room_.empty() && due(keep_in_, noise_.keep_every)) {
        std::swap(packet, room_[at_]);
        if (++at_ == room_.size()) at_ = 0;
        if (packet == nullptr) continue;
      }
      packets[leaving++] = packet;
    }
    return static_cast<std::uint16_t>(leaving);
  }
  /// What is kept still, from the oldest on; it is the caller's.
  [[nodiscard]] std::vector<mempool::Packet*> release() {
    std::vector<mempool::Packet*> kept;
    for (std::size_t i = 0; i < room_.size(); ++i) {
      if (auto* packet = std::exchange(room_[(at_ + i) % room_.size()], nullptr)) kept.push_back(packet);
    }
    return kept;
  }

 private:
  /// One in `every`; 0: none.
  static bool due(std::uint32_t& countdown, std::uint32_t every) noexcept {
    if (every == 0 || --countdown != 0) return false;
    countdown = every;
    return true;
  }

  std::vector<mempool::Packet*> room_;  ///< nullptr: a place that is free
  std::size_t at_ = 0;                  ///< the oldest, or the next free place
  std::uint32_t keep_in_;
  std::uint32_t drop_in_;
  Noise noise_;
};
static_assert(Engine<NoisyEngine>);
static_assert(Holds<NoisyEngine>);

}  // namespace spinring::testpmd
