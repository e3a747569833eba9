#pragma once

#include <string>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "base/time.hpp"
#include "bench/vhost/protocol.hpp"

namespace spinring::bench::vhost {

/// A listening unix socket; its file goes with it.
class Listener {
 public:
  /// Removes a socket file that an earlier run has left.
  static Result<Listener> open(const std::string& path);
  Listener(Listener&&) noexcept = default;
  Listener& operator=(Listener&&) = delete;
  ~Listener();

  /// The next front end. Errc::kTimeout when none came; EINTR ends the wait too.
  [[nodiscard]] Result<Fd> accept(Deadline deadline) const;

 private:
  Listener(Fd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}

  Fd fd_;
  std::string path_;
};

/// Connects to a front end that is the server; tries again until the deadline.
Result<Fd> connect_to(const std::string& path, Deadline deadline);

/// vhost-user messages over one connected socket.
class Channel {
 public:
  explicit Channel(Fd socket) : socket_(std::move(socket)) {}

  /// Whether a message, or the end of the connection, waits. Up to `milliseconds`.
  [[nodiscard]] bool readable(int milliseconds) const;
  /// Reads one message; blocks for its rest once its first byte is there (at most kPatience).
  [[nodiscard]] Result<Message> receive();
  [[nodiscard]] Result<void> send(const Message& message);

 private:
  [[nodiscard]] Result<void> read_all(void* data, std::size_t size);

  Fd socket_;
};

}  // namespace spinring::bench::vhost
