#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/mapping.hpp"
#include "base/mmio.hpp"
#include "base/result.hpp"
#include "vfio_glue/sys.hpp"

namespace spinring::vfio_glue {

/// A part of a region that may be mapped.
struct MmapArea {
  std::uint64_t offset = 0;  ///< from the start of the region
  std::uint64_t size = 0;

  bool operator==(const MmapArea&) const = default;
};

/// VFIO_DEVICE_GET_REGION_INFO with its capability chain.
struct RegionInfo {
  std::uint32_t index = 0;
  std::uint64_t size = 0;       ///< 0: the device has no such region
  std::uint64_t fd_offset = 0;  ///< where it starts in the device's descriptor
  bool readable = false;
  bool writable = false;
  bool msix_mappable = false;   ///< the part that holds the MSI-X table may be mapped too (since 4.16)
  std::vector<MmapArea> areas;  ///< what may be mapped: all of it, the sparse areas, or nothing
};

/// `index` is a VFIO_PCI_*_REGION_INDEX; `name` is the device's, for messages.
[[nodiscard]] Result<RegionInfo> query_region(Sys& sys, int device_fd, const std::string& name,
                                              std::uint32_t index);

/// A BAR as registers: loads and stores where it is mapped, pread and pwrite on the device's descriptor
/// elsewhere (the page of the MSI-X table on old kernels, I/O ports). Offsets outside read as all ones and
/// write nothing. Little-endian. The device's descriptor outlives it. Control thread only.
class Region final : public RegisterBlock {
 public:
  /// Maps every area that may be mapped.
  [[nodiscard]] static Result<std::unique_ptr<Region>> map(Sys& sys, int device_fd, const std::string& name,
                                                           RegionInfo info);

  [[nodiscard]] std::uint64_t size() const noexcept override { return info_.size; }
  std::uint8_t read8(std::uint64_t offset) override;
  std::uint16_t read16(std::uint64_t offset) override;
  std::uint32_t read32(std::uint64_t offset) override;
  std::uint64_t read64(std::uint64_t offset) override;
  void write8(std::uint64_t offset, std::uint8_t value) override;
  void write16(std::uint64_t offset, std::uint16_t value) override;
  void write32(std::uint64_t offset, std::uint32_t value) override;
  void write64(std::uint64_t offset, std::uint64_t value) override;

  /// Where `width` bytes at `offset` are mapped; nullptr if they are not, not all, or not aligned.
  [[nodiscard]] volatile void* mapped(std::uint64_t offset, std::size_t width) const noexcept;
  /// Whether `width` bytes at `offset` lie inside the region.
  [[nodiscard]] bool contains(std::uint64_t offset, std::size_t width) const noexcept;
  [[nodiscard]] const RegionInfo& info() const noexcept { return info_; }

 private:
  struct Window {
    std::uint64_t offset;
    Mapping mapping;
  };

  Region(Sys& sys, int device_fd, RegionInfo info) : sys_(&sys), fd_(device_fd), info_(std::move(info)) {}
  template <class T>
  T read(std::uint64_t offset) noexcept;
  template <class T>
  void write(std::uint64_t offset, T value) noexcept;

  Sys* sys_;
  int fd_;
  RegionInfo info_;
  std::vector<Window> windows_;
};

}  // namespace spinring::vfio_glue
