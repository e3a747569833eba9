#include "pmd/virtio/vhost_user/channel.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "pmd/errors.hpp"

namespace spinring::pmd::virtio::vhost_user {
namespace {

using namespace std::chrono_literals;

constexpr auto kReplyTimeout = 5s;

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return fail(Errc::kBadArgument, "vhost-user socket path", path, 0,
                fmt::format("It must have 1 to {} characters", sizeof(address.sun_path) - 1));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

Result<Fd> new_socket(const std::string& path) {
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail(Errc::kUnsupported, "opening a unix socket", path, errno);
  return socket;
}

/// Waits until `fd` is readable.
bool readable(int fd, Deadline deadline) {
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline.left()).count();
    pollfd item{.fd = fd, .events = POLLIN, .revents = 0};
    const int ready = ::poll(&item, 1, static_cast<int>(std::max<std::int64_t>(left, 0)));
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) return false;
  }
}

}  // namespace

Result<Channel> Channel::connect(const std::string& path, Deadline deadline) {
  auto address = address_of(path);
  if (!address) return fail(std::move(address));
  auto socket = new_socket(path);
  if (!socket) return fail(std::move(socket));
  int error = 0;
  const bool done = wait_until(
      [&] {
        error = ::connect(socket->get(), reinterpret_cast<const sockaddr*>(&*address), sizeof(*address)) == 0
                    ? 0
                    : errno;
        return error == 0 || (error != ENOENT && error != ECONNREFUSED && error != EINTR);
      },
      deadline, 10ms);
  if (!done || error != 0) {
    return fail(Errc::kTimeout, "connecting to the vhost-user back end", path, error,
                "Start the switch first, or use server=1 to let it connect");
  }
  return Channel(std::move(*socket), path);
}

Result<Fd> Channel::listen(const std::string& path) {
  auto address = address_of(path);
  if (!address) return fail(std::move(address));
  auto socket = new_socket(path);
  if (!socket) return fail(std::move(socket));
  struct stat found {};
  if (::lstat(path.c_str(), &found) == 0 && S_ISSOCK(found.st_mode)) ::unlink(path.c_str());
  if (::bind(socket->get(), reinterpret_cast<const sockaddr*>(&*address), sizeof(*address)) != 0 ||
      ::listen(socket->get(), 1) != 0) {
    return fail(Errc::kBadArgument, "listening for a vhost-user back end", path, errno);
  }
  return std::move(*socket);
}

Result<Channel> Channel::accept(int listener, const std::string& path, Deadline deadline) {
  if (!readable(listener, deadline)) {
    return fail(Errc::kTimeout, "waiting for a vhost-user back end to connect", path, 0,
                "Start the switch in client mode");
  }
  Fd socket(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
  if (!socket) return fail(Errc::kUnsupported, "accepting a vhost-user back end", path, errno);
  return Channel(std::move(socket), path);
}

Result<void> Channel::send(Request request, std::span<const std::byte> payload, std::span<const int> fds,
                           bool acknowledged) {
  if (auto sent = write(request, acknowledged ? kFlagNeedReply : 0, payload, fds); !sent || !acknowledged)
    return sent;
  std::uint64_t verdict = 0;
  if (auto read = read_reply(request, std::as_writable_bytes(std::span(&verdict, 1))); !read) return read;
  if (verdict != 0) {
    return fail(Errc::kRejected, fmt::format("vhost-user request {}", static_cast<unsigned>(request)), path_);
  }
  return {};
}

Result<void> Channel::ask(Request request, std::span<const std::byte> payload, std::span<std::byte> reply) {
  if (auto sent = write(request, 0, payload, {}); !sent) return sent;
  return read_reply(request, reply);
}

bool Channel::connected() const {
  pollfd item{.fd = socket_.get(), .events = POLLRDHUP, .revents = 0};
  return ::poll(&item, 1, 0) == 0;
}

Result<void> Channel::write(Request request, std::uint32_t flags, std::span<const std::byte> payload,
                            std::span<const int> fds) {
  Header header{static_cast<std::uint32_t>(request), kVersion | flags,
                static_cast<std::uint32_t>(payload.size())};
  iovec parts[2] = {{&header, sizeof(header)}, {const_cast<std::byte*>(payload.data()), payload.size()}};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxRegionsInTable)] = {};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = payload.empty() ? 1 : 2;
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* const rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(rights), fds.data(), fds.size_bytes());
  }
  // A message is far smaller than a socket buffer, and one is sent at a time: it goes whole or not at all.
  const ssize_t sent = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
  if (sent != static_cast<ssize_t>(sizeof(header) + payload.size())) {
    return fail(Errc::kRemoved, fmt::format("sending vhost-user request {}", header.request), path_,
                sent < 0 ? errno : 0);
  }
  return {};
}

Result<void> Channel::read(std::span<std::byte> into, Request request, Deadline deadline) {
  while (!into.empty()) {
    const auto operation = [&] {
      return fmt::format("reading the reply to vhost-user request {}", static_cast<unsigned>(request));
    };
    if (!readable(socket_.get(), deadline)) return fail(Errc::kTimeout, operation(), path_);
    const ssize_t got = ::recv(socket_.get(), into.data(), into.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return fail(Errc::kRemoved, operation(), path_, got < 0 ? errno : 0);
    into = into.subspan(static_cast<std::size_t>(got));
  }
  return {};
}

Result<void> Channel::read_reply(Request request, std::span<std::byte> payload) {
  const Deadline deadline(kReplyTimeout);
  Header header{};
  if (auto got = read(std::as_writable_bytes(std::span(&header, 1)), request, deadline); !got) return got;
  if (header.request != static_cast<std::uint32_t>(request) || (header.flags & kFlagReply) == 0 ||
      header.size != payload.size()) {
    return fail(Errc::kBadDevice,
                fmt::format("reply to vhost-user request {}: got request {}, flags {:#x}, {} bytes",
                            static_cast<unsigned>(request), header.request, header.flags, header.size),
                path_);
  }
  return read(payload, request, deadline);
}

}  // namespace spinring::pmd::virtio::vhost_user
