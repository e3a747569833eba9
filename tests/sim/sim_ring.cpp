#include "tests/sim/sim_ring.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "tests/sim/uapi_virtio.hpp"

namespace spinring::sim {

// Rings are little-endian in memory; so is every machine that the simulation runs on.
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);
static_assert(sizeof(vring_desc) == sizeof(vring_packed_desc));

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

SimRing::SimRing(SimIommu& iommu, const RingConfig& config, Complain complain, std::uint16_t begin)
    : iommu_(iommu), config_(config), complain_(std::move(complain)), heard_(begin) {}

std::byte* SimRing::area(std::uint64_t iova, std::uint64_t length, bool write) {
  std::byte* const address = iommu_.translate(iova, length, write);
  if (address == nullptr) broken_ = true;
  return address;
}

void SimRing::complain(const std::string& what) {
  broken_ = true;
  complain_(what);
}

bool SimRing::add_segment(std::uint64_t iova, std::uint32_t length, bool device_writes, SimChain& chain) {
  // virtio 1.2, 2.7.4.2 and 2.8.17.
  if (!device_writes && !chain.segments.empty() && chain.segments.back().device_writes) {
    complain("a device-readable descriptor follows a device-writable one");
    return false;
  }
  if (area(iova, length, device_writes) == nullptr) return false;
  chain.segments.push_back({iova, length, device_writes});
  return true;
}

const std::byte* SimRing::indirect_table(std::uint64_t iova, std::uint32_t bytes) {
  if (!config_.indirect) {
    complain("indirect descriptor without VIRTIO_F_INDIRECT_DESC");
    return nullptr;
  }
  if (bytes == 0 || bytes % sizeof(vring_desc) != 0 || bytes / sizeof(vring_desc) > config_.size) {
    complain(fmt::format("indirect table of {} bytes in a ring of {}", bytes, config_.size));
    return nullptr;
  }
  return area(iova, bytes, false);
}

bool SimRing::in_flight(std::uint16_t id) const noexcept {
  return std::ranges::find(in_flight_, id) != in_flight_.end();
}

void SimRing::suppress_notifications(bool on) {
  suppressed_ = on;
  tell_driver();
}

void SimRing::tell_driver() {
  announce();
  if (!config_.event_idx) return;
  heard_ = notification_data();
  event_ahead_ = waiting() == 0;
}

void SimRing::doorbell() {
  heard_ = notification_data();
  if (config_.event_idx && waiting() != 0) event_ahead_ = false;
}

bool SimRing::doorbell_missing() {
  // With EVENT_IDX a driver that has passed the event owes nothing until it is told of another one.
  return !suppressed_ && event_ahead_ && notification_data() != heard_;
}

std::optional<SimChain> SimRing::pop() {
  if (broken_) return std::nullopt;
  std::optional<SimChain> chain = take();
  if (!chain || broken_) return std::nullopt;
  in_flight_.push_back(chain->id);
  if (config_.event_idx) tell_driver();
  return chain;
}

void SimRing::unpop(const SimChain& chain) {
  if (in_flight_.empty() || in_flight_.back() != chain.id) {
    throw std::logic_error("only the chain that was popped last can be put back");
  }
  in_flight_.pop_back();
  put_back(chain);
  if (config_.event_idx) tell_driver();
}

void SimRing::push(const SimChain& chain, std::uint32_t written) {
  const auto found = std::ranges::find(in_flight_, chain.id);
  if (found == in_flight_.end()) throw std::logic_error("a chain that is not in flight is given back");
  const bool oldest = found == in_flight_.begin();
  in_flight_.erase(found);
  release(chain);
  if (!config_.in_order || !config_.batch_used || !oldest) {
    return push_raw(chain.id, written, chain.descriptors);
  }
  batch_.id = chain.id;
  batch_.length = written;
  batch_.chains = static_cast<std::uint16_t>(batch_.chains + 1);
  batch_.descriptors = static_cast<std::uint16_t>(batch_.descriptors + chain.descriptors);
  // What has no entry of its own counts as used completely: any other chain ends its batch.
  if (written != chain.writable()) flush_batch();
}

void SimRing::push_raw(std::uint32_t id, std::uint32_t length, std::uint16_t descriptors) {
  flush_batch();
  write_used({id, length, 1, descriptors});
}

void SimRing::flush_batch() {
  const Used used = std::exchange(batch_, {});
  if (used.chains != 0) write_used(used);
}

bool SimRing::publish() {
  flush_batch();
  return expose();
}

}  // namespace spinring::sim
