#include "tests/device/rig.hpp"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>

#include "tests/pattern.hpp"

namespace spinring::test {
namespace {

constexpr std::size_t kLengthBytes = 4;
constexpr std::size_t kMaxFrame = 128 * 1024;

/// Waits for `events`; false when the deadline has passed first.
bool wait_for(int fd, short events, const Deadline& deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline.left()).count();
  pollfd ready{.fd = fd, .events = events, .revents = 0};
  return ::poll(&ready, 1, static_cast<int>(std::max<long>(0, left))) > 0;
}

}  // namespace

TempDir::TempDir() {
  std::string name = (std::filesystem::temp_directory_path() / "spinring-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp " + name);
  path_ = name;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::unique_ptr<mempool::Memory> make_memory(std::size_t mebibytes) {
  return must(mempool::Memory::create({.bytes = mebibytes << 20, .hugepages = false}));
}

FramePeer::FramePeer(const std::string& path)
    : listener_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) throw std::runtime_error("path too long: " + path);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  if (::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener_.get(), 1) != 0) {
    throw std::runtime_error("listen on " + path + ": " + std::strerror(errno));
  }
}

bool FramePeer::connect(Deadline deadline) {
  while (!socket_) {
    if (!wait_for(listener_.get(), POLLIN, deadline)) return false;
    socket_ = Fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  }
  return true;
}

bool FramePeer::send(std::span<const std::uint8_t> frame, Deadline deadline) {
  if (!connect(deadline)) return false;
  const auto length = static_cast<std::uint32_t>(frame.size());
  std::vector<std::uint8_t> message{
      static_cast<std::uint8_t>(length >> 24), static_cast<std::uint8_t>(length >> 16),
      static_cast<std::uint8_t>(length >> 8), static_cast<std::uint8_t>(length)};
  message.insert(message.end(), frame.begin(), frame.end());
  std::span<const std::uint8_t> left(message);
  while (!left.empty()) {
    const ssize_t sent = ::send(socket_.get(), left.data(), left.size(), MSG_NOSIGNAL);
    if (sent > 0) {
      left = left.subspan(static_cast<std::size_t>(sent));
    } else if (errno != EAGAIN && errno != EINTR) {
      return false;
    } else if (!wait_for(socket_.get(), POLLOUT, deadline)) {
      return false;
    }
  }
  return true;
}

std::optional<Frame> FramePeer::receive(Deadline deadline) {
  if (!connect(deadline)) return std::nullopt;
  while (true) {
    if (std::optional<Frame> frame = take_frame()) return frame;
    std::array<std::uint8_t, 65536> chunk;
    const ssize_t got = ::recv(socket_.get(), chunk.data(), chunk.size(), 0);
    if (got > 0) {
      buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(consumed_));
      consumed_ = 0;
      buffer_.insert(buffer_.end(), chunk.begin(), chunk.begin() + got);
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
      return std::nullopt;
    } else if (!wait_for(socket_.get(), POLLIN, deadline)) {
      return std::nullopt;
    }
  }
}

std::optional<Frame> FramePeer::take_frame() {
  const std::size_t have = buffer_.size() - consumed_;
  if (have < kLengthBytes) return std::nullopt;
  std::uint32_t wire_length = 0;
  std::memcpy(&wire_length, buffer_.data() + consumed_, sizeof wire_length);
  const std::size_t length = ntohl(wire_length);
  if (length > kMaxFrame)
    throw std::runtime_error("QEMU sent a frame of " + std::to_string(length) + " bytes");
  if (have < kLengthBytes + length) return std::nullopt;
  const auto begin = buffer_.begin() + static_cast<std::ptrdiff_t>(consumed_ + kLengthBytes);
  consumed_ += kLengthBytes + length;
  return Frame(begin, begin + static_cast<std::ptrdiff_t>(length));
}

Frame make_frame(std::size_t length, std::uint32_t seed, const std::array<std::uint8_t, 6>& destination,
                 const std::array<std::uint8_t, 6>& source) {
  Frame frame(length);
  std::copy(destination.begin(), destination.end(), frame.begin());
  std::copy(source.begin(), source.end(), frame.begin() + 6);
  frame[12] = 0x88;  // IEEE 802 local experimental EtherType 1
  frame[13] = 0xb5;
  fill_pattern(std::span(frame).subspan(14), seed * 2654435761U + static_cast<std::uint32_t>(length));
  return frame;
}

}  // namespace spinring::test
