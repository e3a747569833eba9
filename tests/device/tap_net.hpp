#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "base/fd.hpp"
#include "base/time.hpp"
#include "tests/device/rig.hpp"

/// What lies behind a NIC that is a tap of the kernel's: a network namespace for the test, and its far ends.
namespace spinring::test {

/// The tap that QEMU opens.
inline constexpr const char* kTap = "sr0";

/// A network namespace for this process, empty but for what we put there: as root, or through a user
/// namespace. The reason if that cannot be.
std::string enter_namespace();

/// virtio 1.2, 5.1.6, without num_buffers: what a packet socket with PACKET_VNET_HDR takes before a frame.
struct PlainNetHeader {
  std::uint8_t flags = 0;
  std::uint8_t gso_type = 0;
  std::uint16_t hdr_len = 0;
  std::uint16_t gso_size = 0;
  std::uint16_t csum_start = 0;
  std::uint16_t csum_offset = 0;
};

/// A packet socket on the tap, which it sets up: the host's side of the NIC. Frames that it sends arrive at
/// the NIC; with a header, as the kernel's own do that leave checksums and segments to the NIC.
class TapPeer {
 public:
  explicit TapPeer(bool headers = false);

  void send(const Frame& frame) const { send(frame, {}); }
  void send(const Frame& frame, const PlainNetHeader& header) const;
  /// The next frame that the NIC sent.
  [[nodiscard]] std::optional<Frame> receive(Deadline deadline) const;

 private:
  bool headers_;
  Fd socket_;
};

/// A bridge from the tap to a second tap of ours that takes neither partial checksums nor segments to cut:
/// what comes out of it the kernel has completed.
class BridgedTap {
 public:
  BridgedTap();
  ~BridgedTap();
  BridgedTap(const BridgedTap&) = delete;
  BridgedTap& operator=(const BridgedTap&) = delete;

  /// The next frame from `source`.
  [[nodiscard]] std::optional<Frame> receive(const std::array<std::uint8_t, 6>& source,
                                             Deadline deadline) const;

 private:
  Fd tap_;
};

}  // namespace spinring::test
