#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "base/time.hpp"
#include "pmd/bus/qtest/qemu_process.hpp"

namespace spinring::pmd {

/// Our end of QEMU's qtest protocol: one text line a command, one line a reply, with lines that begin with
/// IRQ in between (QEMU's docs/devel/testing/qtest, system/qtest.c). Any thread: commands are serialised by a
/// lock, and take effect in the order in which they were sent. The first failure is remembered and returned
/// by every later call: a QEMU that has gone, or has lost the thread of the conversation, does not come back.
class QtestClient {
 public:
  /// `process` must outlive the client. `reply_timeout` bounds the wait for each reply.
  QtestClient(Fd socket, const QemuProcess& process, Clock::duration reply_timeout);

  /// Sends one command and waits for its reply; the value after "OK", 0 if there is none.
  [[nodiscard]] Result<std::uint64_t> command(std::string_view line);
  /// Sends two commands as one message; the reply of the second. For ports that come in pairs (0xcf8, 0xcfc).
  [[nodiscard]] Result<std::uint64_t> command_after(std::string_view first, std::string_view second);
  /// Sends a write without waiting for its reply, as a PCI bus posts writes; the reply is read before a later
  /// command's. A failure shows in health() and in every later command.
  void post(std::string_view line) noexcept;

  /// The first failure, if there was one.
  [[nodiscard]] Result<void> health() const;

 private:
  Result<std::uint64_t> exchange(std::string_view text, unsigned replies);
  bool send_all(std::string_view text);
  bool settle(unsigned leave);
  void settle_what_has_come();
  std::optional<std::string_view> next_line(bool wait);
  std::optional<std::uint64_t> take_reply(std::string_view line);
  bool receive(bool wait);
  void fail_with(std::string operation, int system_errno, std::string why);

  Fd socket_;
  const QemuProcess& process_;
  Clock::duration reply_timeout_;

  mutable std::mutex mutex_;  // guards all below and the order of messages
  std::string buffer_;        // received, not yet consumed from consumed_ on
  std::size_t consumed_ = 0;
  unsigned unanswered_ = 0;  // posted commands whose reply was not read yet
  std::optional<Error> failure_;
};

}  // namespace spinring::pmd
