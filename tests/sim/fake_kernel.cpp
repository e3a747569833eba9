#include "tests/sim/fake_kernel.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/vfio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

namespace spinring::sim {
namespace {

using vfio_glue::SysResult;

/// What tells an open file from any other, whatever its number: device and inode, and for eventfds, which all
/// share one inode, the id that procfs shows.
std::string identity_of(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return {};
  std::string identity = fmt::format("{}:{}", status.st_dev, status.st_ino);
  std::ifstream info(fmt::format("/proc/self/fdinfo/{}", fd));
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("eventfd-id")) identity += line;
  }
  return identity;
}

/// How often files with these inodes are mapped into this process.
std::size_t count_mappings(const std::set<std::string>& inodes) {
  std::ifstream maps("/proc/self/maps");
  std::size_t count = 0;
  for (std::string line; std::getline(maps, line);) {
    std::istringstream fields(line);
    std::string range, rights, offset, device, inode;
    fields >> range >> rights >> offset >> device >> inode;
    if (inodes.contains(inode) && line.find("fake-bar") != std::string::npos) ++count;
  }
  return count;
}

const char* request_name(unsigned long request) {
  switch (request) {
    case VFIO_GET_API_VERSION:
      return "VFIO_GET_API_VERSION";
    case VFIO_CHECK_EXTENSION:
      return "VFIO_CHECK_EXTENSION";
    case VFIO_SET_IOMMU:
      return "VFIO_SET_IOMMU";
    case VFIO_GROUP_GET_STATUS:
      return "VFIO_GROUP_GET_STATUS";
    case VFIO_GROUP_SET_CONTAINER:
      return "VFIO_GROUP_SET_CONTAINER";
    case VFIO_GROUP_GET_DEVICE_FD:
      return "VFIO_GROUP_GET_DEVICE_FD";
    case VFIO_DEVICE_GET_INFO:
      return "VFIO_DEVICE_GET_INFO";
    case VFIO_DEVICE_GET_REGION_INFO:
      return "VFIO_DEVICE_GET_REGION_INFO";
    case VFIO_DEVICE_GET_IRQ_INFO:
      return "VFIO_DEVICE_GET_IRQ_INFO";
    case VFIO_DEVICE_SET_IRQS:
      return "VFIO_DEVICE_SET_IRQS";
    case VFIO_DEVICE_RESET:
      return "VFIO_DEVICE_RESET";
    case VFIO_DEVICE_GET_PCI_HOT_RESET_INFO:
      return "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO or VFIO_IOMMU_GET_INFO";
    case VFIO_DEVICE_PCI_HOT_RESET:
      return "VFIO_DEVICE_PCI_HOT_RESET or VFIO_IOMMU_MAP_DMA";
    case VFIO_IOMMU_UNMAP_DMA:
      return "VFIO_IOMMU_UNMAP_DMA";
    default:
      return "unknown";
  }
}

}  // namespace

FakeKernel::FakeKernel() = default;
FakeKernel::~FakeKernel() = default;

FakeDevice& FakeKernel::add(std::string_view address, int group, std::string driver) {
  FakeDevice device;
  device.address = *vfio_glue::PciAddress::parse(address);
  device.group = group;
  device.natural_driver = driver.empty() ? "virtio-pci" : driver;
  device.driver = driver;
  device.bars[0] = {0x4000, true, false, {}};
  device.config[6] = 0x10;  // PCI_STATUS_CAP_LIST
  device.config[0x34] = 0x40;
  device.config[0x40] = 0x11;  // MSI-X, the last
  first_drivers_[device.address.to_string()] = driver;
  return devices_.insert_or_assign(device.address.to_string(), std::move(device)).first->second;
}

FakeDevice& FakeKernel::at(std::string_view address) { return devices_.at(std::string(address)); }

void FakeKernel::fail_call(unsigned nth, int system_errno) { fail_call("", nth, system_errno); }

void FakeKernel::fail_call(std::string prefix, unsigned nth, int system_errno) {
  fault_ = {nth, system_errno};
  fault_prefix_ = std::move(prefix);
  failed_ = false;
}

/// Every call begins here: brings the state up to date, notes the call, and says if it is to fail.
std::optional<int> FakeKernel::enter(std::string line) {
  sync();
  trace_.push_back(std::move(line));
  if (!fault_ || !trace_.back().starts_with(fault_prefix_) || --fault_->first != 0) return std::nullopt;
  const int system_errno = fault_->second;
  fault_.reset();
  failed_ = true;
  trace_.back() += " (made to fail)";
  return system_errno;
}

Fd FakeKernel::hand_out(Fd fd, File file) {
  // An older entry with this number was closed: the number is free again.
  std::erase_if(files_, [&fd](const File& old) { return old.fd == fd.get(); });
  file.fd = fd.get();
  file.identity = identity_of(fd.get());
  files_.push_back(std::move(file));
  return fd;
}

FakeKernel::File* FakeKernel::find(int fd) {
  const auto found =
      std::find_if(files_.begin(), files_.end(), [fd](const File& file) { return file.fd == fd; });
  return found == files_.end() ? nullptr : &*found;
}

/// Lets go of what hung on descriptors that have been closed since the last call.
void FakeKernel::sync() {
  std::vector<File> closed;
  std::erase_if(files_, [&closed](const File& file) {
    if (identity_of(file.fd) == file.identity) return false;
    closed.push_back(file);
    return true;
  });
  for (const File& file : closed) {
    if (file.kind == Kind::kDevice) close_device(devices_.at(file.device));
  }
  // A group leaves its container when it is closed and so are its devices, which hold the group's file.
  std::vector<int> gone;
  for (const auto& [group, container] : container_of_) {
    if (!has_open_group(group) && !has_open_device(group)) gone.push_back(group);
  }
  for (const int group : gone) leave_container(group);
  for (const File& file : closed) {
    if (file.kind == Kind::kContainer && containers_.at(file.container).groups.empty()) {
      containers_.erase(file.container);
    }
  }
}

bool FakeKernel::has_open_device(int group) const {
  return std::any_of(files_.begin(), files_.end(),
                     [group](const File& file) { return file.kind == Kind::kDevice && file.group == group; });
}

bool FakeKernel::has_open_group(int group) const {
  return std::any_of(files_.begin(), files_.end(),
                     [group](const File& file) { return file.kind == Kind::kGroup && file.group == group; });
}

void FakeKernel::leave_container(int group) {
  Container& container = containers_.at(container_of_.at(group));
  container_of_.erase(group);
  container.groups.erase(group);
  if (!container.groups.empty()) return;
  // With the last group the IOMMU and all mappings go.
  drop_maps(container, "left to the kernel");
  container.iommu_set = false;
}

void FakeKernel::drop_maps(Container& container, const char* how) {
  if (!container.maps.empty()) violation(fmt::format("{} DMA mappings were {}", container.maps.size(), how));
  container.maps.clear();
}

std::vector<std::string> FakeKernel::open_files() {
  sync();
  std::vector<std::string> names;
  for (const File& file : files_) names.push_back(file.name);
  return names;
}

std::size_t FakeKernel::dma_mappings() {
  sync();
  std::size_t count = 0;
  for (const auto& [id, container] : containers_) count += container.maps.size();
  return count;
}

std::size_t FakeKernel::live_bar_mappings() {
  std::set<std::string> inodes;
  for (const auto& [name, device] : devices_) {
    for (const Fd& memory : device.bar_memory) {
      struct stat status {};
      if (memory && ::fstat(memory.get(), &status) == 0) inodes.insert(std::to_string(status.st_ino));
    }
  }
  return count_mappings(inodes);
}

std::vector<std::string> FakeKernel::leftovers() {
  std::vector<std::string> list;
  for (const std::string& name : open_files()) list.push_back(name + " is open");
  if (const std::size_t count = live_bar_mappings(); count != 0) {
    list.push_back(fmt::format("{} BAR mappings", count));
  }
  if (const std::size_t count = dma_mappings(); count != 0) {
    list.push_back(fmt::format("{} DMA mappings", count));
  }
  for (const auto& [name, device] : devices_) {
    if (device.driver != first_drivers_.at(name)) {
      list.push_back(fmt::format("{} is bound to '{}'", name, device.driver));
    }
    if (!device.driver_override.empty()) {
      list.push_back(fmt::format("{} has the override '{}'", name, device.driver_override));
    }
    if (device.bus_master()) list.push_back(name + " may DMA");
  }
  list.insert(list.end(), violations_.begin(), violations_.end());
  return list;
}

std::optional<std::string> FakeKernel::dma_read(std::string_view address, std::uint64_t iova,
                                                std::size_t length) {
  sync();
  const FakeDevice& device = at(address);
  if (!device.bus_master() || !container_of_.contains(device.group)) return std::nullopt;
  for (const auto& [start, mapping] : containers_.at(container_of_.at(device.group)).maps) {
    const auto& [vaddr, size] = mapping;
    if (iova < start || iova - start > size || length > size - (iova - start)) continue;
    return std::string(reinterpret_cast<const char*>(vaddr + (iova - start)), length);
  }
  return std::nullopt;
}

// ---- Calls on descriptors ---------------------------------------------------------------------------------

SysResult<Fd> FakeKernel::open(const std::string& path, int) {
  if (const auto fault = enter("open " + path)) return error(*fault);
  const Answer opened = open_node(path);
  if (!opened) return error(opened.error());
  return Fd{*opened};
}

SysResult<int> FakeKernel::ioctl(int fd, unsigned long request, unsigned long argument) {
  if (const auto fault = enter(fmt::format("ioctl {}", request_name(request)))) return error(*fault);
  File* file = find(fd);
  if (file == nullptr) return error(EBADF);
  switch (file->kind) {
    case Kind::kContainer:
      return container_ioctl(*file, request, argument);
    case Kind::kGroup:
      return group_ioctl(*file, request, argument);
    case Kind::kDevice:
      return device_ioctl(*file, request, argument);
    default:
      return error(ENOTTY);
  }
}

SysResult<Mapping> FakeKernel::mmap(std::size_t length, int protection, int fd, std::uint64_t offset) {
  if (const auto fault = enter(fmt::format("mmap {:#x}+{:#x}", offset, length))) return error(*fault);
  const File* file = find(fd);
  if (file == nullptr || file->kind != Kind::kDevice) return error(EBADF);
  FakeDevice& device = devices_.at(file->device);
  const auto index = static_cast<std::size_t>(offset >> 40);
  const std::uint64_t inside = offset & ((1ULL << 40) - 1);
  // vfio_pci_core_mmap(): the BAR's size rounded up to a page is the limit.
  if (index >= device.bars.size() || !device.bars[index].mappable || inside % 4096 != 0 ||
      inside + length > ((device.bars[index].size + 4095) & ~4095ULL)) {
    return error(EINVAL);
  }
  void* address = ::mmap(nullptr, length, protection, MAP_SHARED, device.bar_memory[index].get(),
                         static_cast<off_t>(inside));
  if (address == MAP_FAILED) return error(errno);
  return Mapping{address, length};
}

SysResult<std::size_t> FakeKernel::pread(int fd, void* buffer, std::size_t length, std::uint64_t offset) {
  if (const auto fault = enter(fmt::format("pread {:#x}+{}", offset, length))) return error(*fault);
  const File* file = find(fd);
  if (file == nullptr) return error(EBADF);
  if (file->kind == Kind::kPagemap) {
    // Virtual page -> a frame number that keeps distances (contiguous) or does not.
    const std::uint64_t page = offset / 8;
    const std::uint64_t frame = scattered_memory ? (page ^ 0x800) : page;
    const std::uint64_t entry = (1ULL << 63) | (pagemap_readable ? frame & ((1ULL << 40) - 1) : 0);
    std::memcpy(buffer, &entry, sizeof(entry));
    return sizeof(entry);
  }
  if (file->kind != Kind::kDevice) return error(EINVAL);
  return device_io(devices_.at(file->device), buffer, length, offset, false);
}

SysResult<std::size_t> FakeKernel::pwrite(int fd, const void* buffer, std::size_t length,
                                          std::uint64_t offset) {
  if (const auto fault = enter(fmt::format("pwrite {:#x}+{}", offset, length))) return error(*fault);
  const File* file = find(fd);
  if (file == nullptr || file->kind != Kind::kDevice) return error(EBADF);
  return device_io(devices_.at(file->device), const_cast<void*>(buffer), length, offset, true);
}

SysResult<Fd> FakeKernel::eventfd() {
  if (const auto fault = enter("eventfd")) return error(*fault);
  return hand_out(Fd{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)}, {.kind = Kind::kEvent, .name = "eventfd"});
}

SysResult<std::uint64_t> FakeKernel::memlock_limit() {
  if (const auto fault = enter("getrlimit")) return error(*fault);
  return memlock;
}

}  // namespace spinring::sim
