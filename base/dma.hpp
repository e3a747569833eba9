#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/result.hpp"

namespace spinring {

/// An address as the device sees it. Not a virtual address: behind an IOMMU the two differ.
enum class Iova : std::uint64_t {};

[[nodiscard]] constexpr std::uint64_t to_u64(Iova iova) noexcept { return static_cast<std::uint64_t>(iova); }
[[nodiscard]] constexpr Iova operator+(Iova iova, std::uint64_t bytes) noexcept {
  return Iova{to_u64(iova) + bytes};
}

/// Names a MemoryRegion; given by the registry, dense from 0, reused after the region has gone.
using RegionId = std::uint16_t;
inline constexpr std::size_t kMaxRegions = 64;

/// One contiguous range of DMA-able memory. The registry that made it keeps it alive while it is mapped
/// anywhere.
struct MemoryRegion {
  std::byte* va = nullptr;      ///< start, aligned to page_size
  std::size_t length = 0;       ///< bytes, a multiple of page_size
  std::size_t page_size = 0;    ///< bytes of the pages behind it: 4 KiB, 2 MiB, 1 GiB
  int fd = -1;                  ///< the descriptor to share it by; owned by the registry
  std::uint64_t fd_offset = 0;  ///< where it starts in fd
  int numa_node = -1;           ///< -1: unknown
  RegionId id = 0;
};

/// Translation of one device's address space: for each region, what to add to a virtual address. Written by
/// the mapper on the control plane before any queue starts, read by the queues: one load and one addition a
/// packet.
class DmaTable {
 public:
  [[nodiscard]] Iova iova(const void* va, RegionId region) const noexcept {
    return Iova{reinterpret_cast<std::uint64_t>(va) + delta_[region]};
  }
  void set(const MemoryRegion& region, Iova start) noexcept {
    delta_[region.id] = to_u64(start) - reinterpret_cast<std::uint64_t>(region.va);
  }

 private:
  std::array<std::uint64_t, kMaxRegions> delta_{};
};

/// Makes memory visible to devices: a VFIO type1 container, an iommufd address space, QEMU's guest memory
/// (qtest), a vhost-user memory table. Memory is told about mappers by mempool::Memory::attach(), which
/// replays every present and every later region; mempool and vfio_glue never meet. Control thread only.
class DmaMapper {
 public:
  DmaMapper() = default;
  DmaMapper(const DmaMapper&) = delete;
  DmaMapper& operator=(const DmaMapper&) = delete;
  virtual ~DmaMapper() = default;

  /// Maps the region and enters it in table(). On an error nothing stays mapped.
  [[nodiscard]] Result<void> add(const MemoryRegion& region) {
    Result<Iova> start = map(region);
    if (!start) return fail(std::move(start));
    table_.set(region, *start);
    return {};
  }
  /// Unmaps the region; devices must have stopped using it.
  void remove(const MemoryRegion& region) noexcept { unmap(region); }

  [[nodiscard]] const DmaTable& table() const noexcept { return table_; }

 private:
  virtual Result<Iova> map(const MemoryRegion& region) = 0;
  virtual void unmap(const MemoryRegion& region) noexcept = 0;

  DmaTable table_;
};

}  // namespace spinring
