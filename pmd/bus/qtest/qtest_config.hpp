#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace spinring::pmd {

/// One PCI device of a qtest machine.
struct QtestDevice {
  std::string name;     ///< what messages and PortInfo call it: "qtest0"
  std::string options;  ///< argument of -device without id, bus and addr: "virtio-net-pci,netdev=n0,mq=on"
};

/// A QEMU to start for its device models.
struct QtestConfig {
  std::string qemu = "qemu-system-x86_64";  ///< looked up in PATH
  std::vector<std::string> netdevs;         ///< arguments of -netdev: "stream,id=n0,..."
  std::vector<QtestDevice> devices;
  std::vector<std::string> extra;                   ///< further arguments, as they are
  std::chrono::milliseconds reply_timeout{10'000};  ///< for each answer, the first one included
};

}  // namespace spinring::pmd
