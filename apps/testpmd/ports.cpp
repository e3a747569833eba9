#include "apps/testpmd/ports.hpp"

#include "pmd/bus/qtest/qtest_vdev.hpp"
#include "pmd/errors.hpp"
#include "pmd/open.hpp"
#include "pmd/virtio/vhost_user/virtio_user_vdev.hpp"

namespace spinring::testpmd {
namespace {

using pmd::virtio::vhost_user::is_virtio_user_vdev;

Result<void> add_port(OpenPorts& open, Result<std::unique_ptr<pmd::AnyPort>> port) {
  if (!port) return fail(std::move(port));
  open.ports.push_back(std::move(*port));
  return {};
}

Result<void> open_vfio(OpenPorts& open, const MachineOptions& options, mempool::Memory& memory) {
  if (options.pci.empty()) return {};
  auto bus = pmd::VfioBus::create(memory, {.bind = true, .no_iommu = options.no_iommu});
  if (!bus) return fail(std::move(bus));
  open.vfio = std::move(*bus);
  for (const std::string& address : options.pci) {
    auto function = open.vfio->open(address);
    if (!function) return fail(std::move(function));
    if (auto ok = add_port(open, pmd::open_port(std::move(*function), memory)); !ok) return ok;
  }
  return {};
}

Result<void> open_vdevs(OpenPorts& open, const MachineOptions& options, mempool::Memory& memory) {
  std::vector<std::string> models;  // opened together: some share a machine
  for (const std::string& vdev : options.vdevs) {
    if (pmd::is_qtest_vdev(vdev)) {
      models.push_back(vdev);
    } else if (!is_virtio_user_vdev(vdev)) {
      return fail(pmd::Errc::kUnknownDevice, "--vdev", vdev, 0,
                  "Name a device model, qtest0,model=virtio-net-pci, or a vhost-user port, "
                  "virtio_user0,path=SOCKET");
    }
  }
  auto functions = pmd::open_qtest_vdevs(memory, models);
  if (!functions) return fail(std::move(functions));
  auto function = functions->begin();
  for (const std::string& vdev : options.vdevs) {
    auto port = pmd::is_qtest_vdev(vdev) ? pmd::open_port(std::move(*function++), memory)
                                         : pmd::open_virtio_user(vdev, memory);
    if (auto ok = add_port(open, std::move(port)); !ok) return ok;
  }
  return {};
}

}  // namespace

Result<OpenPorts> open_ports(const MachineOptions& options, mempool::Memory& memory) {
  OpenPorts open;
  if (auto ok = open_vfio(open, options, memory); !ok) return fail(std::move(ok));
  if (auto ok = open_vdevs(open, options, memory); !ok) return fail(std::move(ok));
  return open;
}

}  // namespace spinring::testpmd
