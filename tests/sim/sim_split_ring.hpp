#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "tests/sim/sim_iommu.hpp"
#include "tests/sim/sim_ring.hpp"
#include "tests/sim/uapi_virtio.hpp"

namespace spinring::sim {

/// The device's side of a split virtqueue (virtio 1.2, 2.7), from <linux/virtio_ring.h>. Checks what the
/// driver must keep to: heads and next fields inside the ring, no loop, readable before writable, no
/// descriptor in two outstanding chains, an index that never runs more than the ring ahead; under IN_ORDER,
/// descriptors in the order of the table. The raw functions write what no honest device would.
class SimSplitRing final : public SimRing {
 public:
  SimSplitRing(SimIommu& iommu, const RingConfig& ring, Complain complain);

  [[nodiscard]] std::uint16_t waiting() override;
  [[nodiscard]] std::uint16_t notification_data() override { return available_index(); }

  // --- a hostile device ---
  /// The used index as it lies in memory, whatever was pushed.
  void store_used_index(std::uint16_t index);
  /// The index up to which entries were pushed.
  [[nodiscard]] std::uint16_t used_index() const noexcept { return next_used_; }
  /// Goes on from here: after store_used_index() the device and its ring agree again.
  void set_used_index(std::uint16_t index) noexcept { next_used_ = published_ = index; }
  /// The available index in memory.
  [[nodiscard]] std::uint16_t available_index();
  /// What the driver wrote into an entry of the available ring.
  [[nodiscard]] std::uint16_t available_entry(std::uint16_t slot);
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
  };

  std::optional<SimChain> take() override;
  void put_back(const SimChain& chain) override;
  void release(const SimChain& chain) override;
  void write_used(const Used& used) override;
  bool expose() override;
  void announce() override;

  bool walk_ring(std::uint16_t head, Walk& walk);
  bool walk_indirect(const vring_desc& table, Walk& walk);

  std::vector<std::vector<std::uint16_t>> slots_of_;  // by head: the descriptors of an outstanding chain
  std::vector<bool> taken_;                           // by descriptor
  std::uint16_t next_descriptor_ = 0;                 // where the next chain begins under IN_ORDER
  std::uint16_t next_available_ = 0;
  std::uint16_t next_used_ = 0;
  std::uint16_t published_ = 0;
};

}  // namespace spinring::sim
