#include "pmd/open.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "pmd/e1000/device.hpp"
#include "pmd/e1000/models.hpp"
#include "pmd/e1000/port.hpp"
#include "pmd/e1000/sheet_models.hpp"
#include "pmd/e1000/vf_device.hpp"
#include "pmd/errors.hpp"
#include "pmd/virtio/pci_transport.hpp"
#include "pmd/virtio/port.hpp"
#include "pmd/virtio/vhost_user/transport.hpp"
#include "pmd/virtio/vhost_user/virtio_user_vdev.hpp"

namespace spinring::pmd {
namespace {

using OpenFunction = Result<std::unique_ptr<AnyPort>> (*)(std::unique_ptr<PciFunction>, mempool::Memory&);

Result<std::unique_ptr<AnyPort>> open_virtio(Result<std::unique_ptr<virtio::Transport>> transport,
                                             mempool::Memory& memory) {
  if (!transport) return fail(std::move(transport));
  auto device = virtio::NetDevice::open(std::move(*transport), memory);
  if (!device) return fail(std::move(device));
  return std::make_unique<virtio::VirtioPort<SpinringPackets>>(std::move(*device), memory);
}

Result<std::unique_ptr<AnyPort>> open_virtio_net(std::unique_ptr<PciFunction> function,
                                                 mempool::Memory& memory) {
  return open_virtio(virtio::PciTransport::create(std::move(function)), memory);
}

/// `Kind`: e1000::Device or e1000::VfDevice.
template <class Kind, const e1000::Model& kModel>
Result<std::unique_ptr<AnyPort>> open_e1000(std::unique_ptr<PciFunction> function, mempool::Memory& memory) {
  auto device = Kind::open(std::move(function), kModel);
  if (!device) return fail(std::move(device));
  return std::make_unique<e1000::E1000Port<SpinringPackets>>(std::move(*device), memory);
}

struct Row {
  std::uint16_t vendor;
  std::uint16_t device;
  std::string_view what;
  OpenFunction open;
};

constexpr Row virtio_net(std::uint16_t device) { return {0x1AF4, device, "virtio-net", open_virtio_net}; }

/// `Kind`: as of open_e1000().
template <class Kind, const e1000::Model& kModel>
constexpr Row intel(std::uint16_t device) {
  return {0x8086, device, kModel.name, open_e1000<Kind, kModel>};
}

/// Who drives what.
constexpr std::array kDevices{
    virtio_net(0x1041),  // virtio 1.2, 4.1.2: 0x1040 + device type 1
    virtio_net(0x1000),  // transitional network device, driven in its modern mode
    intel<e1000::Device, e1000::k82540em>(0x100E),
    intel<e1000::Device, e1000::k82544gc>(0x100C),
    intel<e1000::Device, e1000::k82545em>(0x100F),
    intel<e1000::Device, e1000::k82574l>(0x10D3),
    intel<e1000::Device, e1000::k82576eb>(0x10C9),
    // By the data sheet alone: sheet_models.hpp.
    intel<e1000::Device, e1000::kI350Copper>(0x1521),
    intel<e1000::Device, e1000::kI210Copper>(0x1533),
    intel<e1000::Device, e1000::kI211Copper>(0x1539),
    intel<e1000::Device, e1000::kI217Lm>(0x153A),
    intel<e1000::Device, e1000::kI217Lm>(0x153B),
    intel<e1000::Device, e1000::kI219Lm>(0x156F),
    intel<e1000::Device, e1000::kI219Lm>(0x1570),
    intel<e1000::VfDevice, e1000::k82576vf>(0x10CA),
};

std::string list_devices() {
  std::string list;
  for (const Row& row : kDevices) {
    list += fmt::format("{}{:04x}:{:04x} {}", list.empty() ? "" : ", ", row.vendor, row.device, row.what);
  }
  return list;
}

}  // namespace

Result<std::unique_ptr<AnyPort>> open_port(std::unique_ptr<PciFunction> function, mempool::Memory& memory) {
  auto ids = function->read_config(0, 4);
  if (!ids) return fail(std::move(ids));
  const auto vendor = static_cast<std::uint16_t>(*ids);
  const auto device = static_cast<std::uint16_t>(*ids >> 16);
  const auto row = std::find_if(kDevices.begin(), kDevices.end(),
                                [&](const Row& r) { return r.vendor == vendor && r.device == device; });
  if (row == kDevices.end()) {
    return fail(Errc::kUnknownDevice, fmt::format("opening {:04x}:{:04x}", vendor, device), function->name(),
                0, "Devices that spinring drives: " + list_devices());
  }
  return row->open(std::move(function), memory);
}

Result<std::unique_ptr<AnyPort>> open_virtio_user(std::string_view vdev, mempool::Memory& memory) {
  auto config = virtio::vhost_user::parse_virtio_user_vdev(vdev);
  if (!config) return fail(std::move(config));
  return open_virtio(virtio::vhost_user::VhostUserTransport::create(*config, memory), memory);
}

}  // namespace spinring::pmd
