#include "vfio_glue/sys.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <memory>

namespace spinring::vfio_glue {
namespace {

tl::unexpected<int> last_errno() { return tl::unexpected<int>(errno); }

class RealSys final : public Sys {
 public:
  SysResult<Fd> open(const std::string& path, int flags) override {
    Fd fd{::open(path.c_str(), flags | O_CLOEXEC)};
    if (!fd) return last_errno();
    return fd;
  }

  SysResult<int> ioctl(int fd, unsigned long request, unsigned long argument) override {
    const int value = ::ioctl(fd, request, argument);
    if (value < 0) return last_errno();
    return value;
  }

  SysResult<Mapping> mmap(std::size_t length, int protection, int fd, std::uint64_t offset) override {
    void* address = ::mmap(nullptr, length, protection, MAP_SHARED, fd, static_cast<off_t>(offset));
    if (address == MAP_FAILED) return last_errno();
    return Mapping{address, length};
  }

  SysResult<std::size_t> pread(int fd, void* buffer, std::size_t length, std::uint64_t offset) override {
    const ssize_t count = ::pread(fd, buffer, length, static_cast<off_t>(offset));
    if (count < 0) return last_errno();
    return static_cast<std::size_t>(count);
  }

  SysResult<std::size_t> pwrite(int fd, const void* buffer, std::size_t length,
                                std::uint64_t offset) override {
    const ssize_t count = ::pwrite(fd, buffer, length, static_cast<off_t>(offset));
    if (count < 0) return last_errno();
    return static_cast<std::size_t>(count);
  }

  SysResult<Fd> eventfd() override {
    Fd fd{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (!fd) return last_errno();
    return fd;
  }

  SysResult<int> access(const std::string& path, int mode) override {
    // The effective user counts, as it does for open().
    if (::faccessat(AT_FDCWD, path.c_str(), mode, AT_EACCESS) != 0) return last_errno();
    return 0;
  }

  SysResult<std::string> read_link(const std::string& path) override {
    std::array<char, PATH_MAX> target;
    const ssize_t length = ::readlink(path.c_str(), target.data(), target.size());
    if (length < 0) return last_errno();
    return std::string(target.data(), static_cast<std::size_t>(length));
  }

  SysResult<std::vector<std::string>> list_directory(const std::string& path) override {
    const auto close_directory = [](DIR* directory) { ::closedir(directory); };
    const std::unique_ptr<DIR, decltype(close_directory)> directory{::opendir(path.c_str()), close_directory};
    if (!directory) return last_errno();
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = ::readdir(directory.get())) {
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") names.emplace_back(name);
    }
    if (errno != 0) return last_errno();
    std::sort(names.begin(), names.end());
    return names;
  }

  SysResult<std::string> read_file(const std::string& path) override {
    const Fd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!fd) return last_errno();
    std::string content;
    std::array<char, 4096> chunk;
    for (;;) {
      const ssize_t count = ::read(fd.get(), chunk.data(), chunk.size());
      if (count < 0) return last_errno();
      if (count == 0) return content;
      content.append(chunk.data(), static_cast<std::size_t>(count));
    }
  }

  SysResult<int> write_file(const std::string& path, std::string_view text) override {
    const Fd fd{::open(path.c_str(), O_WRONLY | O_CLOEXEC)};
    if (!fd) return last_errno();
    if (::write(fd.get(), text.data(), text.size()) < 0) return last_errno();
    return 0;
  }

  SysResult<std::uint64_t> memlock_limit() override {
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> capabilities{};
    if (::syscall(SYS_capget, &header, capabilities.data()) != 0) return last_errno();
    if ((capabilities[0].effective & (1U << CAP_IPC_LOCK)) != 0) return kUnlimited;
    rlimit limit{};
    if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return last_errno();
    return limit.rlim_cur == RLIM_INFINITY ? kUnlimited : static_cast<std::uint64_t>(limit.rlim_cur);
  }
};

}  // namespace

Sys& real_sys() noexcept {
  static RealSys sys;
  return sys;
}

}  // namespace spinring::vfio_glue
