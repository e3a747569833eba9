#include "tests/sim/sim_packed_ring.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace spinring::sim {
namespace {

constexpr std::uint16_t kAvail = 1U << VRING_PACKED_DESC_F_AVAIL;
constexpr std::uint16_t kUsed = 1U << VRING_PACKED_DESC_F_USED;
constexpr std::uint16_t kKnown =
    kAvail | kUsed | VRING_DESC_F_NEXT | VRING_DESC_F_WRITE | VRING_DESC_F_INDIRECT;

constexpr std::uint64_t kEventOffset = offsetof(vring_packed_desc_event, off_wrap);
constexpr std::uint64_t kEventFlags = offsetof(vring_packed_desc_event, flags);

/// The bits that say whose a descriptor is (virtio 1.2, 2.8.1).
std::uint16_t owner_bits(const vring_packed_desc& descriptor) { return descriptor.flags & (kAvail | kUsed); }

}  // namespace

SimPackedRing::SimPackedRing(SimIommu& iommu, const RingConfig& ring, Complain on_breach)
    : SimRing(iommu, ring, std::move(on_breach), 1U << VRING_PACKED_EVENT_F_WRAP_CTR), last_seen_(ring.size) {
  // virtio 1.2, 2.8.10.1: alignment of the three parts.
  if (ring.descriptors % 16 != 0) complain("descriptor ring is not aligned to 16");
  if (ring.driver % 4 != 0) complain("driver event suppression is not aligned to 4");
  if (ring.device % 4 != 0) complain("device event suppression is not aligned to 4");
  // The device writes into the descriptors as well.
  if (area(ring.descriptors, sizeof(vring_packed_desc) * ring.size, true) == nullptr ||
      area(ring.driver, sizeof(vring_packed_desc_event), false) == nullptr ||
      area(ring.device, sizeof(vring_packed_desc_event), true) == nullptr) {
    return;
  }
  check_zeroed();
  if (!broken()) announce();
}

void SimPackedRing::check_zeroed() {
  // virtio 1.2, 2.8.13: zero-initialised; the wrap counters begin at 1 (2.8.1). The driver may have made some
  // available already, from the first on. Anything else is left from a life before the reset.
  bool still_available = true;
  for (std::uint16_t at = 0; at < size(); ++at) {
    const std::uint16_t bits = owner_bits(descriptor(at));
    still_available = still_available && bits == kAvail;
    if (bits == 0 || still_available) continue;
    return complain(fmt::format("descriptor {} has AVAIL {} USED {} when the queue is enabled", at,
                                bits & kAvail ? 1 : 0, bits & kUsed ? 1 : 0));
  }
}

std::uint16_t SimPackedRing::offset_and_wrap(Step step) const noexcept {
  const unsigned lap = wrap(step) ? 1U << VRING_PACKED_EVENT_F_WRAP_CTR : 0;
  return static_cast<std::uint16_t>(index(step) | lap);
}

std::uint16_t SimPackedRing::available_bits(Step step) const noexcept { return wrap(step) ? kAvail : kUsed; }

std::uint16_t SimPackedRing::used_flags(Step step) const noexcept {
  return wrap(step) ? kAvail | kUsed : std::uint16_t{0};
}

std::byte* SimPackedRing::place(std::uint16_t index, bool write) {
  return area(config().descriptors + sizeof(vring_packed_desc) * index, sizeof(vring_packed_desc), write);
}

vring_packed_desc SimPackedRing::descriptor(std::uint16_t index) {
  vring_packed_desc out{};
  const std::byte* const at = place(index, false);
  if (at == nullptr) return out;
  // The flags first: what they make valid is read behind them.
  const std::uint16_t flags = load_acquire(at + offsetof(vring_packed_desc, flags));
  std::memcpy(&out, at, sizeof out);
  out.flags = flags;
  return out;
}

void SimPackedRing::scribble_descriptor(std::uint16_t index, const vring_packed_desc& value) {
  last_seen_[index] = value;
  std::byte* const at = place(index, true);
  if (at == nullptr) return;
  std::memcpy(at, &value, offsetof(vring_packed_desc, flags));
  store_release(at + offsetof(vring_packed_desc, flags), value.flags);
}

// --- what the driver made available ---

bool SimPackedRing::available(Step step, const vring_packed_desc& found) {
  if (owner_bits(found) == available_bits(step)) return true;
  if (owner_bits(found) != owner_bits(last_seen_[index(step)])) {
    complain(fmt::format("descriptor {}: flags {:#x} in a lap with wrap counter {}", index(step), found.flags,
                         wrap(step) ? 1 : 0));
  }
  return false;
}

SimPackedRing::Scan SimPackedRing::scan() {
  Scan seen{0, available_};
  bool inside = false;
  for (std::uint32_t left = size() - held_; left > 0 && !broken(); --left) {
    const vring_packed_desc found = descriptor(index(seen.end));
    if (!inside && !available(seen.end, found)) break;
    inside = (found.flags & VRING_DESC_F_NEXT) != 0;
    if (!inside) ++seen.lists;
    seen.end = forward(seen.end, 1);
  }
  return seen;
}

bool SimPackedRing::add_descriptor(const vring_packed_desc& found, SimChain& chain) {
  const bool first = chain.descriptors == 0;
  chain.descriptors = static_cast<std::uint16_t>(chain.descriptors + 1);
  if ((found.flags & ~kKnown) != 0) {
    complain(fmt::format("reserved flags in {:#x}", found.flags));
    return false;
  }
  if ((found.flags & VRING_DESC_F_INDIRECT) == 0) {
    return add_segment(found.addr, found.len, (found.flags & VRING_DESC_F_WRITE) != 0, chain);
  }
  if (!first || (found.flags & VRING_DESC_F_NEXT) != 0) {  // virtio 1.2, 2.8.19
    complain("indirect descriptor in a list of several");
    return false;
  }
  return walk_indirect(found, chain);
}

bool SimPackedRing::walk_indirect(const vring_packed_desc& table, SimChain& chain) {
  const std::byte* const at = indirect_table(table.addr, table.len);
  if (at == nullptr) return false;
  chain.indirect = true;
  for (std::uint32_t offset = 0; offset < table.len; offset += sizeof(vring_packed_desc)) {
    vring_packed_desc entry{};
    std::memcpy(&entry, at + offset, sizeof entry);
    if ((entry.flags & ~VRING_DESC_F_WRITE) != 0) {  // virtio 1.2, 2.8.19
      complain(fmt::format("flags {:#x} in an indirect table", entry.flags));
      return false;
    }
    if (!add_segment(entry.addr, entry.len, (entry.flags & VRING_DESC_F_WRITE) != 0, chain)) return false;
  }
  return true;
}

std::optional<SimChain> SimPackedRing::take() {
  SimChain chain;
  Step step = available_;
  vring_packed_desc found = descriptor(index(step));
  if (broken() || !available(step, found)) return std::nullopt;
  while (true) {
    if (held_ + chain.descriptors == size()) {  // virtio 1.2, 2.8.17
      complain(fmt::format("more descriptors than the {} of the ring are available", size()));
      return std::nullopt;
    }
    if (owner_bits(found) != available_bits(step)) {  // 2.8.6: all of a list, its first as the last of all
      complain(fmt::format("descriptor {} of a list has flags {:#x}, and the first is available", index(step),
                           found.flags));
      return std::nullopt;
    }
    last_seen_[index(step)] = found;
    step = forward(step, 1);
    if (!add_descriptor(found, chain)) return std::nullopt;
    if ((found.flags & VRING_DESC_F_NEXT) == 0) break;
    found = descriptor(index(step));
  }
  chain.id = found.id;  // 2.8.6: in the last of the list
  if (in_flight(chain.id)) {
    complain(fmt::format("buffer id {} is that of a buffer in flight", chain.id));
    return std::nullopt;
  }
  available_ = step;
  held_ += chain.descriptors;
  return chain;
}

void SimPackedRing::put_back(const SimChain& chain) {
  available_ = forward(available_, laps() - chain.descriptors);
  held_ -= chain.descriptors;
}

// --- what the device gives back ---

void SimPackedRing::check_held(Step from, std::uint32_t count) {
  // virtio 1.2, 2.8.16: a driver changes a descriptor only when it was used, or lies behind one that was.
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint16_t at = index(forward(from, i));
    const vring_packed_desc found = descriptor(at);
    if (std::memcmp(&found, &last_seen_[at], sizeof found) != 0) {
      complain(fmt::format("descriptor {} was changed while the device had it", at));
    }
  }
}

void SimPackedRing::write_used(const Used& used) {
  const std::uint32_t back = std::min<std::uint32_t>(used.descriptors, held_);
  check_held(used_, back);
  held_ -= back;
  const std::uint16_t at = index(used_);
  vring_packed_desc entry = last_seen_[at];
  entry.id = static_cast<std::uint16_t>(used.id);
  entry.len = used.length;
  const unsigned written = used.length != 0 ? VRING_DESC_F_WRITE : 0;
  entry.flags = static_cast<std::uint16_t>(used_flags(used_) | written);
  unpublished_.emplace_back(at, entry);
  used_ = forward(used_, used.descriptors);
}

bool SimPackedRing::expose() {
  // The first one last: the driver never sees a part (virtio 1.2, 2.8.9).
  for (auto entry = unpublished_.rbegin(); entry != unpublished_.rend(); ++entry) {
    scribble_descriptor(entry->first, entry->second);
  }
  unpublished_.clear();
  const Step from = std::exchange(published_, used_);
  // The driver's wish is read after the descriptors are visible, or a wish made in between is lost.
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  return wants_interrupt(from);
}

// --- notifications ---

vring_packed_desc_event SimPackedRing::driver_event() {
  vring_packed_desc_event event{};
  const std::byte* const at = area(config().driver, sizeof event, false);
  if (at == nullptr) return event;
  event.flags = load_acquire(at + kEventFlags);
  event.off_wrap = load_acquire(at + kEventOffset);
  return event;
}

bool SimPackedRing::wants_interrupt(Step from) {
  const vring_packed_desc_event event = driver_event();
  if (event.flags == VRING_PACKED_EVENT_FLAG_ENABLE) return from != used_;
  if (event.flags == VRING_PACKED_EVENT_FLAG_DISABLE) return false;
  const unsigned offset = event.off_wrap & ~(1U << VRING_PACKED_EVENT_F_WRAP_CTR);
  if (event.flags != VRING_PACKED_EVENT_FLAG_DESC || !config().event_idx || offset >= size()) {
    complain(fmt::format("driver event suppression with flags {:#x} and descriptor {}, EVENT_IDX {}",
                         event.flags, offset, config().event_idx));
    return false;
  }
  const Step wanted = (event.off_wrap >> VRING_PACKED_EVENT_F_WRAP_CTR) != 0 ? offset : offset + size();
  // Whether the step lies between those where publishing began and ended.
  return forward(wanted, laps() - from) < forward(used_, laps() - from);
}

void SimPackedRing::announce() {
  vring_packed_desc_event event{};
  if (notifications_suppressed()) {
    event.flags = VRING_PACKED_EVENT_FLAG_DISABLE;
  } else if (config().event_idx) {
    event.flags = VRING_PACKED_EVENT_FLAG_DESC;
    event.off_wrap = offset_and_wrap(available_);
  }
  scribble_event(event);
}

void SimPackedRing::scribble_event(const vring_packed_desc_event& value) {
  std::byte* const at = area(config().device, sizeof value, true);
  if (at == nullptr) return;
  store_release(at + kEventOffset, value.off_wrap);
  store_release(at + kEventFlags, value.flags);
}

}  // namespace spinring::sim
