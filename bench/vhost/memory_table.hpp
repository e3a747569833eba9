#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/fd.hpp"
#include "base/mapping.hpp"
#include "base/result.hpp"
#include "bench/vhost/protocol.hpp"

namespace spinring::bench::vhost {

/// The front end's memory as SET_MEM_TABLE gave it, mapped here. Both look-ups refuse a range that is not
/// within one region, so an address that the driver wrote is checked where it is translated.
class MemoryTable {
 public:
  MemoryTable() = default;
  /// Maps every region. `fds` are closed on return: the mappings keep the memory.
  static Result<MemoryTable> map(std::span<const MemoryRegion> regions, std::vector<Fd> fds);

  /// What descriptors hold. Hot path.
  [[nodiscard]] std::byte* guest(std::uint64_t address, std::uint64_t length) const noexcept {
    for (const Entry& entry : entries_) {
      const std::uint64_t offset = address - entry.guest_address;
      if (offset < entry.size && length <= entry.size - offset) return entry.data + offset;
    }
    return nullptr;
  }
  /// The region that an address is in; size 0: none.
  struct Window {
    std::uint64_t guest_address = 0;
    std::uint64_t size = 0;
    std::byte* data = nullptr;
  };
  [[nodiscard]] Window window(std::uint64_t address) const noexcept {
    for (const Entry& entry : entries_) {
      if (address - entry.guest_address < entry.size) return {entry.guest_address, entry.size, entry.data};
    }
    return {};
  }
  /// What SET_VRING_ADDR holds: the front end's own virtual addresses.
  [[nodiscard]] std::byte* user(std::uint64_t address, std::uint64_t length) const noexcept;

  [[nodiscard]] bool empty() const noexcept { return entries_.empty(); }

 private:
  struct Entry {
    std::uint64_t guest_address;
    std::uint64_t size;
    std::byte* data;
    std::uint64_t user_address;
    Mapping mapping;
  };
  std::vector<Entry> entries_;
};

}  // namespace spinring::bench::vhost
