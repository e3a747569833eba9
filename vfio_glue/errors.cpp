#include "vfio_glue/errors.hpp"

#include <string>

namespace spinring::vfio_glue {
namespace {

class Category final : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "vfio"; }
  [[nodiscard]] std::string message(int value) const override {
    switch (static_cast<Errc>(value)) {
      case Errc::kBadAddress:
        return "not a PCI address";
      case Errc::kNoDevice:
        return "no such PCI device";
      case Errc::kNoModule:
        return "a kernel module is not loaded";
      case Errc::kBind:
        return "the kernel did not bind the device to that driver";
      case Errc::kNoIommu:
        return "no IOMMU";
      case Errc::kNoGroup:
        return "the IOMMU group has no VFIO node";
      case Errc::kGroupNotViable:
        return "the IOMMU group is not viable";
      case Errc::kPermission:
        return "not permitted";
      case Errc::kBusy:
        return "in use";
      case Errc::kApiVersion:
        return "unknown VFIO API version";
      case Errc::kNoIommuType:
        return "no usable IOMMU type";
      case Errc::kMemlock:
        return "locked-memory limit too low";
      case Errc::kMappingsExhausted:
        return "no DMA mappings left";
      case Errc::kAperture:
        return "the IOMMU's aperture is too narrow";
      case Errc::kAlignment:
        return "pages that the IOMMU cannot map";
      case Errc::kNotContiguous:
        return "memory is not physically contiguous";
      case Errc::kBadRegion:
        return "outside the device's regions";
      case Errc::kBadDevice:
        return "the device contradicts the PCI specification";
      case Errc::kNoReset:
        return "the device cannot be reset";
      case Errc::kNoInterrupt:
        return "no such interrupt";
      case Errc::kHugepages:
        return "too few free hugepages";
      case Errc::kKernel:
        return "the kernel refused";
    }
    return "unknown error";
  }
};

}  // namespace

std::error_code make_error_code(Errc code) noexcept {
  static const Category category;
  return {static_cast<int>(code), category};
}

}  // namespace spinring::vfio_glue
