#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/dma.hpp"

namespace spinring::sim {

/// An access that the simulated IOMMU refused.
struct DmaFault {
  std::uint64_t iova = 0;
  std::uint64_t length = 0;
  bool write = false;
};

/// The simulated device's view of memory: the process's own memory behind made-up IOVAs inside a 39-bit
/// aperture (as a virtual Intel IOMMU has by default), so that a driver that passes a virtual address or
/// forgets a translation faults at once. An access that is not wholly inside one mapped region is refused and
/// recorded.
class SimIommu final : public DmaMapper {
 public:
  static constexpr unsigned kApertureBits = 39;
  static constexpr std::uint64_t kFirstIova = 1ULL << 36;

  /// Where the device reaches `length` bytes at `iova`; nullptr: refused, and the fault recorded.
  [[nodiscard]] std::byte* translate(std::uint64_t iova, std::uint64_t length, bool write) noexcept;
  /// The same without a record: for assertions.
  [[nodiscard]] std::byte* peek(std::uint64_t iova, std::uint64_t length) const noexcept;

  /// The bus-master bit: off refuses every access.
  void set_bus_master(bool on) noexcept { bus_master_ = on; }
  [[nodiscard]] bool bus_master() const noexcept { return bus_master_; }

  [[nodiscard]] const std::vector<DmaFault>& faults() const noexcept { return faults_; }
  void clear_faults() noexcept { faults_.clear(); }
  [[nodiscard]] std::size_t mapped_regions() const noexcept { return windows_.size(); }
  /// Lets the map call after `successes` further ones fail.
  void fail_map_after(int successes) noexcept { maps_until_failure_ = successes; }

 private:
  struct Window {
    std::uint64_t iova = 0;
    std::uint64_t length = 0;
    std::byte* va = nullptr;
  };

  Result<Iova> map(const MemoryRegion& region) override;
  void unmap(const MemoryRegion& region) noexcept override;

  std::vector<Window> windows_;
  std::vector<DmaFault> faults_;
  std::uint64_t next_iova_ = kFirstIova;
  int maps_until_failure_ = -1;
  bool bus_master_ = false;
};

}  // namespace spinring::sim
