#include "bench/vhost/memory_table.hpp"

#include <sys/stat.h>

#include <cerrno>
#include <string>

#include "base/align.hpp"
#include "bench/vhost/errors.hpp"

namespace spinring::bench::vhost {

Result<MemoryTable> MemoryTable::map(std::span<const MemoryRegion> regions, std::vector<Fd> fds) {
  if (regions.empty() || regions.size() > kMostRegions || regions.size() != fds.size()) {
    return fail(Errc::kProtocol, "SET_MEM_TABLE",
                std::to_string(regions.size()) + " regions, " + std::to_string(fds.size()) + " descriptors");
  }
  MemoryTable table;
  for (std::size_t i = 0; i < regions.size(); ++i) {
    const MemoryRegion& region = regions[i];
    const std::string subject = "memory region " + std::to_string(i);
    struct stat status {};
    if (::fstat(fds[i].get(), &status) != 0) return fail(Errc::kSystem, "fstat", subject, errno);
    const std::uint64_t end = region.map_offset + region.size;
    // A shorter file would end in SIGBUS at the first touch.
    if (region.size == 0 || end < region.size || region.guest_address + region.size < region.size ||
        end > static_cast<std::uint64_t>(status.st_size)) {
      return fail(Errc::kMemory, "SET_MEM_TABLE: size and offset", subject);
    }
    // From the file's start, in whole blocks: an offset or length inside a hugepage cannot be mapped or
    // unmapped.
    const auto block = static_cast<std::uint64_t>(status.st_blksize);
    const std::uint64_t length = (block & (block - 1)) == 0 ? align_up(end, block) : end;
    void* address =
        ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fds[i].get(), 0);
    if (address == MAP_FAILED) return fail(Errc::kSystem, "mmap", subject, errno);
    Mapping mapping(address, length);
    std::byte* data = mapping.data() + region.map_offset;
    table.entries_.push_back(
        Entry{region.guest_address, region.size, data, region.user_address, std::move(mapping)});
  }
  return table;
}

std::byte* MemoryTable::user(std::uint64_t address, std::uint64_t length) const noexcept {
  for (const Entry& entry : entries_) {
    const std::uint64_t offset = address - entry.user_address;
    if (offset < entry.size && length <= entry.size - offset) return entry.data + offset;
  }
  return nullptr;
}

}  // namespace spinring::bench::vhost
