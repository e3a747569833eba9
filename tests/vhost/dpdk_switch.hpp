#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace spinring::vhost_test {

using Frame = std::vector<std::uint8_t>;

/// What a switch's packet says beside its bytes: DPDK's mbuf, in this project's words.
struct SwitchPacket {
  Frame bytes;
  bool checksum =
      false;  ///< its L4 checksum is still to be filled in (to the port), or was asked for (from it)
  std::uint16_t segment_size = 0;  ///< of a TCP frame to be cut, or joined; 0: neither
  std::uint16_t l3 = 0;            ///< where the IP and the TCP or UDP header start
  std::uint16_t l4 = 0;
};

struct SwitchConfig {
  std::string path;
  bool client = false;         ///< connects to a port that listens
  std::uint64_t withheld = 0;  ///< virtio features not to offer
};

/// A folder for sockets, which the caller removes.
[[nodiscard]] std::string make_folder();

/// A software switch's end of vhost-user, by DPDK's library (librte_vhost) in this process: what it is told
/// to send goes into the port's receive queues, and it is asked for what the port sent. DPDK's own thread
/// serves the socket. One at a time.
class DpdkSwitch {
 public:
  /// Initialises DPDK once a process, without root, hugepages and files; the reason if that fails.
  [[nodiscard]] static std::string start_dpdk();

  explicit DpdkSwitch(const SwitchConfig& config);
  DpdkSwitch(const DpdkSwitch&) = delete;
  DpdkSwitch& operator=(const DpdkSwitch&) = delete;
  ~DpdkSwitch();

  /// Features that were negotiated; 0 while no port is connected.
  [[nodiscard]] std::uint64_t negotiated() const;
  /// How often the port was interrupted, of any queue, since the switch came.
  [[nodiscard]] unsigned interrupts() const;
  /// Rings that are enabled.
  [[nodiscard]] unsigned rings() const;
  /// How many of the frames went into receive queue `queue`.
  std::size_t deliver(std::span<const SwitchPacket> packets, unsigned queue = 0);
  std::size_t deliver(std::span<const Frame> frames, unsigned queue = 0);
  /// What the port sent by queue `queue`, 32 packets at most.
  std::vector<SwitchPacket> collect(unsigned queue = 0);

 private:
  std::string path_;
};

}  // namespace spinring::vhost_test
