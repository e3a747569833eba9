#pragma once

#include <algorithm>

#include "base/cpu.hpp"
#include "bench/vhost/limit/frames.hpp"

namespace spinring::bench::limit {

/// Receives, rewrites and sends back, and nothing else: a packet is a number, buffers go in a circle and keep
/// their order, no value that the device wrote is doubted, and nothing is counted. `kLookAhead`: completions
/// of the next burst are read, and their frames fetched, while this one is worked on.
template <class Queue, bool kMergeable, bool kLookAhead>
class Loop {
 public:
  Loop(Queue rx, Queue tx, const Buffers& buffers, const Rewrite& rewrite, const LoopOptions& options)
      : rx_(std::move(rx)), tx_(std::move(tx)), buffers_(buffers), rewrite_(rewrite), options_(options) {}

  /// Before the device runs.
  void fill() noexcept {
    for (std::uint16_t buffer = 0; buffer < buffers_.count; ++buffer) give(buffer);
    rx_.publish();
  }

  /// Frames forwarded.
  std::uint16_t poll() noexcept {
    const std::uint16_t known =
        rx_.ready(kLookAhead ? static_cast<std::uint16_t>(2 * options_.burst) : options_.burst);
    if (known == 0) {
      tx_.publish();
      take_back();
      return 0;
    }
    for (; shown_ < known; ++shown_) prefetch_write(buffers_.at(rx_.buffer(shown_)));
    const std::uint16_t count = std::min(known, options_.burst);
    const Rewrite rewrite = rewrite_;
    for (std::uint16_t i = 0; i < count; ++i) {
      const Frame frame{rx_.buffer(i), rx_.length(i)};
      std::byte* const at = buffers_.at(frame.buffer);
      if (kMergeable && !is_whole(at)) [[unlikely]]
        __builtin_trap();
      rewrite.apply(at);
      tx_.post(frame);
    }
    rx_.drop(count);
    shown_ = static_cast<std::uint16_t>(shown_ - count);
    held_back_ = static_cast<std::uint16_t>(held_back_ + count);
    if (count < options_.burst || held_back_ >= options_.batch) {
      tx_.publish();
      held_back_ = 0;
    }
    if (tx_.held() >= options_.batch) take_back();
    return count;
  }

 private:
  void give(std::uint16_t buffer) noexcept { rx_.post({buffer, Buffers::kStride}); }
  /// Sent buffers go straight back to be received into, in their order.
  void take_back() noexcept {
    std::uint16_t found = 0;
    do {
      found = tx_.ready(kMostBurst);
      for (std::uint16_t i = 0; i < found; ++i) give(tx_.buffer(i));
      tx_.drop(found);
    } while (found == kMostBurst);
    rx_.publish();
  }

  Queue rx_;
  Queue tx_;
  Buffers buffers_;
  Rewrite rewrite_;
  LoopOptions options_;
  std::uint16_t shown_ = 0;  ///< completions whose frames were fetched and that were not taken
  std::uint16_t held_back_ = 0;
};

}  // namespace spinring::bench::limit
