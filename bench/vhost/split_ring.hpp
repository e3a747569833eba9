#pragma once

#include <cstring>

#include "base/cpu.hpp"
#include "base/ring_index.hpp"
#include "bench/vhost/batch.hpp"
#include "bench/vhost/plain_buffers.hpp"

namespace spinring::bench::vhost {

/// The device's side of a split virtqueue (virtio 1.2, 2.7). Buffers are completed in the order in which they
/// were made available. One thread.
class SplitRing {
 public:
  SplitRing(const RingPlace& place, const MemoryTable& memory, Violations& violations) noexcept
      : place_(place),
        collector_(memory, violations, place.direction),
        mask_(static_cast<std::uint16_t>(place.size - 1)),
        next_(static_cast<std::uint16_t>(place.base)),
        available_(next_) {
    // 2.7.10: the device polls, so a kick is of no use to it.
    __atomic_store_n(&used()->flags, std::uint16_t{VRING_USED_F_NO_NOTIFY}, __ATOMIC_RELEASE);
  }

  /// Looks at up to `most` available buffers; they stay the ring's until complete().
  void take(Batch& batch, unsigned most) noexcept {
    batch.clear();
    if (broken_) [[unlikely]]
      return;
    if (ring_distance(available_, next_) < most) {
      // Acquire: the ring's entries and descriptors were written before the index.
      available_ = __atomic_load_n(&available()->idx, __ATOMIC_ACQUIRE);
      if (ring_distance(available_, next_) > place_.size) [[unlikely]] {
        violations().note(Violation::kAvailableIndex, available_, next_);
        broken_ = true;
        return;
      }
    }
    const unsigned ready = ring_distance(available_, next_);
    const unsigned count = ready < most ? ready : most;
    prefetch_used(count);
    if (place_.wide() && count != 0 && read_plain(batch, count)) [[likely]]
      return;
    if (place_.in_order) {
      read_chains<true>(batch, count);
    } else {
      read_chains<false>(batch, count);
    }
  }

  /// Gives the first `count` buffers of the batch back, `written[i]` bytes in each.
  template <class Written>
  void complete(const Batch& batch, unsigned count, const Written& written) noexcept {
    if (place_.one_entry_per_batch) {
      // 2.7.9: one entry in the batch's first slot, with the last buffer's id, stands for all.
      put_used(next_, batch.chains[count - 1].id, written[count - 1]);
    } else if (!put_used_plain(batch, count, written)) {
      const std::uint16_t first = next_;
      for (unsigned i = 0; i < count; ++i) {
        put_used(static_cast<std::uint16_t>(first + i), batch.chains[i].id, written[i]);
      }
    }
    next_ = static_cast<std::uint16_t>(next_ + count);
    order_.follow(batch, batch.chains[count - 1], mask_);
    // Release: entries and payload before the index.
    __atomic_store_n(&used()->idx, next_, __ATOMIC_RELEASE);
  }

  /// After complete(): whether the driver asks for an interrupt (2.7.7).
  [[nodiscard]] bool wants_interrupt() const noexcept {
    return (__atomic_load_n(&available()->flags, __ATOMIC_RELAXED) & VRING_AVAIL_F_NO_INTERRUPT) == 0;
  }

  /// For GET_VRING_BASE.
  [[nodiscard]] std::uint32_t base() const noexcept { return next_; }

 private:
  [[nodiscard]] vring_avail* available() const noexcept {
    return reinterpret_cast<vring_avail*>(place_.available);
  }
  [[nodiscard]] vring_used* used() const noexcept { return reinterpret_cast<vring_used*>(place_.used); }
  [[nodiscard]] Violations& violations() const noexcept { return collector_.violations(); }

  void put_used(std::uint16_t index, std::uint16_t id, std::uint32_t written) noexcept {
    const vring_used_elem element{id, written};
    std::memcpy(&used()->ring[ring_slot(index, mask_)], &element, sizeof(element));
  }

  /// The lines of the used ring that complete() will write: this side's own, which the driver has read.
  void prefetch_used(unsigned count) const noexcept {
    constexpr unsigned kOfLine = kCacheLine / sizeof(vring_used_elem);
    for (unsigned i = 0; i < (place_.one_entry_per_batch ? 1 : count); i += kOfLine) {
      prefetch_write(&used()->ring[ring_slot(static_cast<std::uint16_t>(next_ + i), mask_)]);
    }
  }

  /// IN_ORDER: the head that the next buffer must have, known once the first has been seen.
  struct Order {
    std::uint16_t head = 0;
    bool known = false;

    void follow(const Batch& batch, const Chain& chain, std::uint16_t mask) noexcept {
      head = ring_slot(static_cast<std::uint16_t>(chain.id + batch.slots(chain)), mask);
      known = true;
    }
  };

  [[nodiscard]] std::uint16_t plain_flags() const noexcept {
    return place_.direction == Direction::kDeviceWrites ? VRING_DESC_F_WRITE : 0;
  }

  /// Nearly every batch is of plain buffers, alike, in runs that lie in a row in the table. False: this one
  /// is not, and nothing has been judged.
  bool read_plain(Batch& batch, unsigned count) noexcept {
    const std::uint16_t slot = ring_slot(next_, mask_);
    const std::uint16_t head = available()->ring[slot];
    if (head > mask_ || (place_.in_order && head != order_.head)) return false;
    vring_desc like;
    std::memcpy(&like, place_.descriptors + sizeof(like) * head, sizeof(like));
    const MemoryTable::Window window = collector_.memory().window(like.addr);
    if (like.len == 0 || like.len > window.size || like.flags != plain_flags()) return false;
    const PlainBuffers buffers{
        .ring = available()->ring,
        .table = place_.descriptors,
        .mask = mask_,
        .slot = slot,
        .head = head,
        .length = like.len,
        .flags = like.flags,
        .in_order = place_.in_order,
        .guest = window.guest_address,
        .last = window.size - like.len,
        .to_here = reinterpret_cast<std::uintptr_t>(window.data) - window.guest_address};
    batch.taken = with_buffers(place_.vectors, [&](auto vectors) {
      return decltype(vectors)::take(buffers, batch.chains.data(), count);
    });
    if (batch.taken == Taken::kSingly) return false;
    batch.count = count;
    batch.alike = true;
    return true;
  }

  bool put_used_plain(const Batch& batch, unsigned count, const SameWritten& written) noexcept {
    if (batch.taken == Taken::kSingly) return false;
    with_buffers(place_.vectors, [&](auto vectors) {
      decltype(vectors)::write_used(used()->ring, mask_, next_, batch, written.bytes, count);
    });
    return true;
  }
  template <class Written>
  bool put_used_plain(const Batch& /*batch*/, unsigned /*count*/, const Written& /*written*/) noexcept {
    return false;
  }

  /// Nearly every buffer is one descriptor without a flaw; the others go through read_chain().
  template <bool kInOrder>
  void read_chains(Batch& batch, unsigned count) noexcept {
    const std::uint16_t plain = plain_flags();
    std::uint32_t length = 0;
    std::uint32_t other = 0;
    const std::uint16_t* const ring = available()->ring;
    const std::byte* const table = place_.descriptors;
    Order order = order_;
    for (unsigned i = 0; i < count; ++i) {
      const std::uint16_t head = ring[ring_slot(static_cast<std::uint16_t>(next_ + i), mask_)];
      if (head <= mask_ && (!kInOrder || head == order.head)) [[likely]] {
        vring_desc descriptor;
        std::memcpy(&descriptor, table + sizeof(descriptor) * head, sizeof(descriptor));
        std::byte* const data = collector_.memory().guest(descriptor.addr, descriptor.len);
        if (descriptor.flags == plain && descriptor.len != 0 && data != nullptr) [[likely]] {
          batch.chains[i] = {.data = data, .length = descriptor.len, .id = head};
          if constexpr (kInOrder) order.follow(batch, batch.chains[i], mask_);
          if (i == 0) length = descriptor.len;
          other |= descriptor.len ^ length;
          continue;
        }
      }
      other = ~0U;
      batch.count = i;
      read_chain(batch, head, order);
    }
    batch.count = count;
    batch.alike = other == 0;
  }

  void read_chain(Batch& batch, std::uint16_t head, Order& order) noexcept {
    Chain& chain = batch.chains[batch.count++];
    chain = Chain{};
    chain.id = head;
    if (head > mask_) [[unlikely]] {
      violations().note(Violation::kHead, head, place_.size);
      return;
    }
    if (place_.in_order && order.known && head != order.head) [[unlikely]] {
      violations().note(Violation::kOrder, head, order.head);
    }
    vring_desc descriptor;  // a copy: the driver may write it again under our eyes
    std::memcpy(&descriptor, place_.descriptors + sizeof(descriptor) * head, sizeof(descriptor));
    if ((descriptor.flags & (VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT)) == 0) [[likely]] {
      collector_.add(batch, chain, true, descriptor.addr, descriptor.len, descriptor.flags);
    } else if (!walk(batch, chain, descriptor)) {
      chain.data = nullptr;
      chain.length = 0;
    }
    order.follow(batch, chain, mask_);
  }

  bool walk(Batch& batch, Chain& chain, vring_desc descriptor) noexcept {
    const std::byte* table = place_.descriptors;
    std::uint32_t entries = place_.size;
    if ((descriptor.flags & VRING_DESC_F_INDIRECT) != 0) {
      entries = descriptor.len / sizeof(vring_desc);
      table = collector_.memory().guest(descriptor.addr, descriptor.len);
      if (table == nullptr || entries == 0 || entries > place_.size ||
          descriptor.len % sizeof(vring_desc) != 0 || (descriptor.flags & VRING_DESC_F_NEXT) != 0) {
        violations().note(Violation::kIndirect, descriptor.addr, descriptor.len);
        return false;
      }
      std::memcpy(&descriptor, table, sizeof(descriptor));
    }
    const bool direct = table == place_.descriptors;
    std::uint16_t at = chain.id;
    for (std::uint32_t steps = 1;; ++steps) {
      if (direct && steps > 1) batch.further_of(chain).slots = static_cast<std::uint16_t>(steps);
      if (!collector_.add(batch, chain, steps == 1, descriptor.addr, descriptor.len, descriptor.flags))
        return false;
      if ((descriptor.flags & VRING_DESC_F_NEXT) == 0) return true;
      if (steps == entries || descriptor.next >= entries || (descriptor.flags & VRING_DESC_F_INDIRECT) != 0) {
        violations().note(Violation::kChain, chain.id, descriptor.next);
        return false;
      }
      // 2.7.9: with IN_ORDER a chain goes from each descriptor of the ring to the one after it.
      if (direct && place_.in_order &&
          descriptor.next != ring_slot(static_cast<std::uint16_t>(at + 1), mask_)) {
        violations().note(Violation::kOrder, descriptor.next, at);
      }
      at = descriptor.next;
      std::memcpy(&descriptor, table + sizeof(descriptor) * at, sizeof(descriptor));
    }
  }

  RingPlace place_;
  PieceCollector collector_;
  std::uint16_t mask_;
  std::uint16_t next_;       ///< the next buffer to complete: index of the available and of the used ring
  std::uint16_t available_;  ///< the driver's index as last read
  Order order_;              ///< before the buffer at next_
  bool broken_ = false;
};

}  // namespace spinring::bench::vhost
