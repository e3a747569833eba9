#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tests/sim/sim_iommu.hpp"

namespace spinring::sim {

/// What both sides share in a ring is read and written in the stricter order, even where the specification
/// asks for less.
inline std::uint16_t load_acquire(const std::byte* at) {
  return __atomic_load_n(reinterpret_cast<const std::uint16_t*>(at), __ATOMIC_ACQUIRE);
}
inline void store_release(std::byte* at, std::uint16_t value) {
  __atomic_store_n(reinterpret_cast<std::uint16_t*>(at), value, __ATOMIC_RELEASE);
}

/// One buffer of a chain, as the descriptor names it: not yet translated.
struct SimSegment {
  std::uint64_t iova = 0;
  std::uint32_t length = 0;
  bool device_writes = false;
};

/// A descriptor chain that the device has taken from the driver and not yet given back.
struct SimChain {
  std::uint16_t id = 0;           ///< what the used entry must name
  std::uint16_t descriptors = 0;  ///< of the ring itself (an indirect chain takes one)
  bool indirect = false;
  std::vector<SimSegment> segments;

  [[nodiscard]] std::uint64_t readable() const noexcept;
  [[nodiscard]] std::uint64_t writable() const noexcept;
};

/// Where the driver put a ring, and what was negotiated for it (virtio 1.2, 2.6: the three areas).
struct RingConfig {
  std::uint16_t size = 0;
  std::uint64_t descriptors = 0;  ///< IOVAs
  std::uint64_t driver = 0;       ///< available ring, or the driver's event suppression
  std::uint64_t device = 0;       ///< used ring, or the device's event suppression
  bool event_idx = false;
  bool indirect = false;
  bool in_order = false;
  bool batch_used = false;  ///< one used entry for several chains, where IN_ORDER allows it
};

/// The device's side of one virtqueue, whatever its layout (virtio 1.2, 2.6). Broken rules of the driver are
/// told to `complain`; the ring is then broken and yields nothing more, as QEMU's does. What a layout has to
/// do is behind the private virtual functions; what holds for each is here: which chains are in flight, and
/// in what order and how many at a time they are given back.
class SimRing {
 public:
  using Complain = std::function<void(const std::string&)>;

  /// `begin` is the first position, as notification_data() says it.
  SimRing(SimIommu& iommu, const RingConfig& config, Complain complain, std::uint16_t begin);
  SimRing(const SimRing&) = delete;
  SimRing& operator=(const SimRing&) = delete;
  virtual ~SimRing() = default;

  [[nodiscard]] std::uint16_t size() const noexcept { return config_.size; }
  /// Chains that the driver has made available and the device has not taken.
  [[nodiscard]] virtual std::uint16_t waiting() = 0;
  /// Takes the next chain; nothing if there is none or the ring is broken.
  [[nodiscard]] std::optional<SimChain> pop();
  /// Puts the chain that was popped last back, as if it had not been taken.
  void unpop(const SimChain& chain);
  /// Writes a used entry for a chain; the driver sees it after publish(). In batches, a chain that was used
  /// completely may be left to the entry of one behind it (virtio 1.2, 2.7.9 and 2.8.8). A chain in flight
  /// that is not the oldest may be given back too: under IN_ORDER no honest device does that, and the entry
  /// is then written as if the order did not matter.
  void push(const SimChain& chain, std::uint32_t written);
  /// Makes pushed entries visible; true if the driver wants an interrupt for them.
  bool publish();
  /// From here on several chains share a used entry, or not; without IN_ORDER it changes nothing.
  void batch_used(bool on) noexcept { config_.batch_used = on; }

  /// Tells the driver (not) to ring the doorbell.
  void suppress_notifications(bool on);
  [[nodiscard]] bool notifications_suppressed() const noexcept { return suppressed_; }
  /// What a doorbell must say above the queue's index with NOTIFICATION_DATA (virtio 1.2, 2.9).
  [[nodiscard]] virtual std::uint16_t notification_data() = 0;

  /// The driver rang the doorbell.
  void doorbell();
  /// Whether the driver owes a doorbell: chains became available that the device wanted to hear of (virtio
  /// 1.2, 2.7.10.1 and 2.8.22), and it did not. For stories on one thread, between the driver's bursts.
  [[nodiscard]] bool doorbell_missing();

  /// Chains taken and not given back.
  [[nodiscard]] std::size_t outstanding() const noexcept { return in_flight_.size(); }
  [[nodiscard]] bool broken() const noexcept { return broken_; }

  // --- a hostile device ---
  /// A used entry of any id and length, not checked and not taken from the chains in flight. A packed ring
  /// goes on so many descriptors behind it.
  void push_raw(std::uint32_t id, std::uint32_t length, std::uint16_t descriptors = 1);

 protected:
  /// A used entry, which may stand for a batch: of the last chain in it.
  struct Used {
    std::uint32_t id = 0;
    std::uint32_t length = 0;
    std::uint16_t chains = 0;
    std::uint16_t descriptors = 0;
  };

  [[nodiscard]] const RingConfig& config() const noexcept { return config_; }
  /// Memory as the device reaches it; nullptr, and the ring broken, if it does not.
  std::byte* area(std::uint64_t iova, std::uint64_t length, bool write);
  void complain(const std::string& what);
  /// Appends a descriptor's buffer, which must be mapped, and not readable behind a writable one.
  bool add_segment(std::uint64_t iova, std::uint32_t length, bool device_writes, SimChain& chain);
  /// The entries of an indirect table, of 16 bytes each in both layouts; nullptr: a rule was broken.
  const std::byte* indirect_table(std::uint64_t iova, std::uint32_t bytes);
  [[nodiscard]] bool in_flight(std::uint16_t id) const noexcept;

 private:
  /// The next chain out of the ring.
  virtual std::optional<SimChain> take() = 0;
  virtual void put_back(const SimChain& chain) = 0;
  /// The chain is the driver's again as soon as its entry is published.
  virtual void release(const SimChain& chain) = 0;
  virtual void write_used(const Used& used) = 0;
  virtual bool expose() = 0;
  /// Writes down whether the device wants doorbells; with EVENT_IDX, for the first chain not taken.
  virtual void announce() = 0;

  void tell_driver();
  void flush_batch();

  SimIommu& iommu_;
  RingConfig config_;
  Complain complain_;
  std::deque<std::uint16_t> in_flight_;  // ids, the oldest first
  Used batch_;                           // not written yet
  std::uint16_t heard_;                  // up to where the device knows that chains are available
  bool event_ahead_ = true;              // the chain that the driver is to tell of is not there yet
  bool suppressed_ = false;
  bool broken_ = false;
};

}  // namespace spinring::sim
