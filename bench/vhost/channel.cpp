#include "bench/vhost/channel.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "bench/vhost/errors.hpp"

namespace spinring::bench::vhost {
namespace {

constexpr std::chrono::milliseconds kPatience{2000};

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return fail(Errc::kBadArgument, "unix socket path", path, ENAMETOOLONG,
                "Name a shorter path with --socket.");
  }
  std::copy(path.begin(), path.end(), address.sun_path);
  return address;
}

int milliseconds_left(const Deadline& deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline.left()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, 1'000'000));
}

}  // namespace

Result<Listener> Listener::open(const std::string& path) {
  auto address = address_of(path);
  if (!address) return fail(std::move(address));
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return fail(Errc::kSystem, "socket", path, errno);
  ::unlink(path.c_str());
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof(*address)) != 0 ||
      ::listen(fd.get(), 1) != 0) {
    return fail(Errc::kSystem, "bind", path, errno, "Name a path in a folder that this user may write.");
  }
  return Listener(std::move(fd), path);
}

Listener::~Listener() {
  if (fd_) ::unlink(path_.c_str());
}

Result<Fd> Listener::accept(Deadline deadline) const {
  pollfd waiting{fd_.get(), POLLIN, 0};
  const int ready = ::poll(&waiting, 1, milliseconds_left(deadline));
  if (ready < 0) return fail(Errc::kSystem, "poll", path_, errno);
  if (ready == 0) return fail(Errc::kTimeout, "accept", path_, 0, "Start the front end on this socket.");
  Fd socket(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!socket) return fail(Errc::kSystem, "accept", path_, errno);
  return socket;
}

Result<Fd> connect_to(const std::string& path, Deadline deadline) {
  auto address = address_of(path);
  if (!address) return fail(std::move(address));
  int error = 0;
  Fd socket;
  const bool connected = wait_until(
      [&] {
        socket = Fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof(*address)) == 0)
          return true;
        error = errno;
        return false;
      },
      deadline, std::chrono::milliseconds(20));
  if (!connected)
    return fail(Errc::kTimeout, "connect", path, error, "Start the front end as a server on it.");
  return socket;
}

bool Channel::readable(int milliseconds) const {
  pollfd waiting{socket_.get(), POLLIN, 0};
  return ::poll(&waiting, 1, milliseconds) > 0;
}

Result<void> Channel::read_all(void* data, std::size_t size) {
  auto* at = static_cast<std::byte*>(data);
  const Deadline deadline(kPatience);
  while (size > 0) {
    if (!readable(milliseconds_left(deadline))) {
      return fail(Errc::kProtocol, "read", "a message that ends in the middle", ETIMEDOUT);
    }
    const ssize_t got = ::recv(socket_.get(), at, size, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return fail(Errc::kDisconnected, "read", "vhost-user socket", got < 0 ? errno : 0);
    at += got;
    size -= static_cast<std::size_t>(got);
  }
  return {};
}

Result<Message> Channel::receive() {
  MessageHeader header{};
  iovec part{&header, sizeof(header)};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kMostRegions)> control{};
  msghdr envelope{};
  envelope.msg_iov = &part;
  envelope.msg_iovlen = 1;
  envelope.msg_control = control.data();
  envelope.msg_controllen = control.size();
  const ssize_t got = ::recvmsg(socket_.get(), &envelope, MSG_CMSG_CLOEXEC);
  if (got <= 0) return fail(Errc::kDisconnected, "recvmsg", "vhost-user socket", got < 0 ? errno : 0);

  Message message;
  for (cmsghdr* item = CMSG_FIRSTHDR(&envelope); item != nullptr; item = CMSG_NXTHDR(&envelope, item)) {
    if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_RIGHTS) continue;
    for (std::size_t at = 0; at + sizeof(int) <= item->cmsg_len - CMSG_LEN(0); at += sizeof(int)) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(item) + at, sizeof(fd));
      message.fds.emplace_back(fd);
    }
  }
  const auto have = static_cast<std::size_t>(got);
  if (auto rest = read_all(reinterpret_cast<std::byte*>(&header) + have, sizeof(header) - have); !rest) {
    return fail(std::move(rest));
  }
  if ((header.flags & kFlagVersionMask) != kFlagVersion1 || header.size > kMostPayload) {
    return fail(Errc::kProtocol, "message header", "request " + std::to_string(header.request));
  }
  message.request = static_cast<Request>(header.request);
  message.flags = header.flags;
  message.size = header.size;
  if (auto rest = read_all(message.payload.data(), header.size); !rest) return fail(std::move(rest));
  return message;
}

Result<void> Channel::send(const Message& message) {
  MessageHeader header{static_cast<std::uint32_t>(message.request), message.flags, message.size};
  std::array<iovec, 2> parts{iovec{&header, sizeof(header)},
                             iovec{const_cast<std::byte*>(message.payload.data()), message.size}};
  msghdr envelope{};
  envelope.msg_iov = parts.data();
  envelope.msg_iovlen = parts.size();
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kMostRegions)> control{};
  if (!message.fds.empty()) {
    const std::size_t bytes = sizeof(int) * std::min(message.fds.size(), kMostRegions);
    envelope.msg_control = control.data();
    envelope.msg_controllen = CMSG_SPACE(bytes);
    cmsghdr* item = CMSG_FIRSTHDR(&envelope);
    item->cmsg_level = SOL_SOCKET;
    item->cmsg_type = SCM_RIGHTS;
    item->cmsg_len = CMSG_LEN(bytes);
    for (std::size_t i = 0; i < bytes / sizeof(int); ++i) {
      const int fd = message.fds[i].get();
      std::memcpy(CMSG_DATA(item) + i * sizeof(int), &fd, sizeof(fd));
    }
  }
  const ssize_t sent = ::sendmsg(socket_.get(), &envelope, MSG_NOSIGNAL);
  // A unix stream socket takes a message of this size whole, or fails.
  if (sent != static_cast<ssize_t>(sizeof(header) + message.size)) {
    return fail(Errc::kDisconnected, "sendmsg", "vhost-user socket", errno);
  }
  return {};
}

}  // namespace spinring::bench::vhost
