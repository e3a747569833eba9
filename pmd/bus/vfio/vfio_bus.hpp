#pragma once

#include <memory>
#include <string_view>

#include "base/result.hpp"
#include "mempool/memory.hpp"
#include "pmd/bus/pci_function.hpp"
#include "vfio_glue/iommu.hpp"
#include "vfio_glue/pci_address.hpp"
#include "vfio_glue/sys.hpp"

namespace spinring::pmd {

struct VfioOptions {
  /// Bind a device to vfio-pci that is not there yet, and give it back to its driver at the end. Without it,
  /// such a device is refused.
  bool bind = true;
  /// Take devices that no IOMMU guards. Never by itself; logged as a warning.
  bool no_iommu = false;
};

/// Devices of this machine through VFIO, in one address space in which `memory` is mapped. The memory
/// outlives the bus, the bus its functions. Control thread only.
class VfioBus {
 public:
  /// Opens the VFIO container. Errors are vfio_glue's, with culprit and cure. `sys` is for tests.
  [[nodiscard]] static Result<std::unique_ptr<VfioBus>> create(mempool::Memory& memory,
                                                               VfioOptions options = {},
                                                               vfio_glue::Sys& sys = vfio_glue::real_sys());
  VfioBus(const VfioBus&) = delete;
  VfioBus& operator=(const VfioBus&) = delete;
  ~VfioBus();

  /// Opens the device at "0000:01:00.0": binds it, maps the memory if it is the first, and enables its memory
  /// space. When the function goes: DMA stops, the device is closed, memory is unmapped if it was the last,
  /// the device returns to its former driver. On an error all of that has happened.
  [[nodiscard]] Result<std::unique_ptr<PciFunction>> open(std::string_view pci_address);

 private:
  friend class VfioMembership;
  VfioBus(mempool::Memory& memory, VfioOptions options, vfio_glue::Sys& sys,
          std::unique_ptr<vfio_glue::IommuBackend> backend);
  void leave(const vfio_glue::PciAddress& address) noexcept;

  // Order of teardown: memory is unmapped, then the container is closed.
  mempool::Memory& memory_;
  VfioOptions options_;
  vfio_glue::Sys& sys_;
  std::unique_ptr<vfio_glue::IommuBackend> backend_;
  mempool::Attachment attachment_;
};

}  // namespace spinring::pmd
