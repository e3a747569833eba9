#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "base/cpu.hpp"
#include "bench/vhost/batch.hpp"
#include "bench/vhost/plain_buffers.hpp"

namespace spinring::bench::vhost {

/// The device's side of a packed virtqueue (virtio 1.2, 2.8). Buffers are completed in the order in which
/// they were made available, so the next used descriptor is always the next available one. One thread.
class PackedRing {
 public:
  PackedRing(const RingPlace& place, const MemoryTable& memory, Violations& violations) noexcept
      : place_(place),
        collector_(memory, violations, place.direction),
        at_{static_cast<std::uint16_t>(place.base & 0x7fffU), (place.base & 0x8000U) != 0} {
    // 2.8.14: the device polls, so a kick is of no use to it.
    auto* event = reinterpret_cast<vring_packed_desc_event*>(place_.used);
    __atomic_store_n(&event->flags, std::uint16_t{VRING_PACKED_EVENT_FLAG_DISABLE}, __ATOMIC_RELEASE);
    if (at_.slot >= place_.size) at_.slot = 0;
  }

  /// Looks at up to `most` available buffers; they stay the ring's until complete().
  void take(Batch& batch, unsigned most) noexcept {
    batch.clear();
    Position at = at_;
    unsigned slots =
        take_plain(batch, most, at);  // a driver cannot have more than the ring; a hostile one could say so
    while (batch.count < most && slots < place_.size) {
      // Acquire: the rest of the descriptor was written before its flags (2.8.13).
      const Tail tail = load_tail(at.slot);
      if (!is_available(tail.flags, at.wrap)) break;
      Chain& chain = batch.chains[batch.count++];
      batch.alike = false;
      chain = Chain{};
      chain.id = tail.id;
      if ((tail.flags & (VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT)) == 0) [[likely]] {
        collector_.add(batch, chain, true, load_address(at.slot), tail.length, tail.flags);
      } else if (!walk(batch, chain, at)) {
        chain.data = nullptr;
        chain.length = 0;
      }
      if (chain.id >= place_.size) [[unlikely]]
        violations().note(Violation::kBufferId, chain.id, place_.size);
      slots += batch.slots(chain);
      prefetch_whole_line(at);
      at.advance(batch.slots(chain), place_.size);
    }
  }

  /// Gives the first `count` buffers of the batch back, `written[i]` bytes in each.
  template <class Written>
  void complete(const Batch& batch, unsigned count, const Written& written) noexcept {
    if (place_.one_entry_per_batch) {
      // 2.8.11: one used descriptor in the batch's first slot, with the last buffer's id, stands for all.
      put_used(at_, batch.chains[count - 1].id, written[count - 1]);
      for (unsigned i = 0; i < count; ++i) at_.advance(batch.slots(batch.chains[i]), place_.size);
      return;
    }
    if constexpr (std::is_same_v<Written, SameWritten>) {
      if (place_.wide() && batch.alike) return put_used_alike(batch, count, written.bytes);
    }
    Position at = at_;
    for (unsigned i = 0; i < count; ++i) {
      if (i != 0) put_used(at, batch.chains[i].id, written[i]);
      at.advance(batch.slots(batch.chains[i]), place_.size);
    }
    // 5.1.6.4: the buffers of one frame are used together, so the first is seen last.
    if (count != 0) put_used(at_, batch.chains[0].id, written[0]);
    at_ = at;
  }

  /// After complete(): whether the driver asks for an interrupt (2.8.10; EVENT_IDX is not offered).
  [[nodiscard]] bool wants_interrupt() const noexcept {
    const auto* event = reinterpret_cast<const vring_packed_desc_event*>(place_.available);
    return __atomic_load_n(&event->flags, __ATOMIC_RELAXED) != VRING_PACKED_EVENT_FLAG_DISABLE;
  }

  /// For GET_VRING_BASE: slot and wrap counter; those of the used side are the same.
  [[nodiscard]] std::uint32_t base() const noexcept {
    const std::uint32_t one = at_.slot | (at_.wrap ? 0x8000U : 0U);
    return one | (one << 16U);
  }

 private:
  static constexpr std::uint16_t kAvailable = 1U << VRING_PACKED_DESC_F_AVAIL;
  static constexpr std::uint16_t kUsed = 1U << VRING_PACKED_DESC_F_USED;

  struct Position {
    std::uint16_t slot;
    bool wrap;

    void advance(unsigned slots, std::uint16_t size) noexcept {
      slot = static_cast<std::uint16_t>(slot + slots);
      if (slot >= size) {
        slot = static_cast<std::uint16_t>(slot - size);
        wrap = !wrap;
      }
    }
  };

  /// The second half of a descriptor: 8 bytes, so read and written in one access.
  struct Tail {
    std::uint32_t length;
    std::uint16_t id;
    std::uint16_t flags;
  };
  static_assert(sizeof(Tail) == 8 && offsetof(vring_packed_desc, len) == 8);

  [[nodiscard]] Violations& violations() const noexcept { return collector_.violations(); }
  [[nodiscard]] std::byte* descriptor(std::uint16_t slot) const noexcept {
    return place_.descriptors + sizeof(vring_packed_desc) * slot;
  }
  [[nodiscard]] Tail load_tail(std::uint16_t slot) const noexcept {
    const auto* raw = reinterpret_cast<const std::uint64_t*>(descriptor(slot) + 8);
    const std::uint64_t value = __atomic_load_n(raw, __ATOMIC_ACQUIRE);
    Tail tail;
    std::memcpy(&tail, &value, sizeof(tail));
    return tail;
  }
  [[nodiscard]] std::uint64_t load_address(std::uint16_t slot) const noexcept {
    return __atomic_load_n(reinterpret_cast<const std::uint64_t*>(descriptor(slot)), __ATOMIC_RELAXED);
  }
  static bool is_available(std::uint16_t flags, bool wrap) noexcept {
    return ((flags & kAvailable) != 0) == wrap && ((flags & kUsed) != 0) != wrap;
  }

  /// A line of which every descriptor is ours now: complete() will write it. The last line may be in part the
  /// driver's, and is left where it is.
  void prefetch_whole_line(Position at) const noexcept {
    if (at.slot % kDescriptorsOfLine == kDescriptorsOfLine - 1) prefetch_write(descriptor(at.slot));
  }

  /// Buffers of one descriptor without a flaw, which nearly all are, up to the first that is not; returns
  /// their number.
  unsigned take_plain(Batch& batch, unsigned most, Position& at) noexcept {
    const unsigned end = most < place_.size ? most : place_.size;
    const auto writes =
        static_cast<std::uint16_t>(place_.direction == Direction::kDeviceWrites ? VRING_DESC_F_WRITE : 0);
    std::uint32_t length = 0;
    std::uint32_t other = 0;
    unsigned count = 0;
    while (count < end) {
      if (const unsigned taken = take_lines(batch, count, end, at, writes); taken != 0) {
        if (count == 0) length = batch.chains[0].length;
        other |= batch.chains[count].length ^ length;  // those of lines are alike
        count += taken;
        continue;
      }
      const Tail tail = load_tail(at.slot);
      const std::uint16_t plain = writes | (at.wrap ? kAvailable : kUsed);
      if (tail.flags != plain || tail.id >= place_.size || tail.length == 0) break;
      std::byte* const data = collector_.memory().guest(load_address(at.slot), tail.length);
      if (data == nullptr) [[unlikely]]
        break;
      if (count == 0) length = tail.length;
      other |= tail.length ^ length;
      batch.chains[count] = {.data = data, .length = tail.length, .id = tail.id};
      prefetch_whole_line(at);
      at.advance(1, place_.size);
      ++count;
    }
    batch.count = count;
    batch.alike = other == 0;
    return count;
  }

  /// Lines of such buffers of one length, behind the first `count` of a batch; returns the buffers' number.
  unsigned take_lines(Batch& batch, unsigned count, unsigned end, Position& at,
                      std::uint16_t writes) noexcept {
    const unsigned lines = whole_lines(at, end - count);
    if (lines == 0) return 0;
    const Tail tail = load_tail(at.slot);
    const std::uint16_t plain = writes | (at.wrap ? kAvailable : kUsed);
    if (tail.flags != plain || tail.length == 0) return 0;
    const MemoryTable::Window window = collector_.memory().window(load_address(at.slot));
    if (tail.length > window.size) return 0;
    const PlainLines expected{
        .first = descriptor(at.slot),
        .size = place_.size,
        .length = tail.length,
        .flags = plain,
        .guest = window.guest_address,
        .last = window.size - tail.length,
        .to_here = reinterpret_cast<std::uintptr_t>(window.data) - window.guest_address};
    const unsigned taken = with_buffers(place_.vectors, [&](auto vectors) {
      return decltype(vectors)::take_lines(expected, batch.chains.data() + count, lines);
    });
    for (unsigned i = 0; i < taken; i += kDescriptorsOfLine)
      prefetch_write(descriptor(static_cast<std::uint16_t>(at.slot + i)));
    at.advance(taken, place_.size);
    return taken;
  }
  [[nodiscard]] bool begins_line(std::uint16_t slot) const noexcept {
    return reinterpret_cast<std::uintptr_t>(descriptor(slot)) % kCacheLine == 0;
  }
  /// Of the next `count` descriptors, if they begin with a line and lines are taken at once, up to the ring's
  /// end.
  [[nodiscard]] unsigned whole_lines(Position at, unsigned count) const noexcept {
    if (!place_.wide() || !begins_line(at.slot)) return 0;
    return std::min(count, unsigned{place_.size} - at.slot) / kDescriptorsOfLine;
  }

  [[nodiscard]] std::uint16_t used_flags(bool wrap) const noexcept {
    const unsigned writes = place_.direction == Direction::kDeviceWrites ? VRING_DESC_F_WRITE : 0;
    return static_cast<std::uint16_t>((wrap ? kAvailable | kUsed : 0) | writes);
  }

  /// complete() of buffers of one descriptor each, whole lines at once: from the last to the first.
  void put_used_alike(const Batch& batch, unsigned count, std::uint32_t bytes) noexcept {
    for (unsigned left = count; left != 0;) {
      Position last = at_;
      last.advance(left - 1, place_.size);
      const auto end = static_cast<std::uint16_t>(last.slot + 1);
      const unsigned lines = begins_line(end) ? std::min<unsigned>(left, end) / kDescriptorsOfLine : 0;
      if (lines != 0) {
        left -= lines * kDescriptorsOfLine;
        std::byte* const first = descriptor(static_cast<std::uint16_t>(end - lines * kDescriptorsOfLine));
        with_buffers(place_.vectors, [&](auto vectors) {
          decltype(vectors)::write_used_lines(first, batch.chains.data() + left, bytes, used_flags(last.wrap),
                                              lines);
        });
      } else {
        --left;
        put_used(last, batch.chains[left].id, bytes);
      }
    }
    at_.advance(count, place_.size);
  }

  void put_used(Position at, std::uint16_t id, std::uint32_t written) noexcept {
    const Tail tail{written, id, used_flags(at.wrap)};
    std::uint64_t value = 0;
    std::memcpy(&value, &tail, sizeof(value));
    // Release: the payload before the descriptor that hands it over.
    __atomic_store_n(reinterpret_cast<std::uint64_t*>(descriptor(at.slot) + 8), value, __ATOMIC_RELEASE);
  }

  bool walk(Batch& batch, Chain& chain, Position at) noexcept {
    const Tail first = load_tail(at.slot);
    if ((first.flags & VRING_DESC_F_INDIRECT) != 0)
      return walk_indirect(batch, chain, load_address(at.slot), first);
    bool good = true;
    for (std::uint16_t slots = 1;; ++slots) {
      const Tail tail = load_tail(at.slot);
      if (slots > 1) batch.further_of(chain).slots = slots;
      chain.id = tail.id;  // 2.8.6: the last descriptor's counts
      good = good && collector_.add(batch, chain, slots == 1, load_address(at.slot), tail.length, tail.flags);
      if ((tail.flags & VRING_DESC_F_NEXT) == 0) return good;
      at.advance(1, place_.size);
      // The whole chain is made available by its first descriptor's flags, written last.
      if (slots == place_.size || !is_available(load_tail(at.slot).flags, at.wrap)) {
        violations().note(Violation::kChain, chain.id, slots);
        return false;
      }
    }
  }

  bool walk_indirect(Batch& batch, Chain& chain, std::uint64_t address, const Tail& outer) noexcept {
    const std::uint32_t entries = outer.length / sizeof(vring_packed_desc);
    const std::byte* table = collector_.memory().guest(address, outer.length);
    if (table == nullptr || entries == 0 || entries > place_.size ||
        outer.length % sizeof(vring_packed_desc) != 0 || (outer.flags & VRING_DESC_F_NEXT) != 0) {
      violations().note(Violation::kIndirect, address, outer.length);
      return false;
    }
    // 2.8.7: the table's length alone says how many; of the flags only WRITE counts.
    for (std::uint32_t i = 0; i < entries; ++i) {
      vring_packed_desc entry;
      std::memcpy(&entry, table + sizeof(entry) * i, sizeof(entry));
      if (!collector_.add(batch, chain, i == 0, entry.addr, entry.len, entry.flags)) return false;
    }
    return true;
  }

  RingPlace place_;
  PieceCollector collector_;
  Position at_;
};

}  // namespace spinring::bench::vhost
