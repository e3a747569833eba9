#include "apps/testpmd/output.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <vector>

#include "base/fd.hpp"

namespace spinring::testpmd {
namespace {

std::string failure(std::string_view operation, const std::string& path, int error) {
  return std::string(operation) + " " + path + ": " + std::strerror(error);
}

std::optional<std::string> write_in_place(const std::string& path, std::string_view text) {
  const Fd fd(::open(path.c_str(), O_WRONLY | O_NOCTTY | O_CLOEXEC));
  if (!fd) return failure("opening", path, errno);
  if (!write_all(fd.get(), text)) return failure("writing", path, errno);
  return {};
}

std::optional<std::string> write_and_rename(const std::string& path, std::string_view text) {
  std::string pattern = path + ".XXXXXX";
  Fd fd(::mkostemp(pattern.data(), O_CLOEXEC));
  if (!fd) return failure("creating a temporary file beside", path, errno);
  // mkostemp gives 0600; the file is as any other that a program writes.
  const mode_t mask = ::umask(0);
  ::umask(mask);
  const bool written = write_all(fd.get(), text) && ::fchmod(fd.get(), 0666 & ~mask) == 0 &&
                       ::fsync(fd.get()) == 0 && ::rename(pattern.c_str(), path.c_str()) == 0;
  if (!written) {
    const int error = errno;
    ::unlink(pattern.c_str());
    return failure("writing", path, error);
  }
  return {};
}

}  // namespace

bool write_all(int fd, std::string_view text) noexcept {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

std::optional<std::string> write_file(const std::string& path, std::string_view text) {
  if (path == "-") {
    if (write_all(STDOUT_FILENO, text)) return {};
    return failure("writing", "standard output", errno);
  }
  struct stat status {};
  const bool exists = ::stat(path.c_str(), &status) == 0;
  if (exists && !S_ISREG(status.st_mode)) return write_in_place(path, text);
  return write_and_rename(path, text);
}

}  // namespace spinring::testpmd
