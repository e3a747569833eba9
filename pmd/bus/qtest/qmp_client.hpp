#pragma once

#include <deque>
#include <memory>
#include <string>
#include <string_view>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "base/time.hpp"
#include "pmd/bus/qtest/qemu_process.hpp"

namespace spinring::pmd {

/// Our end of QEMU's machine protocol (QMP: docs/interop/qmp-spec): JSON lines. Control thread only.
/// `process` must outlive the client.
class QmpClient {
 public:
  QmpClient(Fd socket, const QemuProcess& process, Clock::duration reply_timeout);

  /// Reads the greeting and leaves negotiation mode. Call once, first.
  [[nodiscard]] Result<void> open();
  /// Runs a command; `arguments` is a JSON object. Returns the JSON text of "return". Errors: Errc::kRejected
  /// with QEMU's own words when it refuses, Errc::kQemu when it is gone or does not answer.
  [[nodiscard]] Result<std::string> execute(std::string_view command, std::string_view arguments = "{}");
  /// Gives QEMU a duplicate of `fd`; returns its number in QEMU's own table, where it stays.
  [[nodiscard]] Result<int> share_fd(int fd);
  /// Waits for an event of that name, also one that came while a command ran; returns its JSON "data".
  [[nodiscard]] Result<std::string> wait_event(std::string_view name, Deadline deadline);

 private:
  struct Event {
    std::string name;
    std::string data;
  };
  Result<std::string> run(std::string_view command, std::string_view arguments, int fd);
  Result<void> send_line(std::string_view line, int fd);
  Result<std::string> next_line(Deadline deadline);

  Fd socket_;
  const QemuProcess& process_;
  Clock::duration reply_timeout_;
  std::string buffer_;        // received, not yet a whole line
  std::deque<Event> events_;  // came before anyone asked; the oldest are forgotten
};

}  // namespace spinring::pmd
