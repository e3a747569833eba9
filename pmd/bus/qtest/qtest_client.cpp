#include "pmd/bus/qtest/qtest_client.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <utility>

#include "pmd/errors.hpp"

namespace spinring::pmd {
namespace {

constexpr std::size_t kMaxLine = 64 * 1024;  // a reply is under 30 bytes; more means that QEMU talks nonsense
// QEMU blocks in writing a reply when the socket is full of them: never let that many wait.
constexpr unsigned kMaxUnanswered = 64;
constexpr unsigned kSettleFrom = 16;  // a look at the socket is a system call: not after every doorbell

}  // namespace

QtestClient::QtestClient(Fd socket, const QemuProcess& process, Clock::duration reply_timeout)
    : socket_(std::move(socket)), process_(process), reply_timeout_(reply_timeout) {}

Result<std::uint64_t> QtestClient::command(std::string_view line) {
  const std::lock_guard lock(mutex_);
  return exchange(std::string(line) + '\n', 1);
}

Result<std::uint64_t> QtestClient::command_after(std::string_view first, std::string_view second) {
  const std::lock_guard lock(mutex_);
  return exchange(std::string(first) + '\n' + std::string(second) + '\n', 2);
}

void QtestClient::post(std::string_view line) noexcept {
  const std::lock_guard lock(mutex_);
  if (failure_) return;
  std::array<char, 64> text;
  if (line.size() >= text.size()) {
    fail_with("qtest", 0, "A posted command is longer than a register write");
    return;
  }
  line.copy(text.data(), line.size());
  text[line.size()] = '\n';
  if (!send_all({text.data(), line.size() + 1})) return;
  ++unanswered_;
  if (unanswered_ < kSettleFrom) return;
  settle_what_has_come();
  settle(kMaxUnanswered);
}

Result<void> QtestClient::health() const {
  const std::lock_guard lock(mutex_);
  if (failure_) return tl::unexpected<Error>(*failure_);
  return {};
}

Result<std::uint64_t> QtestClient::exchange(std::string_view text, unsigned replies) {
  std::uint64_t value = 0;
  if (!failure_ && send_all(text) && settle(0)) {
    while (replies > 0 && !failure_) {
      const std::optional<std::string_view> line = next_line(true);
      if (!line) break;
      const std::optional<std::uint64_t> reply = take_reply(*line);
      if (!reply) break;
      value = *reply;
      --replies;
    }
  }
  if (failure_) return tl::unexpected<Error>(*failure_);
  return value;
}

bool QtestClient::send_all(std::string_view text) {
  const Deadline deadline(reply_timeout_);
  while (!text.empty()) {
    const ssize_t sent = ::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      text.remove_prefix(static_cast<std::size_t>(sent));
    } else if (errno == EAGAIN && !deadline.passed()) {
      settle_what_has_come();  // QEMU may itself wait for us to read
      pollfd wait{.fd = socket_.get(), .events = POLLOUT | POLLIN, .revents = 0};
      ::poll(&wait, 1, 10);
    } else if (errno != EINTR) {
      const int error = errno;
      fail_with("send", error, process_.last_words_once_ended());
      return false;
    }
    if (failure_) return false;
  }
  return true;
}

/// Reads replies to posted commands until at most `leave` are still to come.
bool QtestClient::settle(unsigned leave) {
  while (unanswered_ > leave && !failure_) {
    const std::optional<std::string_view> line = next_line(true);
    if (!line || !take_reply(*line)) return false;
    --unanswered_;
  }
  return !failure_;
}

void QtestClient::settle_what_has_come() {
  while (unanswered_ > 0 && !failure_) {
    const std::optional<std::string_view> line = next_line(false);
    if (!line || !take_reply(*line)) return;
    --unanswered_;
  }
}

/// The next line that is a reply. Valid until the next call. Empty when none has come (or none in time).
std::optional<std::string_view> QtestClient::next_line(bool wait) {
  while (true) {
    const std::size_t end = buffer_.find('\n', consumed_);
    if (end != std::string::npos) {
      const std::string_view line(buffer_.data() + consumed_, end - consumed_);
      consumed_ = end + 1;
      if (!line.starts_with("IRQ")) return line;
      continue;
    }
    buffer_.erase(0, consumed_);
    consumed_ = 0;
    if (buffer_.size() > kMaxLine) {
      fail_with("qtest", 0, "QEMU sent a reply without an end");
      return std::nullopt;
    }
    if (!receive(wait)) return std::nullopt;
  }
}

std::optional<std::uint64_t> QtestClient::take_reply(std::string_view line) {
  if (!line.starts_with("OK")) {
    fail_with("qtest", 0, "QEMU answered: " + std::string(line));
    return std::nullopt;
  }
  line.remove_prefix(2);
  if (line.starts_with(" 0x")) line.remove_prefix(3);
  if (line.empty()) return 0;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), value, 16);
  if (error != std::errc{} || end != line.data() + line.size()) {
    fail_with("qtest", 0, "QEMU answered with a value that is none: " + std::string(line));
    return std::nullopt;
  }
  return value;
}

/// Appends what the socket has to buffer_. False: nothing came, or failure_ is set.
bool QtestClient::receive(bool wait) {
  const Deadline deadline(reply_timeout_);
  std::array<char, 4096> chunk;
  while (true) {
    const ssize_t got = ::recv(socket_.get(), chunk.data(), chunk.size(), MSG_DONTWAIT);
    if (got > 0) {
      buffer_.append(chunk.data(), static_cast<std::size_t>(got));
      return true;
    }
    if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
      const int error = got == 0 ? 0 : errno;
      fail_with("qtest", error, process_.last_words_once_ended());
      return false;
    }
    if (!wait) return false;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline.left()).count();
    if (left <= 0) {
      fail_with("wait for QEMU's reply", ETIMEDOUT, process_.last_words());
      return false;
    }
    pollfd ready{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    ::poll(&ready, 1, static_cast<int>(left));
  }
}

void QtestClient::fail_with(std::string operation, int system_errno, std::string why) {
  if (failure_) return;
  failure_ = Error{make_error_code(Errc::kQemu), std::move(operation), "QEMU", system_errno, std::move(why)};
}

}  // namespace spinring::pmd
