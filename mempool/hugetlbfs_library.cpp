#include "mempool/hugetlbfs_library.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>

// A C header that does not say so itself.
extern "C" {
#include <hugetlbfs.h>
}

namespace spinring::mempool::hugetlbfs {
namespace {

struct Functions {
  decltype(&::gethugepagesizes) page_sizes = nullptr;
  decltype(&::hugetlbfs_find_path_for_size) find_path = nullptr;
  decltype(&::hugetlbfs_unlinked_fd_for_size) unlinked_fd = nullptr;
  [[nodiscard]] bool complete() const noexcept { return page_sizes && find_path && unlinked_fd; }
};

Functions load() {
  // What it reads when it is loaded, and prints about when it is missing.
  for (const char* path : {"/proc/meminfo", "/proc/mounts", "/sys/kernel/mm/hugepages"}) {
    if (::access(path, R_OK) != 0) return {};
  }
  // Never closed again: it has no way to undo what it set up.
  void* library = ::dlopen("libhugetlbfs.so.0", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return {};
  Functions found;
  found.page_sizes = reinterpret_cast<decltype(found.page_sizes)>(::dlsym(library, "gethugepagesizes"));
  found.find_path =
      reinterpret_cast<decltype(found.find_path)>(::dlsym(library, "hugetlbfs_find_path_for_size"));
  found.unlinked_fd =
      reinterpret_cast<decltype(found.unlinked_fd)>(::dlsym(library, "hugetlbfs_unlinked_fd_for_size"));
  return found.complete() ? found : Functions{};
}

const Functions& functions() {
  static const Functions loaded = load();
  return loaded;
}

}  // namespace

std::vector<std::size_t> page_sizes() {
  std::vector<std::size_t> sizes;
  if (!functions().complete()) return sizes;
  std::array<long, 16> found{};
  const int count = functions().page_sizes(found.data(), static_cast<int>(found.size()));
  for (int i = 0; i < count; ++i) {
    sizes.push_back(static_cast<std::size_t>(found[static_cast<std::size_t>(i)]));
  }
  return sizes;
}

Fd unlinked_file(std::size_t page_size) {
  if (!functions().complete()) return Fd{};
  const char* path = functions().find_path(static_cast<long>(page_size));
  // It prints when it cannot create its file: ask first, and leave such a mount alone.
  if (path == nullptr || ::access(path, W_OK | X_OK) != 0) return Fd{};
  Fd fd(functions().unlinked_fd(static_cast<long>(page_size)));
  if (fd) ::fcntl(fd.get(), F_SETFD, FD_CLOEXEC);
  return fd;
}

}  // namespace spinring::mempool::hugetlbfs
