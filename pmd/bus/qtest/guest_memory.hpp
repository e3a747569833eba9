#pragma once

#include <cstdint>
#include <string>

#include "base/dma.hpp"
#include "pmd/bus/qtest/qmp_client.hpp"

namespace spinring::pmd {

/// Makes our memory regions the memory of a QEMU guest: each region's descriptor is handed to QEMU, which
/// plugs it in as a DIMM above 4 GiB (memory-backend-file over /proc/self/fd, pc-dimm). Above, because PCs
/// have holes below (VGA and BIOS under 1 MiB, PCI under 4 GiB) where a DMA does not reach memory. So a
/// region of any size, with normal or huge pages, is seen by the device models at kFirstAddress or higher,
/// and packets are shared, not copied.
class GuestMemory final : public DmaMapper {
 public:
  /// Guest physical address of the first region; each DIMM starts at a multiple of kAlignment (QEMU asks for
  /// the backend's page size at least).
  static constexpr std::uint64_t kFirstAddress = 4ULL << 30;
  static constexpr std::uint64_t kAlignment = 1ULL << 30;
  /// What QEMU must be told: "-m" + memory_option(). Under the 40 address bits of its default CPU.
  [[nodiscard]] static std::string memory_option();

  /// `qmp` must outlive this.
  explicit GuestMemory(QmpClient& qmp) : qmp_(qmp) {}

 private:
  Result<Iova> map(const MemoryRegion& region) override;
  /// QEMU's models may hold the DIMM until the guest's kernel agrees to its removal, and there is no guest:
  /// it stays until QEMU ends. Harmless: the bytes belong to a descriptor that QEMU shares, not to our
  /// mapping.
  void unmap(const MemoryRegion& region) noexcept override;

  QmpClient& qmp_;
  std::uint64_t next_address_ = kFirstAddress;
  unsigned dimms_ = 0;
};

}  // namespace spinring::pmd
