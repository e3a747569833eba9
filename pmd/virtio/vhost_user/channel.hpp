#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "base/time.hpp"
#include "pmd/virtio/vhost_user/messages.hpp"

namespace spinring::pmd::virtio::vhost_user {

/// The unix socket between front end and back end: sends requests with their descriptors, reads replies.
/// Every wait has a deadline. Control thread only.
class Channel {
 public:
  /// Connects to a back end that listens at `path`; waits for it to come until the deadline.
  [[nodiscard]] static Result<Channel> connect(const std::string& path, Deadline deadline);
  /// Accepts a back end that connects to `listener`, which listens at `path`.
  [[nodiscard]] static Result<Channel> accept(int listener, const std::string& path, Deadline deadline);
  /// A socket that listens at `path`; a stale socket file is replaced.
  [[nodiscard]] static Result<Fd> listen(const std::string& path);

  /// Sends a request. With `acknowledged` (REPLY_ACK negotiated) waits for the back end's verdict on it.
  [[nodiscard]] Result<void> send(Request request, std::span<const std::byte> payload,
                                  std::span<const int> fds, bool acknowledged);
  /// Sends a request that the back end answers with a payload of reply.size() bytes.
  [[nodiscard]] Result<void> ask(Request request, std::span<const std::byte> payload,
                                 std::span<std::byte> reply);

  template <class T>
  [[nodiscard]] Result<void> send(Request request, const T& payload, bool acknowledged,
                                  std::span<const int> fds = {}) {
    return send(request, std::as_bytes(std::span(&payload, 1)), fds, acknowledged);
  }
  /// False once the back end has closed its end.
  [[nodiscard]] bool connected() const;

 private:
  Channel(Fd socket, std::string path) : socket_(std::move(socket)), path_(std::move(path)) {}
  [[nodiscard]] Result<void> write(Request request, std::uint32_t flags, std::span<const std::byte> payload,
                                   std::span<const int> fds);
  [[nodiscard]] Result<void> read(std::span<std::byte> into, Request request, Deadline deadline);
  [[nodiscard]] Result<void> read_reply(Request request, std::span<std::byte> payload);

  Fd socket_;
  std::string path_;
};

}  // namespace spinring::pmd::virtio::vhost_user
