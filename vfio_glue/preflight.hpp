#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "vfio_glue/pci_address.hpp"
#include "vfio_glue/sys.hpp"

namespace spinring::vfio_glue {

/// What a program is going to want.
struct PreflightRequest {
  std::vector<PciAddress> devices;
  std::uint64_t memory = 0;             ///< bytes to map for DMA; 0: not known
  std::uint64_t page_size = 2UL << 20;  ///< of the pages it is to come in; 0: normal pages
};

/// One thing that was looked at: in order, or the error that a program would meet there, with its cure.
struct Finding {
  std::string what;  ///< "IOMMU", "hugepages of 2048 KiB: 512 of 1024 free"
  bool good = true;
  Error error;  ///< if it is not good
};

/// Looks at everything between here and a running device and changes nothing. A check that cannot be made is
/// a finding too. Control thread only.
[[nodiscard]] std::vector<Finding> preflight(Sys& sys, const PreflightRequest& request);

}  // namespace spinring::vfio_glue
