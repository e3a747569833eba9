#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/dma.hpp"
#include "base/result.hpp"

namespace spinring::mempool {

/// What to take from the kernel for one region.
struct MemoryConfig {
  std::size_t bytes = 0;              ///< rounded up to whole pages
  std::size_t page_size = 2UL << 20;  ///< 2 MiB or 1 GiB; ignored without hugepages
  int numa_node = -1;                 ///< bind to this node; -1: where the kernel likes
  bool hugepages = true;              ///< false (--no-huge): normal pages, locked; only when asked for
};

class Memory;

/// A DMA-able block for rings and control structures, zeroed. Gives itself back to its Memory, which must
/// outlive it.
class DmaBlock {
 public:
  DmaBlock() = default;
  DmaBlock(DmaBlock&& other) noexcept;
  DmaBlock& operator=(DmaBlock&& other) noexcept;
  DmaBlock(const DmaBlock&) = delete;
  DmaBlock& operator=(const DmaBlock&) = delete;
  ~DmaBlock();

  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] RegionId region() const noexcept { return region_; }
  /// The block's address for a device.
  [[nodiscard]] Iova iova(const DmaTable& table) const noexcept { return table.iova(data_, region_); }
  explicit operator bool() const noexcept { return data_ != nullptr; }

 private:
  friend class Memory;
  Memory* memory_ = nullptr;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  RegionId region_ = 0;
};

/// An attached mapper; detaches (unmaps every region) when it goes. The mapper and the Memory outlive it.
class Attachment {
 public:
  Attachment() = default;
  Attachment(Attachment&& other) noexcept;
  Attachment& operator=(Attachment&& other) noexcept;
  Attachment(const Attachment&) = delete;
  Attachment& operator=(const Attachment&) = delete;
  ~Attachment();

 private:
  friend class Memory;
  Memory* memory_ = nullptr;
  DmaMapper* mapper_ = nullptr;
};

/// The process's packet memory: hugepage regions, blocks carved from them, and the registry of who maps them.
/// Every region is known to every attached mapper, whichever came first. Control thread only.
class Memory {
 public:
  /// Takes the first region. Refuses with the counts and the command that mends them when hugepages are too
  /// few.
  [[nodiscard]] static Result<std::unique_ptr<Memory>> create(const MemoryConfig& config);
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ~Memory();

  /// Takes one more region and maps it for every attached mapper; if one refuses, nothing is kept.
  [[nodiscard]] Result<void> grow(const MemoryConfig& config);
  /// Maps every region, and each later one, through `mapper`. On an error nothing stays mapped.
  [[nodiscard]] Result<Attachment> attach(DmaMapper& mapper);
  /// A zeroed block within one region; `alignment` a power of two.
  [[nodiscard]] Result<DmaBlock> allocate(std::size_t bytes, std::size_t alignment);

  [[nodiscard]] std::vector<MemoryRegion> regions() const;

 private:
  friend class DmaBlock;
  friend class Attachment;
  struct State;
  explicit Memory(std::unique_ptr<State> state);
  void give_back(const DmaBlock& block) noexcept;
  void detach(DmaMapper& mapper) noexcept;
  std::unique_ptr<State> state_;
};

}  // namespace spinring::mempool
