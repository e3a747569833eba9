#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace spinring::sim {

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

/// The device's side of one virtqueue, whatever its layout (virtio 1.2, 2.6). Broken rules of the driver are
/// told to `complain`; the ring is then broken and yields nothing more, as QEMU's does.
class SimRing {
 public:
  using Complain = std::function<void(const std::string&)>;

  SimRing() = default;
  SimRing(const SimRing&) = delete;
  SimRing& operator=(const SimRing&) = delete;
  virtual ~SimRing() = default;

  [[nodiscard]] virtual std::uint16_t size() const noexcept = 0;
  /// Chains that the driver has made available and the device has not taken.
  [[nodiscard]] virtual std::uint16_t waiting() = 0;
  /// Takes the next chain; nothing if there is none or the ring is broken.
  [[nodiscard]] virtual std::optional<SimChain> pop() = 0;
  /// Puts the chain that was popped last back, as if it had not been taken.
  virtual void unpop(const SimChain& chain) = 0;
  /// Writes a used entry for a chain; the driver sees it after publish().
  virtual void push(const SimChain& chain, std::uint32_t written) = 0;
  /// Makes pushed entries visible; true if the driver wants an interrupt for them.
  virtual bool publish() = 0;
  /// Tells the driver (not) to ring the doorbell.
  virtual void suppress_notifications(bool on) = 0;
  [[nodiscard]] virtual bool notifications_suppressed() const noexcept = 0;
  /// Chains taken and not given back.
  [[nodiscard]] virtual std::size_t outstanding() const noexcept = 0;
  [[nodiscard]] virtual bool broken() const noexcept = 0;
};

}  // namespace spinring::sim
