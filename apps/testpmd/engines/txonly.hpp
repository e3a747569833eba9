#pragma once

#include <cstring>
#include <vector>

#include "apps/testpmd/engines/burst_loop.hpp"
#include "apps/testpmd/engines/udp_frame.hpp"

namespace spinring::testpmd {

/// Makes UDP frames and sends them: measures TX alone. Also makes the bursts of tx_first.
class TxOnlyEngine {
 public:
  static constexpr bool kReceives = false;
  static constexpr bool kSends = true;
  static constexpr bool kTouchesData = false;
  explicit TxOnlyEngine(const Stream& stream)
      : frame_(make_udp_frame(stream.peer, stream.source, stream.tx_length)) {}

  /// Takes packets from the cache and fills them; returns how many, fewer when the pool is empty. The whole
  /// frame is written: a buffer may hold another packet's bytes.
  [[nodiscard]] std::uint16_t generate(mempool::PoolCache& cache, Packets out) const noexcept {
    const std::size_t count = cache.get(out);
    const auto length = static_cast<std::uint16_t>(frame_.size());
    for (mempool::Packet* packet : out.first(count)) {
      packet->reset(length);
      std::memcpy(packet->data(), frame_.data(), frame_.size());
    }
    return static_cast<std::uint16_t>(count);
  }

 private:
  std::vector<std::byte> frame_;
};
static_assert(Engine<TxOnlyEngine>);

}  // namespace spinring::testpmd
