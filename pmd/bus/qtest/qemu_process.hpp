#pragma once

#include <sys/types.h>

#include <future>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "base/time.hpp"

namespace spinring::pmd {

/// A running QEMU. It never outlives this object, nor this process (it is killed when we are, even by
/// SIGKILL), and is reaped as soon as it ends. A thread of its own starts it and sleeps until it ends: the
/// kernel ties "die with the parent" (PR_SET_PDEATHSIG) to the thread that forked, so that must be one that
/// lives as long. QEMU has a process group of its own: Ctrl-C on our terminal leaves it running until we have
/// stopped its devices. It inherits the CPU affinity of the thread that calls start().
class QemuProcess {
 public:
  /// Starts `argv` (argv[0] looked up in PATH). It inherits `fds` under the same numbers and nothing else
  /// that is close-on-exec. Errors: Errc::kQemu when the program cannot be run.
  [[nodiscard]] static Result<std::unique_ptr<QemuProcess>> start(const std::vector<std::string>& argv,
                                                                  std::span<const int> fds);
  QemuProcess(const QemuProcess&) = delete;
  QemuProcess& operator=(const QemuProcess&) = delete;
  /// SIGTERM (QEMU removes its sockets and flushes its captures), then SIGKILL after two seconds.
  ~QemuProcess();

  /// Any thread.
  [[nodiscard]] bool running() const;
  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  /// Waits until it has ended; false if it still runs at the deadline.
  bool wait_ended(Deadline deadline) const;
  /// How it ended, and the last lines it wrote to its standard error: for error messages. Any thread.
  [[nodiscard]] std::string last_words() const;
  /// The same of a QEMU whose socket has closed: its end comes a moment later, and is waited for, half a
  /// second at most.
  [[nodiscard]] std::string last_words_once_ended() const;

 private:
  QemuProcess() = default;
  void run(const std::vector<std::string>& argv, std::span<const int> fds, std::promise<int>& started);
  void send_signal(int signal);

  Fd output_;  // memfd: its stdout and stderr, which thus can never fill up and block it
  pid_t pid_ = -1;
  mutable std::mutex mutex_;  // guards ended_: no signal is sent to a pid that was already reaped
  bool ended_ = false;
  int wait_status_ = 0;
  std::thread keeper_;  // last: it uses all of the above
};

}  // namespace spinring::pmd
