#pragma once

#include <linux/vfio.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "vfio_glue/errors.hpp"
#include "vfio_glue/sys.hpp"

/// VFIO's extensible "info" answers: a struct, then a chain of capabilities (struct vfio_info_cap_header)
/// that the struct's cap_offset begins. <linux/vfio.h>, "capability chain".
namespace spinring::vfio_glue {

/// The largest answer that is asked for again; the kernel's own are well under a page.
inline constexpr std::size_t kMaxInfoBytes = 64 * 1024;

/// A kernel struct with every byte 0. (`T{}` will not do: many end in a flexible array, and initialising one
/// is an extension.)
template <class T>
[[nodiscard]] T zeroed() noexcept {
  T value;
  std::memset(&value, 0, sizeof(value));
  return value;
}

/// Runs an info ioctl. When the whole answer needs more room than `question` has, the kernel sets argsz to
/// what it needs and leaves cap_offset 0; it is asked again with that much.
template <class Info>
[[nodiscard]] Result<std::vector<std::byte>> query_info(Sys& sys, int fd, unsigned long request,
                                                        const Info& question, std::string operation,
                                                        std::string subject) {
  std::vector<std::byte> answer(sizeof(Info));
  for (int attempt = 0; attempt < 3; ++attempt) {
    Info info = question;
    info.argsz = static_cast<decltype(info.argsz)>(answer.size());
    std::memcpy(answer.data(), &info, sizeof(info));
    const SysResult<int> done = ioctl_with(sys, fd, request, answer.data());
    if (!done) return fail(Errc::kKernel, std::move(operation), std::move(subject), done.error());
    std::memcpy(&info, answer.data(), sizeof(info));
    if (info.argsz <= answer.size()) return answer;
    if (info.argsz > kMaxInfoBytes) break;
    answer.assign(info.argsz, std::byte{0});
  }
  return fail(Errc::kKernel, std::move(operation), std::move(subject), 0,
              "The answer does not fit the size that the kernel asked for");
}

/// The fixed part of an answer.
template <class Info>
[[nodiscard]] Info fixed_part(std::span<const std::byte> answer) {
  Info info = zeroed<Info>();
  std::memcpy(&info, answer.data(), std::min(sizeof(info), answer.size()));
  return info;
}

/// The capability `id` in the chain that begins at `first` (0: there is none): from its header to the end of
/// the answer; empty if it is not there. The kernel appends, so offsets only grow: one that does not ends the
/// walk, and no chain can loop.
[[nodiscard]] inline std::span<const std::byte> find_capability(std::span<const std::byte> answer,
                                                                std::uint32_t first, std::uint16_t id) {
  std::uint32_t at = first;
  while (at != 0 && answer.size() >= sizeof(vfio_info_cap_header) &&
         at <= answer.size() - sizeof(vfio_info_cap_header)) {
    auto header = zeroed<vfio_info_cap_header>();
    std::memcpy(&header, answer.data() + at, sizeof(header));
    if (header.id == id) return answer.subspan(at);
    if (header.next <= at) break;
    at = header.next;
  }
  return {};
}

}  // namespace spinring::vfio_glue
