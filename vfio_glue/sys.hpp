#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "base/fd.hpp"
#include "base/mapping.hpp"

namespace spinring::vfio_glue {

/// What a system call gave, or its errno.
template <class T>
using SysResult = tl::expected<T, int>;

/// Every system call of this room passes here, so that tests can put a fake kernel in its place. What is
/// handed out (Fd, Mapping) is given back by its owner for real. Control thread only.
class Sys {
 public:
  Sys() = default;
  Sys(const Sys&) = delete;
  Sys& operator=(const Sys&) = delete;
  virtual ~Sys() = default;

  /// open(2); O_CLOEXEC is added.
  virtual SysResult<Fd> open(const std::string& path, int flags) = 0;
  /// ioctl(2). `argument` is a number or, through ioctl_with(), the address of a struct.
  virtual SysResult<int> ioctl(int fd, unsigned long request, unsigned long argument) = 0;
  /// mmap(2), MAP_SHARED, at an address of the kernel's choice.
  virtual SysResult<Mapping> mmap(std::size_t length, int protection, int fd, std::uint64_t offset) = 0;
  virtual SysResult<std::size_t> pread(int fd, void* buffer, std::size_t length, std::uint64_t offset) = 0;
  virtual SysResult<std::size_t> pwrite(int fd, const void* buffer, std::size_t length,
                                        std::uint64_t offset) = 0;
  /// eventfd(2), non-blocking, counter at 0.
  virtual SysResult<Fd> eventfd() = 0;
  /// access(2) with F_OK, R_OK, W_OK; the value is always 0.
  virtual SysResult<int> access(const std::string& path, int mode) = 0;
  virtual SysResult<std::string> read_link(const std::string& path) = 0;
  /// Names in a directory, sorted, without "." and "..".
  virtual SysResult<std::vector<std::string>> list_directory(const std::string& path) = 0;
  /// A small file's content (sysfs, procfs).
  virtual SysResult<std::string> read_file(const std::string& path) = 0;
  /// Writes `text` in one write(2), as sysfs attributes want it; the value is always 0.
  virtual SysResult<int> write_file(const std::string& path, std::string_view text) = 0;
  /// RLIMIT_MEMLOCK's soft limit in bytes; kUnlimited if there is none, or if CAP_IPC_LOCK lifts it.
  virtual SysResult<std::uint64_t> memlock_limit() = 0;

  static constexpr std::uint64_t kUnlimited = ~0ULL;
};

/// The process's real system calls.
Sys& real_sys() noexcept;

template <class T>
[[nodiscard]] SysResult<int> ioctl_with(Sys& sys, int fd, unsigned long request, T* argument) {
  return sys.ioctl(fd, request, reinterpret_cast<unsigned long>(argument));
}

}  // namespace spinring::vfio_glue
