#pragma once

#include <map>
#include <memory>

#include "vfio_glue/container.hpp"
#include "vfio_glue/group.hpp"
#include "vfio_glue/iommu.hpp"
#include "vfio_glue/iommu_type1.hpp"
#include "vfio_glue/sys.hpp"

namespace spinring::vfio_glue {

/// The address space of VFIO's container interface: several groups in one container, several devices in one
/// group. Type 1 (v2, then v1); no-IOMMU only when asked for.
class ContainerIommu final : public IommuBackend {
 public:
  /// Opens /dev/vfio/vfio and checks that it offers an IOMMU type. `no_iommu`: take devices that stand behind
  /// no IOMMU at all (the kernel wants CAP_SYS_RAWIO and vfio.enable_unsafe_noiommu_mode=1 for that).
  [[nodiscard]] static Result<std::unique_ptr<IommuBackend>> create(Sys& sys, bool no_iommu);
  ~ContainerIommu() override;

  [[nodiscard]] Result<Fd> open_device(const PciDeviceInfo& device) override;
  void release_device(const PciAddress& address) noexcept override;
  [[nodiscard]] std::size_t devices() const noexcept override { return devices_.size(); }
  [[nodiscard]] DmaMapper* mapper() noexcept override { return mapper_.get(); }
  [[nodiscard]] Result<std::vector<int>> reset_proof(const PciAddress& self,
                                                     std::span<const ResetPeer> peers) const override;

 private:
  ContainerIommu(Sys& sys, Container container, unsigned long type)
      : sys_(&sys), container_(std::move(container)), type_(type) {}
  [[nodiscard]] bool no_iommu() const noexcept;
  Result<void> enter(int group);
  Result<void> make_mapper();
  void leave_if_empty(int group) noexcept;

  // Order of teardown: the mapper unmaps, then the groups leave the container, then it is closed.
  Sys* sys_;
  Container container_;
  unsigned long type_;
  std::map<int, Group> groups_;
  std::map<PciAddress, int> devices_;  // open devices and their groups
  std::unique_ptr<DmaMapper> mapper_;
  Type1Mapper* type1_ = nullptr;  // mapper_, if it is one
};

}  // namespace spinring::vfio_glue
