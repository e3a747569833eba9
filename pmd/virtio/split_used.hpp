#pragma once

#include <cstdint>

#include "base/cpu.hpp"
#include "base/ring_index.hpp"
#include "base/shared.hpp"
#include "pmd/virtio/checks.hpp"
#include "pmd/virtio/ring_layout.hpp"
#include "pmd/virtio/wire.hpp"

namespace spinring::pmd::virtio {

/// How far the driver has come with the used ring of a split virtqueue (virtio 1.2, 2.7.8), and what it knows
/// of the device's index in it. The device writes that line at each handing over, so whoever reads it waits
/// for the line, and takes it from the device: it is read once for several bursts, and where that can be told
/// in time, it is on its way before. One lcore at a time.
class SplitUsed {
 public:
  SplitUsed(const UsedHead* head, std::uint16_t size) noexcept
      : head_(head), mask_(static_cast<std::uint16_t>(size - 1)) {}

  [[nodiscard]] const UsedHead* head() const noexcept { return head_; }
  [[nodiscard]] const UsedElement& entry(std::uint16_t index) const noexcept {
    return used_element(head_, ring_slot(index, mask_));
  }
  /// Completions taken: the index of the next.
  [[nodiscard]] std::uint16_t taken() const noexcept { return taken_; }
  void take_up_to(std::uint16_t index) noexcept { taken_ = index; }
  /// Completions that were seen and not taken.
  [[nodiscard]] std::uint16_t waiting() const noexcept { return ring_distance(seen_, taken_); }
  /// How far in front of the device's index, as last read, the completion at `index` lies.
  [[nodiscard]] std::uint16_t behind(std::uint16_t index) const noexcept {
    return ring_distance(seen_, index);
  }
  /// Whether there is anything to take: the index is read only if no completion is known of.
  [[nodiscard]] bool has_more() const noexcept {
    return waiting() != 0 || load_relaxed(head_->index) != taken_;
  }

  /// Reads the index; the device holds `held` buffers. 2.7.14: what an entry says is read no earlier. Pairs
  /// with the device's release of it. False: it says more than there can be, and nothing is believed.
  [[nodiscard]] bool look(std::uint32_t held) noexcept {
    seen_ = load_acquire(head_->index);
    if (refused(waiting() > held)) [[unlikely]] {
      seen_ = taken_;
      return false;
    }
    return true;
  }
  /// Has the index's line on its way, so that a look() some time later need not wait: if `next` completions
  /// are known of, and fewer than `then` behind them. False: they are not, or it is not worth it.
  [[nodiscard]] bool expect(std::uint32_t next, std::uint32_t then) const noexcept {
    if (waiting() < next || waiting() >= next + then) return false;
    prefetch_read(&head_->index);
    return true;
  }
  /// Has the entries of the next `most` known completions on their way.
  void fetch(std::uint16_t most) const noexcept {
    constexpr std::uint16_t kOfLine = kCacheLine / sizeof(UsedElement);
    const std::uint16_t count = waiting() < most ? waiting() : most;
    for (std::uint16_t i = 0; i < count; i += kOfLine)
      prefetch_read(&entry(static_cast<std::uint16_t>(taken_ + i)));
  }
  /// 2.7.10: what the flags, which lie where the index does, say of doorbells; without events.
  [[nodiscard]] bool says_no() const noexcept { return (load_relaxed(head_->flags) & kUsedNoNotify) != 0; }

 private:
  const UsedHead* head_;
  std::uint16_t mask_;
  std::uint16_t taken_ = 0;
  std::uint16_t seen_ = 0;  ///< the device's index as last read: at most the ring ahead of taken_
};

}  // namespace spinring::pmd::virtio
