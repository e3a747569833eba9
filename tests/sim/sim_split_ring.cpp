#include "tests/sim/sim_split_ring.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace spinring::sim {
namespace {

// Rings are little-endian in memory; so is every machine that the simulation runs on.
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);

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

std::uint16_t load16(const std::byte* at, int order) {
  const auto* field = reinterpret_cast<const std::uint16_t*>(at);
  return order == __ATOMIC_ACQUIRE ? __atomic_load_n(field, __ATOMIC_ACQUIRE)
                                   : __atomic_load_n(field, __ATOMIC_RELAXED);
}
void store16(std::byte* at, std::uint16_t value) {
  __atomic_store_n(reinterpret_cast<std::uint16_t*>(at), value, __ATOMIC_RELEASE);
}

}  // namespace

std::uint64_t SimChain::readable() const noexcept {
  std::uint64_t bytes = 0;
  for (const SimSegment& segment : segments) bytes += segment.device_writes ? 0 : segment.length;
  return bytes;
}

std::uint64_t SimChain::writable() const noexcept {
  std::uint64_t bytes = 0;
  for (const SimSegment& segment : segments) bytes += segment.device_writes ? segment.length : 0;
  return bytes;
}

SimSplitRing::SimSplitRing(SimIommu& iommu, const SplitRingConfig& config, Complain complain)
    : iommu_(iommu),
      config_(config),
      complain_(std::move(complain)),
      slots_of_(config.size),
      taken_(config.size, false) {
  // virtio 1.2, 2.7: alignment of the three parts.
  if (config.descriptors % 16 != 0) this->complain("descriptor table is not aligned to 16");
  if (config.available % 2 != 0) this->complain("available ring is not aligned to 2");
  if (config.used % 4 != 0) this->complain("used ring is not aligned to 4");
  if (area(config.descriptors, sizeof(vring_desc) * config.size, false) == nullptr ||
      area(config.available, available_bytes(config.size, config.event_idx), false) == nullptr ||
      area(config.used, used_bytes(config.size, config.event_idx), true) == nullptr) {
    return;
  }
  if (load16(area(config.used + kIndex, 2, true), __ATOMIC_ACQUIRE) != 0) {
    this->complain("used index is not zero when the queue is enabled");
  }
  announce_event_index();
}

std::byte* SimSplitRing::area(std::uint64_t iova, std::uint64_t length, bool write) {
  std::byte* const address = iommu_.translate(iova, length, write);
  if (address == nullptr) broken_ = true;
  return address;
}

void SimSplitRing::complain(const std::string& what) {
  broken_ = true;
  complain_(what);
}

std::uint16_t SimSplitRing::available_index() {
  const std::byte* const at = area(config_.available + kIndex, 2, false);
  return at == nullptr ? next_available_ : load16(at, __ATOMIC_ACQUIRE);
}

std::uint16_t SimSplitRing::available_flags() {
  const std::byte* const at = area(config_.available + kFlags, 2, false);
  return at == nullptr ? std::uint16_t{0} : load16(at, __ATOMIC_RELAXED);
}

std::uint16_t SimSplitRing::waiting() {
  if (broken_) return 0;
  const auto distance = static_cast<std::uint16_t>(available_index() - next_available_);
  if (broken_) return 0;
  if (distance > config_.size) {
    // Also what a decremented index looks like (virtio 1.2, 2.7.13.3.1).
    complain(fmt::format("available index ran {} ahead in a ring of {}", distance, config_.size));
    return 0;
  }
  return distance;
}

vring_desc SimSplitRing::descriptor(std::uint16_t index) {
  vring_desc out{};
  const std::byte* const at = area(config_.descriptors + sizeof(vring_desc) * index, sizeof out, false);
  if (at != nullptr) std::memcpy(&out, at, sizeof out);
  return out;
}

void SimSplitRing::scribble_descriptor(std::uint16_t index, const vring_desc& value) {
  std::byte* const at = area(config_.descriptors + sizeof(vring_desc) * index, sizeof value, true);
  if (at != nullptr) std::memcpy(at, &value, sizeof value);
}

void SimSplitRing::scribble_used(std::size_t offset, std::span<const std::byte> bytes) {
  const std::uint64_t total = used_bytes(config_.size, config_.event_idx);
  if (offset >= total) return;
  bytes = bytes.first(std::min<std::size_t>(bytes.size(), total - offset));
  std::byte* const at = area(config_.used + offset, bytes.size(), true);
  if (at != nullptr) std::memcpy(at, bytes.data(), bytes.size());
}

bool SimSplitRing::add_segment(const vring_desc& descriptor, Walk& walk) {
  const bool writes = (descriptor.flags & VRING_DESC_F_WRITE) != 0;
  if (walk.writable_seen && !writes) {  // virtio 1.2, 2.7.4.2
    complain("a device-readable descriptor follows a device-writable one");
    return false;
  }
  walk.writable_seen = walk.writable_seen || writes;
  if (iommu_.translate(descriptor.addr, descriptor.len, writes) == nullptr) {
    broken_ = true;
    return false;
  }
  walk.chain.segments.push_back({descriptor.addr, descriptor.len, writes});
  return true;
}

bool SimSplitRing::walk_indirect(const vring_desc& table, Walk& walk) {
  if (!config_.indirect) {
    complain("indirect descriptor without VIRTIO_F_INDIRECT_DESC");
    return false;
  }
  if ((table.flags & VRING_DESC_F_NEXT) != 0) {  // virtio 1.2, 2.7.5.3.1
    complain("indirect descriptor with F_NEXT");
    return false;
  }
  const std::uint32_t entries = table.len / sizeof(vring_desc);
  if (table.len == 0 || table.len % sizeof(vring_desc) != 0 || entries > config_.size) {
    complain(fmt::format("indirect table of {} bytes in a ring of {}", table.len, config_.size));
    return false;
  }
  const std::byte* const at = area(table.addr, table.len, false);
  if (at == nullptr) return false;
  walk.chain.indirect = true;
  std::uint32_t index = 0;
  for (std::uint32_t steps = 0; steps < entries; ++steps) {
    vring_desc entry{};
    std::memcpy(&entry, at + sizeof(vring_desc) * index, sizeof entry);
    if ((entry.flags & VRING_DESC_F_INDIRECT) != 0) {
      complain("indirect table inside an indirect table");
      return false;
    }
    if (!add_segment(entry, walk)) return false;
    if ((entry.flags & VRING_DESC_F_NEXT) == 0) return true;
    index = entry.next;
    if (index >= entries) break;
  }
  complain("indirect table's chain leaves the table or loops");
  return false;
}

bool SimSplitRing::walk_ring(std::uint16_t head, Walk& walk) {
  std::uint16_t index = head;
  for (std::uint32_t steps = 0; steps < config_.size; ++steps) {
    if (index >= config_.size) {
      complain(fmt::format("descriptor {} in a ring of {}", index, config_.size));
      return false;
    }
    if (taken_[index]) {
      complain(fmt::format("descriptor {} is already in an outstanding chain", index));
      return false;
    }
    taken_[index] = true;
    walk.slots.push_back(index);
    const vring_desc entry = descriptor(index);
    if (broken_) return false;
    if ((entry.flags & VRING_DESC_F_INDIRECT) != 0) return walk_indirect(entry, walk);
    if (!add_segment(entry, walk)) return false;
    if ((entry.flags & VRING_DESC_F_NEXT) == 0) return true;
    index = entry.next;
  }
  complain("chain is longer than the ring");
  return false;
}

std::optional<SimChain> SimSplitRing::pop() {
  if (waiting() == 0) return std::nullopt;
  const std::uint64_t slot = next_available_ % config_.size;
  const std::byte* const at = area(config_.available + kEntries + 2 * slot, 2, false);
  if (at == nullptr) return std::nullopt;
  if (config_.event_idx && available_flags() != 0) {  // virtio 1.2, 2.7.7.1
    complain("available flags are not zero although EVENT_IDX was negotiated");
    return std::nullopt;
  }
  Walk walk;
  walk.chain.id = load16(at, __ATOMIC_RELAXED);
  if (!walk_ring(walk.chain.id, walk)) return std::nullopt;
  walk.chain.descriptors = static_cast<std::uint16_t>(walk.slots.size());
  slots_of_[walk.chain.id] = std::move(walk.slots);
  ++outstanding_;
  ++next_available_;
  announce_event_index();
  return std::move(walk.chain);
}

void SimSplitRing::unpop(const SimChain& chain) {
  for (const std::uint16_t slot : slots_of_[chain.id]) taken_[slot] = false;
  slots_of_[chain.id].clear();
  --outstanding_;
  --next_available_;
  announce_event_index();
}

void SimSplitRing::push(const SimChain& chain, std::uint32_t written) {
  // The descriptors are free before the driver can see the entry: it may use them again at once.
  for (const std::uint16_t slot : slots_of_[chain.id]) taken_[slot] = false;
  slots_of_[chain.id].clear();
  --outstanding_;
  push_raw(chain.id, written);
}

void SimSplitRing::push_raw(std::uint32_t id, std::uint32_t length) {
  const std::uint64_t slot = next_used_ % config_.size;
  const vring_used_elem entry{id, length};
  std::byte* const at = area(config_.used + kEntries + sizeof entry * slot, sizeof entry, true);
  if (at == nullptr) return;
  std::memcpy(at, &entry, sizeof entry);
  ++next_used_;
}

void SimSplitRing::store_used_index(std::uint16_t index) {
  std::byte* const at = area(config_.used + kIndex, 2, true);
  if (at != nullptr) store16(at, index);
}

bool SimSplitRing::publish() {
  const std::uint16_t old = std::exchange(published_, next_used_);
  store_used_index(next_used_);
  // The driver's wish is read after the index is visible, or a wish made in between is lost.
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  if (!config_.event_idx) return (available_flags() & VRING_AVAIL_F_NO_INTERRUPT) == 0;
  const std::byte* const event = area(config_.available + kEntries + 2ULL * config_.size, 2, false);
  return event != nullptr && vring_need_event(load16(event, __ATOMIC_RELAXED), next_used_, old) != 0;
}

void SimSplitRing::suppress_notifications(bool on) {
  suppressed_ = on;
  std::byte* const flags = area(config_.used + kFlags, 2, true);
  if (flags == nullptr) return;
  // virtio 1.2, 2.7.10: with EVENT_IDX the flags stay zero and avail_event alone speaks.
  store16(flags, on && !config_.event_idx ? VRING_USED_F_NO_NOTIFY : 0);
  announce_event_index();
}

void SimSplitRing::announce_event_index() {
  if (!config_.event_idx || broken_) return;
  std::byte* const event = area(config_.used + kEntries + sizeof(vring_used_elem) * config_.size, 2, true);
  // Half a lap away: an index that the driver does not pass soon.
  const auto far_away = static_cast<std::uint16_t>(next_available_ + 0x8000);
  if (event != nullptr) store16(event, suppressed_ ? far_away : next_available_);
}

}  // namespace spinring::sim
