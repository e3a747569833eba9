#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "tests/sim/sim_iommu.hpp"
#include "tests/sim/sim_ring.hpp"
#include "tests/sim/uapi_virtio.hpp"

namespace spinring::sim {

/// The device's side of a packed virtqueue (virtio 1.2, 2.8), from <linux/virtio_ring.h>. Checks what the
/// driver must keep to: a ring that begins zeroed, AVAIL and USED bits that fit the lap, lists that are
/// available as a whole and fit into the ring, ids unique among the buffers in flight, no flag that is
/// reserved, no change to a descriptor that the device holds, event suppression with values that exist. The
/// raw functions write what no honest device would.
class SimPackedRing final : public SimRing {
 public:
  SimPackedRing(SimIommu& iommu, const RingConfig& ring, Complain on_breach);

  [[nodiscard]] std::uint16_t waiting() override { return scan().lists; }
  [[nodiscard]] std::uint16_t notification_data() override { return offset_and_wrap(scan().end); }

  /// The driver's event suppression, as it lies in memory.
  [[nodiscard]] vring_packed_desc_event driver_event();

  // --- a hostile device ---
  /// A place on the ring's two laps: below size() those with wrap counter 1, then those with 0.
  using Step = std::uint32_t;
  /// Where the next used descriptor goes.
  [[nodiscard]] Step used_step() const noexcept { return used_; }
  /// Goes on from there, whatever was pushed.
  void set_used_step(Step step) noexcept { used_ = published_ = step % laps(); }
  /// Flags of a used descriptor at a step, less VRING_DESC_F_WRITE.
  [[nodiscard]] std::uint16_t used_flags(Step step) const noexcept;
  [[nodiscard]] vring_packed_desc descriptor(std::uint16_t index);
  /// Overwrites a descriptor, flags last, at once and without a publish(). What is there counts from then on
  /// as what the driver or the device had left there.
  void scribble_descriptor(std::uint16_t index, const vring_packed_desc& value);
  /// Overwrites the device's event suppression: what the driver reads before it rings the doorbell.
  void scribble_event(const vring_packed_desc_event& value);

 private:
  /// What the driver has made available and the device has not taken.
  struct Scan {
    std::uint16_t lists = 0;
    Step end = 0;  ///< the first step that is not available
  };

  std::optional<SimChain> take() override;
  void put_back(const SimChain& chain) override;
  void release(const SimChain&) override {}
  void write_used(const Used& used) override;
  bool expose() override;
  void announce() override;

  [[nodiscard]] Step laps() const noexcept { return 2U * size(); }
  [[nodiscard]] std::uint16_t index(Step step) const noexcept {
    return static_cast<std::uint16_t>(step % size());
  }
  [[nodiscard]] bool wrap(Step step) const noexcept { return step < size(); }
  [[nodiscard]] Step forward(Step step, std::uint32_t by) const noexcept { return (step + by) % laps(); }
  [[nodiscard]] std::uint16_t offset_and_wrap(Step step) const noexcept;
  [[nodiscard]] std::uint16_t available_bits(Step step) const noexcept;

  std::byte* place(std::uint16_t index, bool write);
  void check_zeroed();
  [[nodiscard]] bool available(Step step, const vring_packed_desc& found);
  [[nodiscard]] Scan scan();
  bool add_descriptor(const vring_packed_desc& found, SimChain& chain);
  bool walk_indirect(const vring_packed_desc& table, SimChain& chain);
  void check_held(Step from, std::uint32_t count);
  [[nodiscard]] bool wants_interrupt(Step from);

  std::vector<vring_packed_desc> last_seen_;  // by index: as driver or device left it
  std::vector<std::pair<std::uint16_t, vring_packed_desc>> unpublished_;
  Step available_ = 0;      // the next that is looked at
  Step used_ = 0;           // the next that is written
  Step published_ = 0;      // used descriptors before it are visible
  std::uint32_t held_ = 0;  // descriptors taken and not given back
};

}  // namespace spinring::sim
