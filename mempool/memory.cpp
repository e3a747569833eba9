#include "mempool/memory.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>
#include <utility>

#include "base/log.hpp"
#include "mempool/arena.hpp"
#include "mempool/errors.hpp"
#include "mempool/page_region.hpp"

namespace spinring::mempool {

struct Memory::State {
  struct Region {
    PageRegion pages;
    Arena arena;
    MemoryRegion description;
  };

  std::vector<std::unique_ptr<Region>> regions;  ///< index: RegionId
  std::vector<DmaMapper*> mappers;               ///< attached; none when Memory goes
};

// ---- DmaBlock, Attachment: move-only handles

DmaBlock::DmaBlock(DmaBlock&& other) noexcept
    : memory_(std::exchange(other.memory_, nullptr)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      region_(std::exchange(other.region_, RegionId{0})) {}

DmaBlock& DmaBlock::operator=(DmaBlock&& other) noexcept {
  DmaBlock taken(std::move(other));
  std::swap(memory_, taken.memory_);
  std::swap(data_, taken.data_);
  std::swap(size_, taken.size_);
  std::swap(region_, taken.region_);
  return *this;
}

DmaBlock::~DmaBlock() {
  if (memory_ != nullptr) memory_->give_back(*this);
}

Attachment::Attachment(Attachment&& other) noexcept
    : memory_(std::exchange(other.memory_, nullptr)), mapper_(std::exchange(other.mapper_, nullptr)) {}

Attachment& Attachment::operator=(Attachment&& other) noexcept {
  Attachment taken(std::move(other));
  std::swap(memory_, taken.memory_);
  std::swap(mapper_, taken.mapper_);
  return *this;
}

Attachment::~Attachment() {
  if (memory_ != nullptr) memory_->detach(*mapper_);
}

// ---- Memory

Memory::Memory(std::unique_ptr<State> state) : state_(std::move(state)) {}

Result<std::unique_ptr<Memory>> Memory::create(const MemoryConfig& config) {
  std::unique_ptr<Memory> memory(new Memory(std::make_unique<State>()));
  if (Result<void> first = memory->grow(config); !first) return fail(std::move(first));
  return memory;
}

Memory::~Memory() {
  std::size_t blocks = 0;
  for (const auto& region : state_->regions) blocks += region->arena.used_blocks();
  if (blocks != 0 || !state_->mappers.empty()) {
    log(LogLevel::kWarning, fmt::format("packet memory goes while {} blocks and {} mappers still use it",
                                        blocks, state_->mappers.size()));
  }
}

Result<void> Memory::grow(const MemoryConfig& config) {
  if (state_->regions.size() >= kMaxRegions) {
    return fail(Errc::kTooManyRegions, "taking packet memory",
                fmt::format("region {}", state_->regions.size()), 0,
                fmt::format("There may be {}: take fewer, larger ones", kMaxRegions));
  }
  Result<PageRegion> pages = take_pages(config);
  if (!pages) return fail(std::move(pages));

  MemoryRegion description;
  description.va = pages->mapping.data();
  description.length = pages->mapping.size();
  description.page_size = pages->page_size;
  description.fd = pages->fd.get();
  description.numa_node = pages->numa_node;
  description.id = static_cast<RegionId>(state_->regions.size());
  Arena arena(reinterpret_cast<std::uintptr_t>(description.va), description.length);
  auto region =
      std::make_unique<State::Region>(State::Region{std::move(*pages), std::move(arena), description});

  for (std::size_t i = 0; i < state_->mappers.size(); ++i) {
    if (Result<void> added = state_->mappers[i]->add(description); !added) {
      while (i-- > 0) state_->mappers[i]->remove(description);
      return added;
    }
  }
  state_->regions.push_back(std::move(region));
  return {};
}

Result<Attachment> Memory::attach(DmaMapper& mapper) {
  auto& mappers = state_->mappers;
  if (std::find(mappers.begin(), mappers.end(), &mapper) != mappers.end()) {
    return fail(Errc::kBadArgument, "attaching a mapper", "packet memory", 0,
                "This one is attached already: keep its first Attachment");
  }
  // Before anything is mapped: entering it below must not fail.
  mappers.reserve(mappers.size() + 1);
  for (std::size_t i = 0; i < state_->regions.size(); ++i) {
    if (Result<void> added = mapper.add(state_->regions[i]->description); !added) {
      while (i-- > 0) mapper.remove(state_->regions[i]->description);
      return fail(std::move(added));
    }
  }
  mappers.push_back(&mapper);
  Attachment attachment;
  attachment.memory_ = this;
  attachment.mapper_ = &mapper;
  return attachment;
}

void Memory::detach(DmaMapper& mapper) noexcept {
  std::erase(state_->mappers, &mapper);
  for (auto it = state_->regions.rbegin(); it != state_->regions.rend(); ++it) {
    mapper.remove((*it)->description);
  }
}

Result<DmaBlock> Memory::allocate(std::size_t bytes, std::size_t alignment) {
  if (bytes == 0 || !std::has_single_bit(alignment)) {
    return fail(Errc::kBadArgument, "allocating a DMA block",
                fmt::format("{} bytes aligned to {}", bytes, alignment), 0,
                "Ask for at least one byte; the alignment is a power of two");
  }
  for (const auto& region : state_->regions) {
    const auto address = region->arena.allocate(bytes, alignment);
    if (!address) continue;
    DmaBlock block;
    block.memory_ = this;
    block.data_ = reinterpret_cast<std::byte*>(*address);
    block.size_ = bytes;
    block.region_ = region->description.id;
    std::memset(block.data_, 0, bytes);  // the arena hands out what others have used
    return block;
  }
  std::size_t largest = 0;
  for (const auto& region : state_->regions) largest = std::max(largest, region->arena.largest_free());
  return fail(
      Errc::kOutOfMemory, "allocating a DMA block",
      fmt::format("{} KiB aligned to {}", (bytes + 1023) >> 10, alignment), 0,
      fmt::format("The widest gap has {} KiB: take more packet memory, or fewer packets", largest >> 10));
}

void Memory::give_back(const DmaBlock& block) noexcept {
  [[maybe_unused]] const bool was_used =
      state_->regions[block.region_]->arena.release(reinterpret_cast<std::uintptr_t>(block.data_));
  assert(was_used);
}

std::vector<MemoryRegion> Memory::regions() const {
  std::vector<MemoryRegion> list;
  list.reserve(state_->regions.size());
  for (const auto& region : state_->regions) list.push_back(region->description);
  return list;
}

}  // namespace spinring::mempool
