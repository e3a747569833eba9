#include "tests/sim/sim_split_ring.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace spinring::sim {
namespace {

// Layout of the two rings (virtio 1.2, 2.7.6 and 2.7.8): flags, idx, entries, event index.
constexpr std::uint64_t kFlags = 0;
constexpr std::uint64_t kIndex = 2;
constexpr std::uint64_t kEntries = 4;

std::uint64_t available_bytes(std::uint16_t size, bool event_idx) {
  return kEntries + 2ULL * size + (event_idx ? 2 : 0);
}
std::uint64_t used_bytes(std::uint16_t size, bool event_idx) {
  return kEntries + sizeof(vring_used_elem) * size + (event_idx ? 2 : 0);
}

}  // namespace

SimSplitRing::SimSplitRing(SimIommu& iommu, const RingConfig& ring, Complain on_breach)
    : SimRing(iommu, ring, std::move(on_breach), 0), slots_of_(ring.size), taken_(ring.size, false) {
  // virtio 1.2, 2.7: alignment of the three parts.
  if (ring.descriptors % 16 != 0) complain("descriptor table is not aligned to 16");
  if (ring.driver % 2 != 0) complain("available ring is not aligned to 2");
  if (ring.device % 4 != 0) complain("used ring is not aligned to 4");
  if (area(ring.descriptors, sizeof(vring_desc) * ring.size, false) == nullptr ||
      area(ring.driver, available_bytes(ring.size, ring.event_idx), false) == nullptr ||
      area(ring.device, used_bytes(ring.size, ring.event_idx), true) == nullptr) {
    return;
  }
  if (load_acquire(area(ring.device + kIndex, 2, true)) != 0) {
    complain("used index is not zero when the queue is enabled");
  }
  if (load_acquire(area(ring.device + kFlags, 2, true)) != 0) {  // virtio 1.2, 2.7.10.1
    complain("flags of the used ring are not zero when the queue is enabled");
  }
  if (!broken()) announce();
}

std::uint16_t SimSplitRing::available_index() {
  const std::byte* const at = area(config().driver + kIndex, 2, false);
  return at == nullptr ? next_available_ : load_acquire(at);
}

std::uint16_t SimSplitRing::available_entry(std::uint16_t slot) {
  const std::byte* const at = area(config().driver + kEntries + 2 * slot, 2, false);
  return at == nullptr ? std::uint16_t{0} : load_acquire(at);
}

std::uint16_t SimSplitRing::available_flags() {
  const std::byte* const at = area(config().driver + kFlags, 2, false);
  return at == nullptr ? std::uint16_t{0} : load_acquire(at);
}

std::uint16_t SimSplitRing::waiting() {
  if (broken()) return 0;
  const auto distance = static_cast<std::uint16_t>(available_index() - next_available_);
  if (broken()) return 0;
  if (distance > config().size) {
    // Also what a decremented index looks like (virtio 1.2, 2.7.13.3.1).
    complain(fmt::format("available index ran {} ahead in a ring of {}", distance, config().size));
    return 0;
  }
  return distance;
}

vring_desc SimSplitRing::descriptor(std::uint16_t index) {
  vring_desc out{};
  const std::byte* const at = area(config().descriptors + sizeof(vring_desc) * index, sizeof out, false);
  if (at != nullptr) std::memcpy(&out, at, sizeof out);
  return out;
}

void SimSplitRing::scribble_descriptor(std::uint16_t index, const vring_desc& value) {
  std::byte* const at = area(config().descriptors + sizeof(vring_desc) * index, sizeof value, true);
  if (at != nullptr) std::memcpy(at, &value, sizeof value);
}

void SimSplitRing::scribble_used(std::size_t offset, std::span<const std::byte> bytes) {
  const std::uint64_t total = used_bytes(config().size, config().event_idx);
  if (offset >= total) return;
  bytes = bytes.first(std::min<std::size_t>(bytes.size(), total - offset));
  std::byte* const at = area(config().device + offset, bytes.size(), true);
  if (at != nullptr) std::memcpy(at, bytes.data(), bytes.size());
}

bool SimSplitRing::walk_indirect(const vring_desc& table, Walk& walk) {
  if ((table.flags & VRING_DESC_F_NEXT) != 0) {  // virtio 1.2, 2.7.5.3.1
    complain("indirect descriptor with F_NEXT");
    return false;
  }
  const std::byte* const at = indirect_table(table.addr, table.len);
  if (at == nullptr) return false;
  walk.chain.indirect = true;
  const std::uint32_t entries = table.len / sizeof(vring_desc);
  std::uint32_t index = 0;
  for (std::uint32_t steps = 0; steps < entries; ++steps) {
    vring_desc entry{};
    std::memcpy(&entry, at + sizeof(vring_desc) * index, sizeof entry);
    if ((entry.flags & VRING_DESC_F_INDIRECT) != 0) {
      complain("indirect table inside an indirect table");
      return false;
    }
    if (!add_segment(entry.addr, entry.len, (entry.flags & VRING_DESC_F_WRITE) != 0, walk.chain))
      return false;
    if ((entry.flags & VRING_DESC_F_NEXT) == 0) return true;
    if (config().in_order && entry.next != index + 1) {  // virtio 1.2, 2.7.5.3.1
      complain(fmt::format("indirect table out of order under IN_ORDER: {} after {}", entry.next, index));
      return false;
    }
    index = entry.next;
    if (index >= entries) break;
  }
  complain("indirect table's chain leaves the table or loops");
  return false;
}

bool SimSplitRing::walk_ring(std::uint16_t head, Walk& walk) {
  std::uint16_t index = head;
  while (walk.slots.size() < config().size) {
    if (index >= config().size) {
      complain(fmt::format("descriptor {} in a ring of {}", index, config().size));
      return false;
    }
    if (taken_[index]) {
      complain(fmt::format("descriptor {} is already in an outstanding chain", index));
      return false;
    }
    if (config().in_order && index != (next_descriptor_ + walk.slots.size()) % config().size) {
      // virtio 1.2, 2.7.5: from 0 through the table and around; next fields too (2.7.5.2).
      complain(fmt::format("descriptor {} out of the table's order under IN_ORDER", index));
      return false;
    }
    taken_[index] = true;
    walk.slots.push_back(index);
    const vring_desc entry = descriptor(index);
    if (broken()) return false;
    if ((entry.flags & VRING_DESC_F_INDIRECT) != 0) return walk_indirect(entry, walk);
    if (!add_segment(entry.addr, entry.len, (entry.flags & VRING_DESC_F_WRITE) != 0, walk.chain))
      return false;
    if ((entry.flags & VRING_DESC_F_NEXT) == 0) return true;
    index = entry.next;
  }
  complain("chain is longer than the ring");
  return false;
}

std::optional<SimChain> SimSplitRing::take() {
  if (waiting() == 0) return std::nullopt;
  const std::uint64_t slot = next_available_ % config().size;
  const std::byte* const at = area(config().driver + kEntries + 2 * slot, 2, false);
  if (at == nullptr) return std::nullopt;
  // virtio 1.2, 2.7.7.1: 0 or 1; 0 with EVENT_IDX.
  if (available_flags() > (config().event_idx ? 0 : VRING_AVAIL_F_NO_INTERRUPT)) {
    complain(fmt::format("available flags are {}, EVENT_IDX {}", available_flags(), config().event_idx));
    return std::nullopt;
  }
  Walk walk;
  walk.chain.id = load_acquire(at);
  if (!walk_ring(walk.chain.id, walk)) return std::nullopt;
  walk.chain.descriptors = static_cast<std::uint16_t>(walk.slots.size());
  next_descriptor_ = static_cast<std::uint16_t>((next_descriptor_ + walk.slots.size()) % config().size);
  slots_of_[walk.chain.id] = std::move(walk.slots);
  ++next_available_;
  return std::move(walk.chain);
}

void SimSplitRing::put_back(const SimChain& chain) {
  release(chain);
  next_descriptor_ =
      static_cast<std::uint16_t>((next_descriptor_ + config().size - chain.descriptors) % config().size);
  --next_available_;
}

void SimSplitRing::release(const SimChain& chain) {
  // The descriptors are free before the driver can see the entry: it may use them again at once.
  for (const std::uint16_t slot : slots_of_[chain.id]) taken_[slot] = false;
  slots_of_[chain.id].clear();
}

void SimSplitRing::write_used(const Used& used) {
  // A batch's entry lies where that of its first chain would (virtio 1.2, 2.7.9).
  const std::uint64_t slot = next_used_ % config().size;
  const vring_used_elem entry{used.id, used.length};
  std::byte* const at = area(config().device + kEntries + sizeof entry * slot, sizeof entry, true);
  if (at == nullptr) return;
  std::memcpy(at, &entry, sizeof entry);
  next_used_ = static_cast<std::uint16_t>(next_used_ + used.chains);
}

void SimSplitRing::store_used_index(std::uint16_t index) {
  std::byte* const at = area(config().device + kIndex, 2, true);
  if (at != nullptr) store_release(at, index);
}

bool SimSplitRing::expose() {
  const std::uint16_t old = std::exchange(published_, next_used_);
  store_used_index(next_used_);
  // The driver's wish is read after the index is visible, or a wish made in between is lost.
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  if (!config().event_idx) return (available_flags() & VRING_AVAIL_F_NO_INTERRUPT) == 0;
  const std::byte* const event = area(config().driver + kEntries + 2ULL * config().size, 2, false);
  return event != nullptr && vring_need_event(load_acquire(event), next_used_, old) != 0;
}

void SimSplitRing::announce() {
  std::byte* const flags = area(config().device + kFlags, 2, true);
  if (flags == nullptr) return;
  // virtio 1.2, 2.7.10: with EVENT_IDX the flags stay zero and avail_event alone speaks.
  if (!config().event_idx) {
    return store_release(flags, notifications_suppressed() ? VRING_USED_F_NO_NOTIFY : std::uint16_t{0});
  }
  std::byte* const event =
      area(config().device + kEntries + sizeof(vring_used_elem) * config().size, 2, true);
  // Half a lap away: an index that the driver does not pass soon.
  const auto far_away = static_cast<std::uint16_t>(next_available_ + 0x8000);
  if (event != nullptr) store_release(event, notifications_suppressed() ? far_away : next_available_);
}

}  // namespace spinring::sim
