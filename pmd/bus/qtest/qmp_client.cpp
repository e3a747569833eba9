#include "pmd/bus/qtest/qmp_client.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "pmd/errors.hpp"

namespace spinring::pmd {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kMaxEvents = 256;

Json parse(std::string_view text) { return Json::parse(text, nullptr, /*allow_exceptions=*/false); }

}  // namespace

QmpClient::QmpClient(Fd socket, const QemuProcess& process, Clock::duration reply_timeout)
    : socket_(std::move(socket)), process_(process), reply_timeout_(reply_timeout) {}

Result<void> QmpClient::open() {
  Result<std::string> greeting = next_line(Deadline(reply_timeout_));
  if (!greeting) return fail(std::move(greeting));
  if (!parse(*greeting).contains("QMP")) {
    return fail(Errc::kQemu, "read QMP greeting", "QEMU", 0, "It said: " + *greeting);
  }
  Result<std::string> ready = execute("qmp_capabilities");
  if (!ready) return fail(std::move(ready));
  return {};
}

Result<std::string> QmpClient::execute(std::string_view command, std::string_view arguments) {
  return run(command, arguments, -1);
}

Result<int> QmpClient::share_fd(int fd) {
  Result<std::string> added = run("add-fd", "{}", fd);
  if (!added) return fail(std::move(added));
  const Json reply = parse(*added);
  if (!reply.is_object() || !reply.contains("fd") || !reply["fd"].is_number_integer()) {
    return fail(Errc::kQemu, "QMP add-fd", "QEMU", 0, "It answered: " + *added);
  }
  return reply["fd"].get<int>();
}

Result<std::string> QmpClient::wait_event(std::string_view name, Deadline deadline) {
  while (true) {
    const auto found = std::find_if(events_.begin(), events_.end(),
                                    [name](const Event& event) { return event.name == name; });
    if (found != events_.end()) {
      std::string data = std::move(found->data);
      events_.erase(found);
      return data;
    }
    Result<std::string> line = next_line(deadline);
    if (!line) return fail(std::move(line));
    const Json message = parse(*line);
    if (message.is_object() && message.contains("event")) {
      events_.push_back({message.value("event", ""), message.value("data", Json::object()).dump()});
    }
  }
}

Result<std::string> QmpClient::run(std::string_view command, std::string_view arguments, int fd) {
  const std::string line = fmt::format(R"({{"execute":"{}","arguments":{}}})"
                                       "\n",
                                       command, arguments);
  if (Result<void> sent = send_line(line, fd); !sent) return fail(std::move(sent));
  const Deadline deadline(reply_timeout_);
  while (true) {
    Result<std::string> reply = next_line(deadline);
    if (!reply) return fail(std::move(reply));
    const Json message = parse(*reply);
    if (!message.is_object()) {
      return fail(Errc::kQemu, "QMP " + std::string(command), "QEMU", 0, "It answered: " + *reply);
    }
    if (message.contains("return")) return message["return"].dump();
    if (message.contains("error")) {
      return fail(Errc::kRejected, "QMP " + std::string(command), "QEMU", 0,
                  message["error"].value("desc", "no reason given"));
    }
    if (message.contains("event")) {
      if (events_.size() == kMaxEvents) events_.pop_front();
      events_.push_back({message.value("event", ""), message.value("data", Json::object()).dump()});
    }
  }
}

Result<void> QmpClient::send_line(std::string_view line, int fd) {
  iovec part{.iov_base = const_cast<char*>(line.data()), .iov_len = line.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (fd >= 0) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  }
  // Commands are far smaller than the socket's buffer and each one's reply is awaited: this never blocks.
  const ssize_t sent = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent == static_cast<ssize_t>(line.size())) return {};
  const int error = sent < 0 ? errno : EMSGSIZE;
  return fail(Errc::kQemu, "send QMP command", "QEMU", error, process_.last_words_once_ended());
}

Result<std::string> QmpClient::next_line(Deadline deadline) {
  while (true) {
    if (const std::size_t end = buffer_.find('\n'); end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return line;
    }
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline.left()).count();
    pollfd ready{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    const int events = ::poll(&ready, 1, static_cast<int>(std::max<long>(0, left)));
    if (events == 0) return fail(Errc::kTimeout, "wait for QEMU's QMP", "QEMU", 0, process_.last_words());
    std::array<char, 4096> chunk;
    const ssize_t got = ::recv(socket_.get(), chunk.data(), chunk.size(), MSG_DONTWAIT);
    if (got > 0) {
      buffer_.append(chunk.data(), static_cast<std::size_t>(got));
    } else if (got == 0 || (errno != EINTR && errno != EAGAIN)) {
      const int error = got == 0 ? 0 : errno;
      return fail(Errc::kQemu, "QMP", "QEMU", error, process_.last_words_once_ended());
    }
  }
}

}  // namespace spinring::pmd
