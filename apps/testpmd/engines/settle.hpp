#pragma once

#include "apps/testpmd/engines/burst_loop.hpp"
#include "pmd/offload.hpp"

namespace spinring::testpmd {

/// Makes of a received frame one that may be sent. With RX offloads a frame may come without its checksum, or
/// as several TCP segments in one: the TX port of the offloads `tx` is then asked for what is missing; a
/// checksum that it does not know is filled in here.
void settle(mempool::Packet& packet, pmd::Offloads tx) noexcept;

/// An engine behind RX offloads.
template <Engine E>
struct Settling {
  static constexpr bool kReceives = E::kReceives;
  static constexpr bool kSends = E::kSends;
  static constexpr bool kTouchesData = true;
  explicit Settling(const Stream& stream) noexcept : engine_(stream), tx_(stream.tx_offloads) {}
  void transform(mempool::Packet& packet) noexcept {
    constexpr std::uint32_t kUnsettled = mempool::kRxChecksumPartial | mempool::kRxCoalesced;
    if ((packet.offloads & kUnsettled) != 0) settle(packet, tx_);
    if constexpr (E::kTouchesData) engine_.transform(packet);
  }
  std::uint16_t hold(Packets packets, mempool::PoolCache& cache,
                     std::uint64_t& dropped) noexcept requires Holds<E> {
    return engine_.hold(packets, cache, dropped);
  }
  [[nodiscard]] std::vector<mempool::Packet*> release() requires Holds<E> { return engine_.release(); }

 private:
  E engine_;
  pmd::Offloads tx_;
};

}  // namespace spinring::testpmd
