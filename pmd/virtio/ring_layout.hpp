#pragma once

#include <cstddef>
#include <cstdint>

#include "base/align.hpp"
#include "base/cpu.hpp"
#include "pmd/virtio/wire.hpp"

namespace spinring::pmd::virtio {

/// Where the parts of a split virtqueue lie in its block. 2.7: descriptor table first (16-byte aligned), the
/// available ring at even addresses, the used ring at those that 4 divides. Driver and device write one ring
/// each, so these share no cache line. Each ring's entries begin with a line and its index lies at the end of
/// the line before: a run of entries takes whole lines, which are not written again for the next run or
/// index.
struct SplitLayout {
  static constexpr std::size_t avail(std::uint16_t size) noexcept {
    return last_of_line<AvailHead>(sizeof(Descriptor) * size);
  }
  static constexpr std::size_t used(std::uint16_t size) noexcept {
    return last_of_line<UsedHead>(used_event(size) + sizeof(Le16));
  }
  static constexpr std::size_t bytes(std::uint16_t size) noexcept { return avail_event(size) + sizeof(Le16); }
  /// 2.7.6, 2.7.8: behind the entries of each ring, where its reader names the event that it waits for.
  static constexpr std::size_t used_event(std::uint16_t size) noexcept {
    return avail(size) + sizeof(AvailHead) + sizeof(Le16) * size;
  }
  static constexpr std::size_t avail_event(std::uint16_t size) noexcept {
    return used(size) + sizeof(UsedHead) + sizeof(UsedElement) * size;
  }

 private:
  /// The end of the first line that begins behind what reaches to `from`: a head there has its line alone.
  template <class Head>
  static constexpr std::size_t last_of_line(std::size_t from) noexcept {
    return align_up(from, kCacheLine) + kCacheLine - sizeof(Head);
  }
};

/// An entry of a used ring.
[[nodiscard]] inline const UsedElement& used_element(const UsedHead* used, std::uint16_t slot) noexcept {
  return reinterpret_cast<const UsedElement*>(used + 1)[slot];
}

/// Where the parts of a packed virtqueue lie in its block. 2.8.10: the areas behind the descriptors lie on
/// cache lines of their own, since driver and device write one each.
struct PackedLayout {
  static constexpr std::size_t driver(std::uint16_t size) noexcept {
    return align_up(sizeof(PackedDescriptor) * size, kCacheLine);
  }
  static constexpr std::size_t device(std::uint16_t size) noexcept { return driver(size) + kCacheLine; }
  static constexpr std::size_t bytes(std::uint16_t size) noexcept {
    return device(size) + sizeof(EventSuppression);
  }
};

}  // namespace spinring::pmd::virtio
