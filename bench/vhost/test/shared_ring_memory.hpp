#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "base/fd.hpp"
#include "base/mapping.hpp"
#include "bench/vhost/batch.hpp"
#include "bench/vhost/memory_table.hpp"

namespace spinring::bench::vhost {

/// The driver's memory: one memfd, seen by the test as the driver sees it and by the back end through its
/// table. Guest addresses start at kGuest, user addresses at kUser, so that neither is taken for the other.
class SharedRingMemory {
 public:
  static constexpr std::uint64_t kGuest = 0x1'0000'0000;
  static constexpr std::uint64_t kUser = 0x7000'0000'0000;
  static constexpr std::size_t kSize = std::size_t{1} << 20U;
  // Offsets: each queue has a page of descriptors, available and used; buffers follow.
  static constexpr std::size_t kQueueBytes = 3 * 4096;
  static constexpr std::size_t kBuffers = 64 * 1024;

  SharedRingMemory() : fd_(::memfd_create("vhost-test", MFD_CLOEXEC)) {
    if (::ftruncate(fd_.get(), kSize) != 0) return;
    mapping_ = Mapping(::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0), kSize);
  }

  [[nodiscard]] Fd duplicate() const { return Fd(::dup(fd_.get())); }
  [[nodiscard]] static MemoryRegion region() { return {kGuest, kSize, kUser, 0}; }
  [[nodiscard]] MemoryTable table() const {
    const MemoryRegion whole = region();
    std::vector<Fd> fds;
    fds.push_back(duplicate());
    return std::move(*MemoryTable::map({&whole, 1}, std::move(fds)));
  }

  [[nodiscard]] std::byte* at(std::size_t offset) const { return mapping_.data() + offset; }
  static constexpr std::size_t descriptors(unsigned queue) { return queue * kQueueBytes; }
  static constexpr std::size_t available(unsigned queue) { return descriptors(queue) + 4096; }
  static constexpr std::size_t used(unsigned queue) { return descriptors(queue) + 8192; }
  static constexpr std::size_t buffer(unsigned index) { return kBuffers + std::size_t{index} * 2048; }

  [[nodiscard]] RingPlace place(std::uint16_t size, Direction direction, unsigned queue = 0) const {
    RingPlace place;
    place.descriptors = at(descriptors(queue));
    place.available = at(available(queue));
    place.used = at(used(queue));
    place.size = size;
    place.direction = direction;
    return place;
  }

 private:
  Fd fd_;
  Mapping mapping_;
};

/// The driver's side of a split ring, as little as a test needs, written from linux/virtio_ring.h.
class SplitDriver {
 public:
  SplitDriver(const SharedRingMemory& memory, std::uint16_t size, unsigned queue = 0)
      : memory_(memory), size_(size), queue_(queue) {}

  vring_desc& descriptor(std::uint16_t slot) const {
    return reinterpret_cast<vring_desc*>(memory_.at(SharedRingMemory::descriptors(queue_)))[slot];
  }
  vring_avail& available() const {
    return *reinterpret_cast<vring_avail*>(memory_.at(SharedRingMemory::available(queue_)));
  }
  vring_used& used() const {
    return *reinterpret_cast<vring_used*>(memory_.at(SharedRingMemory::used(queue_)));
  }

  /// One descriptor for a buffer of the memory.
  void describe(std::uint16_t slot, std::size_t offset, std::uint32_t length, std::uint16_t flags,
                std::uint16_t next = 0) const {
    descriptor(slot) = {SharedRingMemory::kGuest + offset, length, flags, next};
  }
  void publish(std::uint16_t head) const {
    available().ring[available().idx % size_] = head;
    __atomic_store_n(&available().idx, static_cast<std::uint16_t>(available().idx + 1), __ATOMIC_RELEASE);
  }

 private:
  const SharedRingMemory& memory_;
  std::uint16_t size_;
  unsigned queue_;
};

/// The same for a packed ring.
class PackedDriver {
 public:
  PackedDriver(const SharedRingMemory& memory, std::uint16_t size, unsigned queue = 0)
      : memory_(memory), size_(size), queue_(queue) {}

  vring_packed_desc& descriptor(std::uint16_t slot) const {
    return reinterpret_cast<vring_packed_desc*>(memory_.at(SharedRingMemory::descriptors(queue_)))[slot];
  }
  /// Makes the next descriptor available; its slot.
  std::uint16_t publish(std::size_t offset, std::uint32_t length, std::uint16_t id, std::uint16_t flags) {
    const std::uint16_t slot = next_;
    const auto marks =
        static_cast<std::uint16_t>(wrap_ ? 1U << VRING_PACKED_DESC_F_AVAIL : 1U << VRING_PACKED_DESC_F_USED);
    descriptor(slot) = {SharedRingMemory::kGuest + offset, length, id,
                        static_cast<std::uint16_t>(flags | marks)};
    if (++next_ == size_) {
      next_ = 0;
      wrap_ = !wrap_;
    }
    return slot;
  }
  /// Whether the device has used this slot, in the driver's round `wrap`.
  [[nodiscard]] bool is_used(std::uint16_t slot, bool wrap) const {
    const std::uint16_t flags = descriptor(slot).flags;
    const bool available = ((flags >> VRING_PACKED_DESC_F_AVAIL) & 1U) != 0;
    const bool used = ((flags >> VRING_PACKED_DESC_F_USED) & 1U) != 0;
    return available == wrap && used == wrap;
  }

 private:
  const SharedRingMemory& memory_;
  std::uint16_t size_;
  unsigned queue_;
  std::uint16_t next_ = 0;
  bool wrap_ = true;
};

}  // namespace spinring::bench::vhost
