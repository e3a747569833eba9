#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "tests/sim/sim_iommu.hpp"
#include "tests/sim/sim_ring.hpp"
#include "tests/sim/uapi_virtio.hpp"

namespace spinring::sim {

/// Where the driver put a split ring, and what was negotiated for it.
struct SplitRingConfig {
  std::uint16_t size = 0;
  std::uint64_t descriptors = 0;  ///< IOVAs
  std::uint64_t available = 0;
  std::uint64_t used = 0;
  bool event_idx = false;
  bool indirect = false;
};

/// The device's side of a split virtqueue (virtio 1.2, 2.7), from <linux/virtio_ring.h>. Checks what the
/// driver must keep to: heads and next fields inside the ring, no loop, readable before writable, no
/// descriptor in two outstanding chains, an index that never runs more than the ring ahead. The raw functions
/// write what no honest device would.
class SimSplitRing final : public SimRing {
 public:
  SimSplitRing(SimIommu& iommu, const SplitRingConfig& config, Complain complain);

  [[nodiscard]] std::uint16_t size() const noexcept override { return config_.size; }
  [[nodiscard]] std::uint16_t waiting() override;
  [[nodiscard]] std::optional<SimChain> pop() override;
  void unpop(const SimChain& chain) override;
  void push(const SimChain& chain, std::uint32_t written) override;
  bool publish() override;
  void suppress_notifications(bool on) override;
  [[nodiscard]] bool notifications_suppressed() const noexcept override { return suppressed_; }
  [[nodiscard]] std::size_t outstanding() const noexcept override { return outstanding_; }
  [[nodiscard]] bool broken() const noexcept override { return broken_; }

  // --- a hostile device ---
  /// A used entry of any id and length, not checked and not taken from the outstanding chains.
  void push_raw(std::uint32_t id, std::uint32_t length);
  /// The used index as it lies in memory, whatever was pushed.
  void store_used_index(std::uint16_t index);
  /// The index up to which entries were pushed.
  [[nodiscard]] std::uint16_t used_index() const noexcept { return next_used_; }
  /// Goes on from here: after store_used_index() the device and its ring agree again.
  void set_used_index(std::uint16_t index) noexcept { next_used_ = published_ = index; }
  /// The available index in memory.
  [[nodiscard]] std::uint16_t available_index();
  /// The flags that the driver wrote into the available ring.
  [[nodiscard]] std::uint16_t available_flags();
  /// Overwrites a descriptor behind the driver's back (the driver must not read it back).
  void scribble_descriptor(std::uint16_t index, const vring_desc& value);
  [[nodiscard]] vring_desc descriptor(std::uint16_t index);
  /// Overwrites the used ring, flags and index included, from `offset`; what does not fit is left.
  void scribble_used(std::size_t offset, std::span<const std::byte> bytes);

 private:
  struct Walk {
    SimChain chain;
    std::vector<std::uint16_t> slots;
    bool writable_seen = false;
  };

  std::byte* area(std::uint64_t iova, std::uint64_t length, bool write);
  void complain(const std::string& what);
  bool walk_ring(std::uint16_t head, Walk& walk);
  bool walk_indirect(const vring_desc& table, Walk& walk);
  bool add_segment(const vring_desc& descriptor, Walk& walk);
  void announce_event_index();

  SimIommu& iommu_;
  SplitRingConfig config_;
  Complain complain_;
  std::vector<std::vector<std::uint16_t>> slots_of_;  // by head: the descriptors of an outstanding chain
  std::vector<bool> taken_;                           // by descriptor
  std::size_t outstanding_ = 0;
  std::uint16_t next_available_ = 0;
  std::uint16_t next_used_ = 0;
  std::uint16_t published_ = 0;
  bool suppressed_ = false;
  bool broken_ = false;
};

}  // namespace spinring::sim
