#include "vfio_glue/container_iommu.hpp"

#include <fmt/format.h>
#include <linux/vfio.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "vfio_glue/cures.hpp"
#include "vfio_glue/errors.hpp"
#include "vfio_glue/iommu_noiommu.hpp"

namespace spinring::vfio_glue {
namespace {

Result<unsigned long> choose_type(const Container& container, bool no_iommu) {
  if (no_iommu) {
    Result<bool> offered = container.supports(VFIO_NOIOMMU_IOMMU);
    if (!offered) return fail(std::move(offered));
    if (*offered) return VFIO_NOIOMMU_IOMMU;
    return fail(Errc::kNoIommuType, "VFIO_CHECK_EXTENSION NOIOMMU", Container::kPath, 0,
                "No-IOMMU mode is off: echo 1 > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode (the "
                "kernel must have CONFIG_VFIO_NOIOMMU)");
  }
  // v2 first: v1 lets an unmap cut a mapping in two, and some of its providers map 4 KiB at a time.
  for (const unsigned long type : {std::uint64_t{VFIO_TYPE1v2_IOMMU}, std::uint64_t{VFIO_TYPE1_IOMMU}}) {
    Result<bool> offered = container.supports(type);
    if (!offered) return fail(std::move(offered));
    if (*offered) return type;
  }
  return tl::unexpected<Error>(
      no_module_error("VFIO_CHECK_EXTENSION TYPE1v2, TYPE1", Container::kPath, "vfio_iommu_type1"));
}

}  // namespace

Result<std::unique_ptr<IommuBackend>> ContainerIommu::create(Sys& sys, bool no_iommu) {
  Result<Container> container = Container::open(sys);
  if (!container) return fail(std::move(container));
  Result<unsigned long> type = choose_type(*container, no_iommu);
  if (!type) return fail(std::move(type));
  return std::unique_ptr<IommuBackend>(new ContainerIommu(sys, std::move(*container), *type));
}

ContainerIommu::~ContainerIommu() = default;

bool ContainerIommu::no_iommu() const noexcept { return type_ == VFIO_NOIOMMU_IOMMU; }

Result<Fd> ContainerIommu::open_device(const PciDeviceInfo& device) {
  if (device.iommu_group == kUngrouped) {
    return tl::unexpected<Error>(no_iommu_error(device.address.to_string()));
  }
  if (devices_.contains(device.address)) {
    return fail(Errc::kBusy, "VFIO_GROUP_GET_DEVICE_FD", device.address.to_string(), EBUSY,
                "This program has opened it already");
  }
  if (Result<void> entered = enter(device.iommu_group); !entered) return fail(std::move(entered));
  Result<Fd> fd = groups_.at(device.iommu_group).open_device(device.address);
  if (!fd) {
    leave_if_empty(device.iommu_group);
    return fd;
  }
  devices_.emplace(device.address, device.iommu_group);
  return fd;
}

void ContainerIommu::release_device(const PciAddress& address) noexcept {
  const auto found = devices_.find(address);
  if (found == devices_.end()) return;
  const int group = found->second;
  devices_.erase(found);
  leave_if_empty(group);
}

Result<void> ContainerIommu::enter(int number) {
  if (groups_.contains(number)) return {};
  Result<Group> group = Group::open(*sys_, number, no_iommu());
  if (!group) return fail(std::move(group));
  if (Result<void> attached = group->attach(container_); !attached) return attached;
  groups_.emplace(number, std::move(*group));
  // The kernel takes VFIO_SET_IOMMU only with a group inside; groups that join later take the type over.
  Result<void> ready;
  if (mapper_ == nullptr) {
    ready = make_mapper();
  } else if (type1_ != nullptr) {
    ready = type1_->refresh();  // another IOMMU may narrow the ranges
  }
  if (!ready) leave_if_empty(number);
  return ready;
}

Result<void> ContainerIommu::make_mapper() {
  if (Result<void> set = container_.set_iommu(type_); !set) return set;
  if (no_iommu()) {
    Result<std::unique_ptr<NoIommuMapper>> mapper = NoIommuMapper::create(*sys_);
    if (!mapper) return fail(std::move(mapper));
    mapper_ = std::move(*mapper);
    return {};
  }
  Result<std::unique_ptr<Type1Mapper>> mapper = Type1Mapper::create(*sys_, container_.fd());
  if (!mapper) return fail(std::move(mapper));
  type1_ = mapper->get();
  mapper_ = std::move(*mapper);
  return {};
}

void ContainerIommu::leave_if_empty(int group) noexcept {
  const bool used = std::any_of(devices_.begin(), devices_.end(),
                                [group](const auto& device) { return device.second == group; });
  if (used) return;
  if (groups_.size() == 1 && groups_.contains(group)) {
    // With the last group the container loses its IOMMU, and every mapping with it.
    type1_ = nullptr;
    mapper_.reset();
  }
  groups_.erase(group);
}

Result<std::vector<int>> ContainerIommu::reset_proof(const PciAddress& self,
                                                     std::span<const ResetPeer> peers) const {
  std::set<int> numbers;
  for (const ResetPeer& peer : peers) {
    if (!groups_.contains(peer.group)) {
      return fail(
          Errc::kNoReset, "VFIO_DEVICE_PCI_HOT_RESET", self.to_string(), 0,
          fmt::format("It can only be reset together with {} of group {}, which is not open here: open "
                      "that device too",
                      peer.address.to_string(), peer.group));
    }
    if (peer.address != self && devices_.contains(peer.address)) {
      return fail(Errc::kNoReset, "VFIO_DEVICE_PCI_HOT_RESET", self.to_string(), 0,
                  fmt::format("It can only be reset together with {}, which is in use here: close that first",
                              peer.address.to_string()));
    }
    numbers.insert(peer.group);
  }
  std::vector<int> fds;
  for (const int number : numbers) fds.push_back(groups_.at(number).fd());
  return fds;
}

}  // namespace spinring::vfio_glue
