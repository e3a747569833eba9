// Containers, groups and the type 1 IOMMU: drivers/vfio/{container,group,vfio_iommu_type1}.c as seen from
// outside.
#include <fmt/format.h>
#include <linux/vfio.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

#include "tests/sim/fake_kernel.hpp"
#include "tests/sim/ioctl_argument.hpp"

namespace spinring::sim {
namespace {

using vfio_glue::IovaRange;

std::vector<IovaRange> intersect(const std::vector<IovaRange>& left, const std::vector<IovaRange>& right) {
  std::vector<IovaRange> both;
  for (const IovaRange& a : left) {
    for (const IovaRange& b : right) {
      const IovaRange overlap{std::max(a.first, b.first), std::min(a.last, b.last)};
      if (overlap.first <= overlap.last) both.push_back(overlap);
    }
  }
  return both;
}

bool inside(const std::vector<IovaRange>& ranges, std::uint64_t start, std::uint64_t size) {
  return std::any_of(ranges.begin(), ranges.end(), [&](const IovaRange& range) {
    return start >= range.first && start + (size - 1) <= range.last;
  });
}

}  // namespace

FakeKernel::Answer FakeKernel::container_ioctl(File& file, unsigned long request, unsigned long argument) {
  Container& container = containers_.at(file.container);
  switch (request) {
    case VFIO_GET_API_VERSION:
      return api_version;
    case VFIO_CHECK_EXTENSION:
      return (argument == VFIO_TYPE1v2_IOMMU && type1v2) || (argument == VFIO_TYPE1_IOMMU && type1) ||
                     (argument == VFIO_NOIOMMU_IOMMU && noiommu)
                 ? 1
                 : 0;
    case VFIO_SET_IOMMU:
      return set_iommu(container, argument);
    default:
      break;
  }
  if (!container.iommu_set) return error(EINVAL);
  if (container.iommu_type == VFIO_NOIOMMU_IOMMU) return error(ENOTTY);
  switch (request) {
    case VFIO_IOMMU_GET_INFO:
      return iommu_info(container, argument);
    case VFIO_IOMMU_MAP_DMA:
      return map_dma(container, argument);
    case VFIO_IOMMU_UNMAP_DMA:
      return unmap_dma(container, argument);
    default:
      return error(ENOTTY);
  }
}

FakeKernel::Answer FakeKernel::set_iommu(Container& container, unsigned long type) {
  if (container.groups.empty() || container.iommu_set) return error(EINVAL);
  const bool offered = (type == VFIO_TYPE1v2_IOMMU && type1v2) || (type == VFIO_TYPE1_IOMMU && type1) ||
                       (type == VFIO_NOIOMMU_IOMMU && noiommu);
  if (!offered) return error(ENODEV);
  if (type != VFIO_NOIOMMU_IOMMU && !interrupt_remapping) return error(EPERM);
  container.iommu_set = true;
  container.iommu_type = type;
  return 0;
}

std::vector<IovaRange> FakeKernel::ranges_of(const Container& container) const {
  std::vector<IovaRange> result = ranges;
  for (const int group : container.groups) {
    if (const auto limit = group_ranges.find(group); limit != group_ranges.end()) {
      result = intersect(result, limit->second);
    }
  }
  return result;
}

FakeKernel::Answer FakeKernel::iommu_info(const Container& container, unsigned long argument) {
  auto* info = as<vfio_iommu_type1_info>(argument);
  if (info->argsz < offsetof(vfio_iommu_type1_info, cap_offset)) return error(EINVAL);
  const std::vector<IovaRange> valid = ranges_of(container);
  // Migration first: a reader must step over what it does not know.
  const std::size_t migration = sizeof(vfio_iommu_type1_info_cap_migration);
  const std::size_t iova =
      report_ranges ? sizeof(vfio_iommu_type1_info_cap_iova_range) + valid.size() * sizeof(vfio_iova_range)
                    : 0;
  const std::size_t needed = sizeof(*info) + migration + iova + sizeof(vfio_iommu_type1_info_dma_avail);
  info->flags = VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS;
  info->iova_pgsizes = page_sizes;
  if (info->argsz < needed) {
    info->argsz = static_cast<__u32>(needed);
    info->cap_offset = 0;
    return 0;
  }
  info->cap_offset = sizeof(*info);
  auto* at = as<std::byte>(argument) + sizeof(*info);
  std::uint32_t offset = sizeof(*info);
  const auto put = [&](auto capability, std::uint16_t id, std::size_t size, bool last) {
    capability.header = {id, 1, last ? 0 : static_cast<__u32>(offset + size)};
    std::memcpy(at, &capability, sizeof(capability));
    return std::exchange(at, at + size);
  };
  put(zeroed<vfio_iommu_type1_info_cap_migration>(), VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION, migration, false);
  offset += static_cast<std::uint32_t>(migration);
  if (report_ranges) {
    auto header = zeroed<vfio_iommu_type1_info_cap_iova_range>();
    header.nr_iovas = static_cast<__u32>(valid.size());
    std::byte* capability = put(header, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, iova, false) + sizeof(header);
    for (const IovaRange& range : valid) {
      const vfio_iova_range wire{range.first, range.last};
      std::memcpy(capability, &wire, sizeof(wire));
      capability += sizeof(wire);
    }
    offset += static_cast<std::uint32_t>(iova);
  }
  auto avail = zeroed<vfio_iommu_type1_info_dma_avail>();
  avail.avail = dma_entry_limit - static_cast<__u32>(container.maps.size());
  put(avail, VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, sizeof(avail), true);
  return 0;
}

FakeKernel::Answer FakeKernel::map_dma(Container& container, unsigned long argument) {
  const auto& map = *as<vfio_iommu_type1_dma_map>(argument);
  if (map.argsz < sizeof(map) || (map.flags & ~3U) != 0 || map.flags == 0) return error(EINVAL);
  const std::uint64_t mask = (page_sizes & (~page_sizes + 1)) - 1;
  if (map.size == 0 || ((map.vaddr | map.iova | map.size) & mask) != 0) return error(EINVAL);
  std::uint64_t locked = map.size;
  for (const auto& [start, mapping] : container.maps) {
    if (map.iova < start + mapping.second && start < map.iova + map.size) return error(EEXIST);
    locked += mapping.second;
  }
  if (container.maps.size() >= dma_entry_limit) return error(ENOSPC);
  if (!inside(ranges_of(container), map.iova, map.size)) return error(EINVAL);
  if (locked > memlock) return error(ENOMEM);
  // The pages must be there to be pinned.
  std::vector<unsigned char> resident(map.size / 4096 + 1);
  if (::mincore(reinterpret_cast<void*>(map.vaddr), map.size, resident.data()) != 0) return error(EFAULT);
  container.maps[map.iova] = {map.vaddr, map.size};
  return 0;
}

FakeKernel::Answer FakeKernel::unmap_dma(Container& container, unsigned long argument) {
  auto& request = *as<vfio_iommu_type1_dma_unmap>(argument);
  if (request.argsz < sizeof(request) || request.size == 0) return error(EINVAL);
  for (const auto& [name, device] : devices_) {
    if (device.bus_master() && container.groups.contains(device.group)) {
      violation(name + " could still DMA when memory was unmapped");
    }
  }
  const auto found = container.maps.find(request.iova);
  // Version 2 never cuts a mapping in two.
  if (found != container.maps.end() && found->second.second != request.size) return error(EINVAL);
  request.size = found == container.maps.end() ? 0 : found->second.second;
  if (found != container.maps.end()) container.maps.erase(found);
  return 0;
}

bool FakeKernel::viable(int group) const {
  // VFIO's drivers, none, pci-stub, and the port driver of bridges.
  static const std::set<std::string> kHarmless{"", "vfio-pci", "pci-stub", "pcieport"};
  return std::all_of(devices_.begin(), devices_.end(), [group](const auto& entry) {
    return entry.second.group != group || kHarmless.contains(entry.second.driver);
  });
}

FakeKernel::Answer FakeKernel::group_ioctl(File& file, unsigned long request, unsigned long argument) {
  switch (request) {
    case VFIO_GROUP_GET_STATUS: {
      auto& status = *as<vfio_group_status>(argument);
      if (status.argsz < sizeof(status)) return error(EINVAL);
      status.flags = viable(file.group) ? VFIO_GROUP_FLAGS_VIABLE : 0;
      if (group_in_use(file.group)) status.flags |= VFIO_GROUP_FLAGS_CONTAINER_SET;
      return 0;
    }
    case VFIO_GROUP_SET_CONTAINER:
      return set_container(file.group, *as<int>(argument));
    case VFIO_GROUP_GET_DEVICE_FD:
      return device_fd(file, as<const char>(argument));
    default:
      return error(ENOTTY);
  }
}

FakeKernel::Answer FakeKernel::set_container(int group, int container_fd) {
  const File* file = find(container_fd);
  if (file == nullptr || file->kind != Kind::kContainer || group_in_use(group)) return error(EINVAL);
  if (!viable(group)) return error(EPERM);
  Container& container = containers_.at(file->container);
  container.groups.insert(group);
  const std::vector<IovaRange> valid = ranges_of(container);
  for (const auto& [start, mapping] : container.maps) {
    if (inside(valid, start, mapping.second)) continue;
    container.groups.erase(group);
    return error(EINVAL);  // vfio_iommu_aper_conflict()
  }
  container_of_[group] = file->container;
  return 0;
}

FakeKernel::Answer FakeKernel::device_fd(const File& group, const char* name) {
  if (!group_in_use(group.group) || !containers_.at(container_of_.at(group.group)).iommu_set) {
    return error(EINVAL);
  }
  const auto found = devices_.find(name);
  if (found == devices_.end() || found->second.group != group.group || found->second.driver != "vfio-pci") {
    return error(ENODEV);
  }
  FakeDevice& device = found->second;
  for (std::size_t i = 0; i < device.bars.size(); ++i) {
    if (device.bar_memory[i] || device.bars[i].size == 0) continue;
    device.bar_memory[i] = Fd{::memfd_create("fake-bar", MFD_CLOEXEC)};
    if (::ftruncate(device.bar_memory[i].get(),
                    static_cast<off_t>((device.bars[i].size + 4095) & ~4095ULL)) != 0) {
      return error(errno);
    }
  }
  File file{.kind = Kind::kDevice, .name = fmt::format("device {}", name), .group = group.group};
  file.device = name;
  return hand_out(Fd{::memfd_create("fake-device", MFD_CLOEXEC)}, std::move(file)).release();
}

}  // namespace spinring::sim
