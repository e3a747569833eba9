// The device's descriptor: drivers/vfio/pci/vfio_pci_core.c, vfio_pci_intrs.c, vfio_pci_config.c as seen from
// outside.
#include <fmt/format.h>
#include <linux/pci.h>
#include <linux/vfio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "tests/sim/fake_kernel.hpp"
#include "tests/sim/ioctl_argument.hpp"

namespace spinring::sim {
namespace {

constexpr std::uint64_t kRegionShift = 40;  // VFIO_PCI_OFFSET_SHIFT

void signal(const Fd& event) {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(event.get(), &one, sizeof(one));
}

}  // namespace

FakeKernel::Answer FakeKernel::device_ioctl(File& file, unsigned long request, unsigned long argument) {
  FakeDevice& device = devices_.at(file.device);
  switch (request) {
    case VFIO_DEVICE_GET_INFO: {
      auto& info = *as<vfio_device_info>(argument);
      if (info.argsz < offsetof(vfio_device_info, cap_offset)) return error(EINVAL);
      info.flags = VFIO_DEVICE_FLAGS_PCI | (device.function_reset ? VFIO_DEVICE_FLAGS_RESET : 0);
      info.num_regions = VFIO_PCI_NUM_REGIONS;
      info.num_irqs = VFIO_PCI_NUM_IRQS;
      return 0;
    }
    case VFIO_DEVICE_GET_REGION_INFO:
      return region_info(device, argument);
    case VFIO_DEVICE_GET_IRQ_INFO:
      return irq_info(device, argument);
    case VFIO_DEVICE_SET_IRQS:
      return set_irqs(device, argument);
    case VFIO_DEVICE_RESET:
      if (!device.function_reset) return error(EINVAL);
      ++device.function_resets;
      return 0;
    case VFIO_DEVICE_GET_PCI_HOT_RESET_INFO:
      return hot_reset_info(device, argument);
    case VFIO_DEVICE_PCI_HOT_RESET:
      return hot_reset(device, argument);
    default:
      return error(ENOTTY);
  }
}

FakeKernel::Answer FakeKernel::region_info(FakeDevice& device, unsigned long argument) {
  auto& info = *as<vfio_region_info>(argument);
  if (info.argsz < sizeof(info) || info.index >= VFIO_PCI_NUM_REGIONS) return error(EINVAL);
  info.offset = static_cast<std::uint64_t>(info.index) << kRegionShift;
  info.flags = 0;
  info.size = 0;
  info.cap_offset = 0;
  if (info.index == VFIO_PCI_CONFIG_REGION_INDEX) {
    info.size = device.config.size();
    info.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
    return 0;
  }
  if (info.index >= device.bars.size() || device.bars[info.index].size == 0) return 0;
  const FakeBar& bar = device.bars[info.index];
  info.size = bar.size;
  info.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
  if (bar.mappable) info.flags |= VFIO_REGION_INFO_FLAG_MMAP;

  std::vector<std::byte> chain;
  const auto grow = [&chain](auto capability, std::uint16_t id, std::size_t extra) {
    const std::size_t at = chain.size();
    chain.resize(at + sizeof(capability) + extra);
    // The offset of the next one, counted from the start of the answer; cut off the last one below.
    const vfio_info_cap_header header{id, 1, static_cast<__u32>(sizeof(vfio_region_info) + chain.size())};
    std::memcpy(&capability, &header, sizeof(header));
    std::memcpy(chain.data() + at, &capability, sizeof(capability));
    return at;
  };
  std::size_t last = 0;
  if (bar.msix_capability) last = grow(zeroed<vfio_info_cap_header>(), VFIO_REGION_INFO_CAP_MSIX_MAPPABLE, 0);
  if (!bar.sparse.empty()) {
    auto sparse = zeroed<vfio_region_info_cap_sparse_mmap>();
    sparse.nr_areas = static_cast<__u32>(bar.sparse.size());
    last = grow(sparse, VFIO_REGION_INFO_CAP_SPARSE_MMAP,
                bar.sparse.size() * sizeof(vfio_region_sparse_mmap_area));
    std::byte* at = chain.data() + last + sizeof(sparse);
    for (const auto& [offset, size] : bar.sparse) {
      const vfio_region_sparse_mmap_area area{offset, size};
      std::memcpy(at, &area, sizeof(area));
      at += sizeof(area);
    }
  }
  if (chain.empty()) return 0;
  const __u32 end = 0;
  std::memcpy(chain.data() + last + offsetof(vfio_info_cap_header, next), &end, sizeof(end));
  info.flags |= VFIO_REGION_INFO_FLAG_CAPS;
  if (info.argsz < sizeof(info) + chain.size()) {
    info.argsz = static_cast<__u32>(sizeof(info) + chain.size());
    return 0;
  }
  info.cap_offset = sizeof(info);
  std::memcpy(as<std::byte>(argument) + sizeof(info), chain.data(), chain.size());
  return 0;
}

FakeKernel::Answer FakeKernel::irq_info(FakeDevice& device, unsigned long argument) {
  auto& info = *as<vfio_irq_info>(argument);
  if (info.argsz < sizeof(info) || info.index >= VFIO_PCI_NUM_IRQS) return error(EINVAL);
  // Error interrupts exist on PCI Express functions only.
  if (info.index == VFIO_PCI_ERR_IRQ_INDEX && device.irq_counts[info.index] == 0) return error(EINVAL);
  info.count = device.irq_counts[info.index];
  info.flags = VFIO_IRQ_INFO_EVENTFD;
  if (info.index == VFIO_PCI_INTX_IRQ_INDEX) info.flags |= VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED;
  return 0;
}

FakeKernel::Answer FakeKernel::set_irqs(FakeDevice& device, unsigned long argument) {
  const auto& set = *as<vfio_irq_set>(argument);
  if (set.argsz < sizeof(set) || set.index >= VFIO_PCI_NUM_IRQS) return error(EINVAL);
  const unsigned limit = device.irq_counts[set.index];
  if (set.start >= limit || set.count > limit - set.start) return error(EINVAL);
  const std::uint32_t data = set.flags & VFIO_IRQ_SET_DATA_TYPE_MASK;
  const std::uint32_t action = set.flags & VFIO_IRQ_SET_ACTION_TYPE_MASK;
  if (action == VFIO_IRQ_SET_ACTION_TRIGGER && data == VFIO_IRQ_SET_DATA_NONE && set.count == 0) {
    device.armed[set.index].clear();
    return 0;
  }
  if (action == VFIO_IRQ_SET_ACTION_TRIGGER && data == VFIO_IRQ_SET_DATA_EVENTFD) {
    if (set.count == 0 || set.start != 0 || set.argsz - sizeof(set) < set.count * sizeof(std::int32_t)) {
      return error(EINVAL);
    }
    std::vector<int> fds(set.count);
    std::memcpy(fds.data(), set.data, fds.size() * sizeof(int));
    return arm(device, set.index, fds);
  }
  const bool masks = action == VFIO_IRQ_SET_ACTION_MASK || action == VFIO_IRQ_SET_ACTION_UNMASK;
  if (!masks) return error(EINVAL);
  // MSI and MSI-X have no mask in this interface.
  if (set.index != VFIO_PCI_INTX_IRQ_INDEX) return error(ENOTTY);
  if (device.armed[set.index].empty() || data != VFIO_IRQ_SET_DATA_NONE || set.start != 0 || set.count != 1) {
    return error(EINVAL);
  }
  device.intx_masked = action == VFIO_IRQ_SET_ACTION_MASK;
  if (!device.intx_masked && device.intx_pending) raise_intx(device);
  return 0;
}

FakeKernel::Answer FakeKernel::arm(FakeDevice& device, unsigned index, const std::vector<int>& fds) {
  if (index <= VFIO_PCI_MSIX_IRQ_INDEX) {
    for (unsigned other = 0; other <= VFIO_PCI_MSIX_IRQ_INDEX; ++other) {
      if (other != index && !device.armed[other].empty()) return error(EINVAL);
    }
  }
  // vfio_msi_enable(): fewer vectors than asked for is a positive answer.
  if (index != VFIO_PCI_INTX_IRQ_INDEX && index <= VFIO_PCI_MSIX_IRQ_INDEX && fds.size() > free_vectors) {
    return free_vectors == 0 ? error(ENOSPC) : Answer(static_cast<int>(free_vectors));
  }
  std::vector<Fd> events;
  for (const int fd : fds) {
    const File* file = find(fd);
    if (file == nullptr || file->kind != Kind::kEvent) return error(EBADF);
    events.emplace_back(::dup(fd));
  }
  device.armed[index] = std::move(events);
  device.intx_masked = false;
  device.intx_pending = false;
  return 0;
}

void FakeKernel::raise_intx(FakeDevice& device) {
  signal(device.armed[VFIO_PCI_INTX_IRQ_INDEX][0]);
  device.intx_masked = true;  // AUTOMASKED
  device.intx_pending = false;
}

bool FakeKernel::fire(std::string_view address, unsigned index, unsigned vector) {
  sync();
  FakeDevice& device = at(address);
  if (vector >= device.armed[index].size()) return false;
  if (index == VFIO_PCI_INTX_IRQ_INDEX) {
    device.intx_pending = true;
    if (device.intx_masked) return false;
    raise_intx(device);
    return true;
  }
  signal(device.armed[index][vector]);
  return true;
}

std::vector<FakeDevice*> FakeKernel::same_bus(const FakeDevice& device) {
  std::vector<FakeDevice*> peers;
  for (auto& [name, other] : devices_) {
    if (other.address.domain == device.address.domain && other.address.bus == device.address.bus) {
      peers.push_back(&other);
    }
  }
  return peers;
}

FakeKernel::Answer FakeKernel::hot_reset_info(FakeDevice& device, unsigned long argument) {
  auto& info = *as<vfio_pci_hot_reset_info>(argument);
  if (info.argsz < sizeof(info)) return error(EINVAL);
  if (!device.bus_reset) return error(ENODEV);
  const std::vector<FakeDevice*> peers = same_bus(device);
  info.flags = 0;
  info.count = static_cast<__u32>(peers.size());
  if (info.argsz < sizeof(info) + peers.size() * sizeof(vfio_pci_dependent_device)) return error(ENOSPC);
  for (std::size_t i = 0; i < peers.size(); ++i) {
    const vfio_glue::PciAddress& address = peers[i]->address;
    info.devices[i] = {static_cast<__u32>(peers[i]->group), static_cast<__u16>(address.domain), address.bus,
                       static_cast<__u8>(PCI_DEVFN(address.device, address.function))};
  }
  return 0;
}

FakeKernel::Answer FakeKernel::hot_reset(FakeDevice& device, unsigned long argument) {
  const auto& request = *as<vfio_pci_hot_reset>(argument);
  if (request.argsz < sizeof(request) + request.count * sizeof(std::int32_t) || request.flags != 0 ||
      request.count == 0 || !device.bus_reset) {
    return error(EINVAL);
  }
  std::set<int> owned;
  for (std::uint32_t i = 0; i < request.count; ++i) {
    const File* file = find(request.group_fds[i]);
    if (file == nullptr || file->kind != Kind::kGroup) return error(EINVAL);
    owned.insert(file->group);
  }
  const std::vector<FakeDevice*> peers = same_bus(device);
  if (std::any_of(peers.begin(), peers.end(),
                  [&](const FakeDevice* peer) { return !owned.contains(peer->group); })) {
    return error(EINVAL);
  }
  for (FakeDevice* peer : peers) ++peer->bus_resets;
  return 0;
}

/// vfio_pci_core_disable(): interrupts go, bus mastering is off.
void FakeKernel::close_device(FakeDevice& device) {
  if (device.bus_master()) violation(device.address.to_string() + " was closed while it could DMA");
  device.config[4] &= 0xfbU;
  for (std::vector<Fd>& events : device.armed) events.clear();
}

vfio_glue::SysResult<std::size_t> FakeKernel::device_io(FakeDevice& device, void* buffer, std::size_t length,
                                                        std::uint64_t offset, bool write) {
  const auto index = static_cast<std::size_t>(offset >> kRegionShift);
  const std::uint64_t inside = offset & ((1ULL << kRegionShift) - 1);
  if (index == VFIO_PCI_CONFIG_REGION_INDEX) {
    if (inside + length > device.config.size()) return error(EINVAL);
    if (write) {
      std::memcpy(device.config.data() + inside, buffer, length);
    } else {
      std::memcpy(buffer, device.config.data() + inside, length);
    }
    return length;
  }
  if (index >= device.bars.size() || inside + length > device.bars[index].size) return error(EINVAL);
  if (!device.memory_space()) return error(EIO);
  const int memory = device.bar_memory[index].get();
  const ssize_t done = write ? ::pwrite(memory, buffer, length, static_cast<off_t>(inside))
                             : ::pread(memory, buffer, length, static_cast<off_t>(inside));
  if (done < 0) return error(errno);
  return static_cast<std::size_t>(done);
}

std::uint32_t FakeKernel::peek(std::string_view address, unsigned bar, std::uint64_t offset) {
  std::uint32_t value = 0;
  if (::pread(at(address).bar_memory.at(bar).get(), &value, sizeof(value), static_cast<off_t>(offset)) !=
      sizeof(value)) {
    violation("peek failed");
  }
  return value;
}

void FakeKernel::poke(std::string_view address, unsigned bar, std::uint64_t offset, std::uint32_t value) {
  if (::pwrite(at(address).bar_memory.at(bar).get(), &value, sizeof(value), static_cast<off_t>(offset)) !=
      sizeof(value)) {
    violation("poke failed");
  }
}

}  // namespace spinring::sim
