#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstdint>
#include <span>
#include <vector>

#include "apps/testpmd/engines/stream.hpp"
#include "mempool/pool.hpp"

namespace spinring::testpmd {

using Packets = std::span<mempool::Packet*>;

/// One thing to do to packets. Made afresh for each stream when forwarding starts. kReceives: packets come
/// from the RX queue, else from generate(). kSends: they leave by the TX queue, else they are freed.
/// kTouchesData: transform() reads or writes the frame, whose first line RX queues have on its way.
template <class E>
concept Engine = std::constructible_from<E, const Stream&> &&
    requires(E& engine, mempool::Packet& packet, mempool::PoolCache& cache, Packets out) {
  { E::kReceives } -> std::convertible_to<bool>;
  { E::kSends } -> std::convertible_to<bool>;
  { E::kTouchesData } -> std::convertible_to<bool>;
  requires(!E::kTouchesData || requires {
    { engine.transform(packet) }
    noexcept;
  });
  requires(E::kReceives || requires {
    { engine.generate(cache, out) }
    noexcept->std::same_as<std::uint16_t>;
  });
};

/// An engine that does not send all that it received at once (engines/noisy.hpp).
template <class E>
concept Holds = requires(E& engine, mempool::PoolCache& cache, Packets packets, std::uint64_t& dropped) {
  { engine.hold(packets, cache, dropped) } -> std::same_as<std::uint16_t>;
  { engine.release() } -> std::convertible_to<std::vector<mempool::Packet*>>;
};

/// A call of an idle stream's TX queue that lets it take back what the device has sent, once in so many empty
/// polls: each looks at a line that the device writes.
inline constexpr std::uint32_t kEmptyPollsPerReclaim = 64;

/// Frees frames to the lcore's cache: at once if all are single segments.
inline void free_frames(mempool::PoolCache& cache, Packets frames) noexcept {
  const bool single =
      std::all_of(frames.begin(), frames.end(), [](const auto* frame) { return frame->next == nullptr; });
  if (single) {
    cache.put(frames);
  } else {
    for (mempool::Packet* frame : frames) cache.put_chain(frame);
  }
}

/// Offers a full TX queue the rest of a burst until it has taken all or was asked often enough; returns how
/// many of the burst it has taken by then.
[[gnu::noinline]] inline std::uint16_t send_rest(Stream& stream, Packets packets,
                                                 std::uint16_t sent) noexcept {
  for (std::uint32_t left = stream.tx_retries; left != 0 && sent < packets.size(); --left) {
    sent = static_cast<std::uint16_t>(sent + stream.tx.burst(packets.subspan(sent)));
  }
  return sent;
}

/// Sends packets, and counts and frees those that the TX queue does not take; returns how many it took.
/// `kRetries`: a full queue is asked again, as often as the stream says.
template <bool kRetries>
std::uint16_t send(Stream& stream, mempool::PoolCache& cache, Packets packets,
                   pmd::More more = pmd::More::kNo) noexcept {
  std::uint16_t sent = stream.tx.burst(packets, more);
  if constexpr (kRetries) {
    if (sent < packets.size()) [[unlikely]]
      sent = send_rest(stream, packets, sent);
  }
  stream.counters.sent.add(sent);
  if (sent < packets.size()) [[unlikely]] {
    stream.counters.tx_dropped.add(packets.size() - sent);
    free_frames(cache, packets.subspan(sent));
  }
  return sent;
}

template <Engine E>
void transform_all(E& engine, Packets packets) noexcept {
  for (mempool::Packet* const packet : packets) engine.transform(*packet);
}

/// One poll of one stream: take a burst, transform it, send it; what the TX queue does not take is counted
/// and freed. Returns the packets taken. `room` is the lcore's array of one burst.
template <Engine E>
std::uint16_t poll_stream(Stream& stream, E& engine, mempool::PoolCache& cache, Packets room) noexcept {
  std::uint16_t count = 0;
  if constexpr (E::kReceives) {
    count = stream.rx.burst(room);
  } else {
    count = engine.generate(cache, room);
  }
  if (count == 0) {
    if constexpr (E::kSends) {
      // A sender without packets needs those that its own TX ring holds, at once.
      if (!E::kReceives || stream.empty_polls++ % kEmptyPollsPerReclaim == 0) (void)stream.tx.burst({});
    }
    return 0;
  }
  // What a full burst held back goes out with the first empty poll; behind another burst nothing is due yet.
  stream.empty_polls = count == room.size() ? 0 : 1;
  const Packets packets = room.first(count);
  (E::kReceives ? stream.counters.received : stream.counters.generated).add(count);
  if constexpr (E::kTouchesData) transform_all(engine, packets);
  if constexpr (E::kSends) {
    // A full burst: the next poll comes at once, and may bring more.
    const pmd::More more = E::kReceives && count == room.size() ? pmd::More::kSoon : pmd::More::kNo;
    Packets leaving = packets;
    if constexpr (Holds<E>) {
      std::uint64_t dropped = 0;
      leaving = packets.first(engine.hold(packets, cache, dropped));
      stream.counters.consumed.add(dropped);
    }
    const std::uint16_t sent = send<E::kReceives>(stream, cache, leaving, more);
    return E::kReceives ? count : sent;  // a sender whose ring is full has done no work
  } else {
    stream.counters.consumed.add(count);
    free_frames(cache, packets);
    return count;
  }
}

}  // namespace spinring::testpmd
