#include "tests/sim/sim_config_space.hpp"

#include <linux/pci_regs.h>

#include "tests/sim/uapi_virtio.hpp"

namespace spinring::sim {

SimConfigSpace::SimConfigSpace(const SimIdentity& identity, const SimLayout& layout, unsigned vectors) {
  put_header(identity, layout);
  const std::uint8_t plain = sizeof(virtio_pci_cap);
  put_virtio_cap(kCommonCap, 0, plain, VIRTIO_PCI_CAP_COMMON_CFG, layout.bar, layout.common,
                 layout.structure_bytes);
  put_virtio_cap(kIsrCap, kCommonCap, plain, VIRTIO_PCI_CAP_ISR_CFG, layout.bar, layout.isr,
                 layout.structure_bytes);
  put_virtio_cap(kDeviceCap, kIsrCap, plain, VIRTIO_PCI_CAP_DEVICE_CFG, layout.bar, layout.device,
                 layout.structure_bytes);
  put_virtio_cap(kNotifyCap, kDeviceCap, sizeof(virtio_pci_notify_cap), VIRTIO_PCI_CAP_NOTIFY_CFG, layout.bar,
                 layout.notify, layout.structure_bytes);
  write(kNotifyCap + VIRTIO_PCI_NOTIFY_CAP_MULT, 4, layout.notify_multiplier);
  put_virtio_cap(kPciCfgCap, kNotifyCap, sizeof(virtio_pci_cfg_cap), VIRTIO_PCI_CAP_PCI_CFG, 0, 0, 0);

  // MSI-X: table in BAR 1, pending bits at 0x800.
  write(kMsixCap + PCI_CAP_LIST_ID, 1, PCI_CAP_ID_MSIX);
  write(kMsixCap + PCI_CAP_LIST_NEXT, 1, kPciCfgCap);
  write(kMsixCap + PCI_MSIX_FLAGS, 2, vectors == 0 ? 0 : vectors - 1);
  write(kMsixCap + PCI_MSIX_TABLE, 4, 1);
  write(kMsixCap + PCI_MSIX_PBA, 4, 0x801);
  write(PCI_CAPABILITY_LIST, 1, vectors == 0 ? kPciCfgCap : kMsixCap);
}

void SimConfigSpace::put_header(const SimIdentity& identity, const SimLayout& layout) {
  const bool transitional = identity.device < 0x1040;
  write(PCI_VENDOR_ID, 2, identity.vendor);
  write(PCI_DEVICE_ID, 2, identity.device);
  write(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
  write(PCI_STATUS, 2, PCI_STATUS_CAP_LIST);
  // virtio 1.2, 4.1.2.1: revision 1 or higher for a modern device, 0 for a transitional one.
  write(PCI_REVISION_ID, 1, transitional ? 0 : 1);
  write(PCI_CLASS_DEVICE, 2, 0x0200);
  write(PCI_SUBSYSTEM_VENDOR_ID, 2, 0x1af4);
  write(PCI_SUBSYSTEM_ID, 2, transitional ? 0x0001 : 0x1100);
  write(PCI_BASE_ADDRESS_1, 4, 0xfebd1000U);
  const auto bar = static_cast<std::uint16_t>(PCI_BASE_ADDRESS_0 + 4U * layout.bar);
  write(bar, 4, 0xfe000000U | PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH);
}

void SimConfigSpace::put_virtio_cap(std::uint8_t at, std::uint8_t next, std::uint8_t length,
                                    std::uint8_t type, std::uint8_t bar, std::uint32_t offset,
                                    std::uint32_t bytes_long) {
  write(at + VIRTIO_PCI_CAP_VNDR, 1, PCI_CAP_ID_VNDR);
  write(at + VIRTIO_PCI_CAP_NEXT, 1, next);
  write(at + VIRTIO_PCI_CAP_LEN, 1, length);
  write(at + VIRTIO_PCI_CAP_CFG_TYPE, 1, type);
  write(at + VIRTIO_PCI_CAP_BAR, 1, bar);
  write(at + VIRTIO_PCI_CAP_OFFSET, 4, offset);
  write(at + VIRTIO_PCI_CAP_LENGTH, 4, bytes_long);
}

std::uint32_t SimConfigSpace::read(std::uint16_t offset, unsigned width) const noexcept {
  std::uint32_t value = 0;
  for (unsigned i = 0; i < width && i < 4; ++i) {
    // Extended configuration space is there and empty.
    const std::uint32_t byte = offset + i < bytes.size() ? bytes[offset + i] : 0U;
    value |= byte << (8 * i);
  }
  return value;
}

void SimConfigSpace::write(std::uint16_t offset, unsigned width, std::uint32_t value) noexcept {
  for (unsigned i = 0; i < width && i < 4; ++i) {
    if (offset + i < bytes.size()) bytes[offset + i] = static_cast<std::uint8_t>(value >> (8 * i));
  }
}

}  // namespace spinring::sim
