#include "vfio_glue/reset.hpp"

#include <linux/pci.h>
#include <linux/vfio.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "vfio_glue/errors.hpp"
#include "vfio_glue/info_chain.hpp"

namespace spinring::vfio_glue {

Result<void> reset_function(Sys& sys, int device_fd, const PciAddress& address) {
  const SysResult<int> done = sys.ioctl(device_fd, VFIO_DEVICE_RESET, 0);
  if (done) return {};
  return fail(Errc::kKernel, "VFIO_DEVICE_RESET", address.to_string(), done.error());
}

Result<std::vector<ResetPeer>> reset_peers(Sys& sys, int device_fd, const PciAddress& address) {
  const std::string operation = "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO";
  // With too little room the kernel says ENOSPC and leaves the number of devices in `count`. Devices can be
  // plugged in between the two calls, hence a few rounds.
  std::size_t room = 0;
  for (int attempt = 0; attempt < 4; ++attempt) {
    std::vector<std::byte> answer(sizeof(vfio_pci_hot_reset_info) + room * sizeof(vfio_pci_dependent_device));
    auto header = zeroed<vfio_pci_hot_reset_info>();
    header.argsz = static_cast<std::uint32_t>(answer.size());
    std::memcpy(answer.data(), &header, sizeof(header));
    const SysResult<int> done = ioctl_with(sys, device_fd, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, answer.data());
    std::memcpy(&header, answer.data(), sizeof(header));
    if (!done) {
      if (done.error() == ENODEV) {
        return fail(
            Errc::kNoReset, operation, address.to_string(), ENODEV,
            "Neither the function nor its bus can be reset: rebooting or unplugging is all that helps");
      }
      if (done.error() != ENOSPC || header.count <= room || header.count > 256) {
        return fail(Errc::kKernel, operation, address.to_string(), done.error());
      }
      room = header.count;
      continue;
    }
    std::vector<ResetPeer> peers;
    for (std::size_t i = 0; i < std::min<std::size_t>(header.count, room); ++i) {
      auto device = zeroed<vfio_pci_dependent_device>();
      std::memcpy(&device, answer.data() + sizeof(header) + i * sizeof(device), sizeof(device));
      peers.push_back(
          {PciAddress{device.segment, device.bus, static_cast<std::uint8_t>(PCI_SLOT(device.devfn)),
                      static_cast<std::uint8_t>(PCI_FUNC(device.devfn))},
           static_cast<int>(device.group_id)});
    }
    return peers;
  }
  return fail(Errc::kKernel, operation, address.to_string(), ENOSPC);
}

Result<void> reset_bus(Sys& sys, int device_fd, const PciAddress& address, const IommuBackend& backend) {
  Result<std::vector<ResetPeer>> peers = reset_peers(sys, device_fd, address);
  if (!peers) return fail(std::move(peers));
  Result<std::vector<int>> fds = backend.reset_proof(address, *peers);
  if (!fds) return fail(std::move(fds));

  std::vector<std::byte> request(sizeof(vfio_pci_hot_reset) + fds->size() * sizeof(std::int32_t));
  auto header = zeroed<vfio_pci_hot_reset>();
  header.argsz = static_cast<std::uint32_t>(request.size());
  header.count = static_cast<std::uint32_t>(fds->size());
  std::memcpy(request.data(), &header, sizeof(header));
  if (!fds->empty()) {
    std::memcpy(request.data() + sizeof(header), fds->data(), fds->size() * sizeof(std::int32_t));
  }
  const SysResult<int> done = ioctl_with(sys, device_fd, VFIO_DEVICE_PCI_HOT_RESET, request.data());
  if (done) return {};
  return fail(Errc::kKernel, "VFIO_DEVICE_PCI_HOT_RESET", address.to_string(), done.error());
}

}  // namespace spinring::vfio_glue
