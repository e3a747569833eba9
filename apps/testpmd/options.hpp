#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <tl/expected.hpp>

#include "apps/testpmd/modes.hpp"
#include "lcore/core_list.hpp"
#include "lcore/idle.hpp"
#include "pmd/port.hpp"

namespace spinring::testpmd {

enum class LogVerbosity { kDebug, kInfo, kWarning, kError };

/// What stands before `--`: the machine's side, as DPDK's EAL has it.
struct MachineOptions {
  std::vector<lcore::LcoreSpec> lcores;  ///< the first is the main one; empty: every CPU allowed
  std::vector<std::string> pci;          ///< -a, in the order given
  std::vector<std::string> vdevs;        ///< --vdev, "name,key=value,..."; numbered after the -a ports
  bool hugepages = true;
  std::size_t memory_mb = 0;  ///< 0: what pool and rings need
  std::size_t huge_page_size = 2UL << 20;
  bool no_iommu = false;
  LogVerbosity log_level = LogVerbosity::kInfo;
};

/// What stands after `--`: the forwarder's side.
struct ForwardOptions {
  bool interactive = false;
  bool auto_start = false;
  ForwardMode mode = ForwardMode::kIo;
  PortTopology topology = PortTopology::kPaired;
  std::uint16_t rx_queues = 1;
  std::uint16_t tx_queues = 1;
  std::uint16_t rx_ring = 0;  ///< entries; 0: 256, or what the device has
  std::uint16_t tx_ring = 0;
  std::uint16_t rx_fill =
      0;  ///< packets that the device holds for an RX queue at most; 0: as many as the ring takes
  std::uint16_t burst = 32;
  std::uint32_t tx_retries = 0;   ///< --burst-tx-retry-num
  unsigned forwarding_cores = 0;  ///< 0: all but the main one
  std::uint32_t tx_first = 0;     ///< bursts to send before forwarding
  double stats_period_s = 0;      ///< 0: none
  double duration_s = 0;          ///< 0: until a signal
  std::string json_file;          ///< empty: none; "-": standard output
  std::uint32_t packets = 0;      ///< 0: what the rings need
  std::uint16_t buffer_length = 2304;
  std::uint16_t tx_length = 64;
  std::map<unsigned, pmd::MacAddress> peers;  ///< --eth-peer
  lcore::IdlePolicy idle;
  bool auto_recover = true;
  bool rx_checksum = false;     ///< --enable-rx-cksum
  bool coalesce = false;        ///< --enable-lro
  std::uint32_t rss_types = 0;  ///< --rss-ip, --rss-udp: pmd::RssTypes; 0: no RSS
  std::uint16_t mtu = 0;        ///< from --max-pkt-len; 0: the device's
};

struct Options {
  MachineOptions machine;
  ForwardOptions forward;
};

/// Why there are no options to run with: --help or --version (exit code 0, for standard output), or a mistake
/// (exit code 2, for standard error), with the option's name and the values that it takes.
struct Usage {
  int exit_code = 2;
  std::string text;
};

/// `arguments` without the program's name.
[[nodiscard]] tl::expected<Options, Usage> parse_options(const std::vector<std::string>& arguments);

}  // namespace spinring::testpmd
