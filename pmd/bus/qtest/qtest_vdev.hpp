#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "mempool/memory.hpp"
#include "pmd/bus/pci_function.hpp"
#include "pmd/bus/qtest/qtest_config.hpp"

namespace spinring::pmd {

/// A device model asked for on a command line:
/// `qtest0,model=virtio-net-pci,queues=2,netdev=stream:/tmp/a.sock,mac=52:54:00:00:00:01,machine=lab,mrg_rxbuf=off`.
///
/// | key | value |
/// | --- | --- |
/// | model | QEMU's device name; virtio-net-pci if not given |
/// | netdev | what it is plugged into, see below; `none` if not given |
/// | queues | queue pairs, 1 to 16; more than 1 needs a netdev that has them (tap, or QEMU's own words) |
/// | mac | its address |
/// | machine | devices that name the same machine share one QEMU; `default` if not given |
/// | qemu | the QEMU program of its machine |
/// | any other | a property of the model, handed to QEMU as it is |
///
/// netdev: `none`; `hub:N` (a cable to every device of the same machine with the same N); `stream:PATH`
/// (connects to a unix socket, and again when it was closed); `stream-server:PATH` (listens);
/// `dgram:LOCAL:REMOTE` (unix datagrams); `tap:IFNAME` (an interface that exists); `qemu:OPTIONS` (any
/// -netdev of QEMU, without id, with ';' for ',').
struct QtestVdev {
  std::string name;  ///< "qtest0"
  std::string model = "virtio-net-pci";
  std::string netdev = "none";
  unsigned queues = 1;
  std::string mac;
  std::string machine = "default";
  std::string qemu;
  std::vector<std::pair<std::string, std::string>> properties;
};

/// True if a --vdev string is for this bus: its name begins with "qtest".
[[nodiscard]] bool is_qtest_vdev(std::string_view text) noexcept;

/// Errors: Errc::kBadArgument, which name the part that is wrong.
[[nodiscard]] Result<QtestVdev> parse_qtest_vdev(std::string_view text);

/// A machine to start, and which of the vdevs its devices are: vdevs[i] is device i.
struct QtestMachinePlan {
  QtestConfig config;
  std::vector<std::size_t> vdevs;
};

/// One plan for each machine that the vdevs name, in the order in which they appear.
[[nodiscard]] Result<std::vector<QtestMachinePlan>> plan_qtest_machines(const std::vector<QtestVdev>& vdevs);

/// The functions of several vdevs, in the order given: parses, starts the machines, takes the functions. Each
/// machine lives as long as one of its functions. `memory` outlives them all.
[[nodiscard]] Result<std::vector<std::unique_ptr<PciFunction>>> open_qtest_vdevs(
    mempool::Memory& memory, const std::vector<std::string>& vdevs);

}  // namespace spinring::pmd
