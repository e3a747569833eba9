#include "pmd/bus/qtest/guest_memory.hpp"

#include <fmt/format.h>

#include "base/align.hpp"
#include "pmd/errors.hpp"

namespace spinring::pmd {
namespace {

constexpr std::uint64_t kMaxMemory = 256ULL << 30;
constexpr unsigned kSlots = 64;
static_assert(kSlots >= kMaxRegions);

}  // namespace

std::string GuestMemory::memory_option() {
  // 16 MiB of private memory for the halted CPU's firmware area; ours comes as DIMMs.
  return fmt::format("16M,slots={},maxmem={}G", kSlots, kMaxMemory >> 30);
}

Result<Iova> GuestMemory::map(const MemoryRegion& region) {
  const std::string subject = fmt::format("memory region {} ({} MiB)", region.id, region.length >> 20);
  if (region.fd < 0) {
    return fail(Errc::kBadArgument, "share with QEMU", subject, 0,
                "The region has no file descriptor: take it from a memfd or hugetlbfs");
  }
  const std::uint64_t address = next_address_;
  const std::uint64_t end = address + align_up<std::uint64_t>(region.length, kAlignment);
  if (dimms_ == kSlots || end > kFirstAddress + kMaxMemory) {
    return fail(Errc::kBadArgument, "plug into QEMU", subject, 0,
                fmt::format("QEMU takes {} regions and {} GiB in all; each counts in whole GiB", kSlots,
                            kMaxMemory >> 30));
  }
  Result<int> fd = qmp_.share_fd(region.fd);
  if (!fd) return fail(std::move(fd));
  Result<std::string> backend = qmp_.execute(
      "object-add", fmt::format(R"({{"qom-type":"memory-backend-file","id":"mem{}","size":{},"offset":{},)"
                                R"("share":true,"mem-path":"/proc/self/fd/{}"}})",
                                dimms_, region.length, region.fd_offset, *fd));
  if (!backend) return fail(std::move(backend));
  Result<std::string> dimm = qmp_.execute(
      "device_add",
      fmt::format(R"({{"driver":"pc-dimm","id":"dimm{0}","memdev":"mem{0}","addr":{1}}})", dimms_, address));
  if (!dimm) {
    static_cast<void>(qmp_.execute("object-del", fmt::format(R"({{"id":"mem{}"}})", dimms_)));
    return fail(std::move(dimm));
  }
  ++dimms_;
  next_address_ = end;
  return Iova{address};
}

void GuestMemory::unmap(const MemoryRegion& /*region*/) noexcept {}

}  // namespace spinring::pmd
