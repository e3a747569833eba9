#include "pmd/bus/qtest/qemu_process.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "pmd/errors.hpp"

namespace spinring::pmd {
namespace {

constexpr auto kTermPatience = std::chrono::seconds(2);
constexpr auto kDeathPatience = std::chrono::milliseconds(500);
constexpr off_t kLastWords = 600;  // bytes of stderr worth quoting

/// Between fork and exec: only async-signal-safe calls, since other threads may have held locks.
[[noreturn]] void become_qemu(char* const* argv, std::span<const int> fds, int output, int report,
                              pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);  // the parent died before the line above took effect
  ::setpgid(0, 0);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (null >= 0) ::dup2(null, STDIN_FILENO);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(output, STDERR_FILENO);
  for (const int fd : fds) ::fcntl(fd, F_SETFD, 0);
  ::execvp(argv[0], argv);
  const int error = errno;
  const ssize_t written = ::write(report, &error, sizeof error);
  static_cast<void>(written);  // if even that fails, the end of the pipe tells the parent
  ::_exit(127);
}

/// The errno of a failed exec, 0 when the pipe closed because exec succeeded.
int read_exec_report(int report) {
  int error = 0;
  ssize_t got = 0;
  do {
    got = ::read(report, &error, sizeof error);
  } while (got < 0 && errno == EINTR);
  return got == sizeof error ? error : 0;
}

std::string describe(int wait_status) {
  if (WIFEXITED(wait_status)) return fmt::format("QEMU exited with status {}", WEXITSTATUS(wait_status));
  if (WIFSIGNALED(wait_status)) return fmt::format("QEMU was ended by signal {}", WTERMSIG(wait_status));
  return "QEMU ended";
}

}  // namespace

Result<std::unique_ptr<QemuProcess>> QemuProcess::start(const std::vector<std::string>& argv,
                                                        std::span<const int> fds) {
  std::unique_ptr<QemuProcess> process(new QemuProcess);
  process->output_ = Fd(::memfd_create("spinring-qemu-output", MFD_CLOEXEC));
  if (!process->output_) return fail(Errc::kQemu, "memfd_create", argv[0], errno);
  ::fcntl(process->output_.get(), F_SETFL, O_APPEND);

  std::promise<int> started;
  std::future<int> outcome = started.get_future();
  process->keeper_ = std::thread([&, self = process.get()] { self->run(argv, fds, started); });
  const int error = outcome.get();
  if (error != 0) {
    return fail(Errc::kQemu, "start QEMU", argv[0], error,
                "Install it (apt-get install qemu-system-x86, or config/install.sh) or name its path");
  }
  return process;
}

void QemuProcess::run(const std::vector<std::string>& argv, std::span<const int> fds,
                      std::promise<int>& started) {
  std::vector<char*> raw;
  raw.reserve(argv.size() + 1);
  for (const std::string& argument : argv) raw.push_back(const_cast<char*>(argument.c_str()));
  raw.push_back(nullptr);

  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    started.set_value(errno);
    return;
  }
  const Fd read_end(ends[0]);
  Fd write_end(ends[1]);
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ == 0) become_qemu(raw.data(), fds, output_.get(), write_end.get(), parent);
  if (pid_ < 0) {
    started.set_value(errno);
    return;
  }
  write_end.reset();
  const int exec_error = read_exec_report(read_end.get());
  const pid_t child = pid_;
  started.set_value(exec_error);  // `argv`, `fds` and `started` are gone from here on

  // Wait without reaping first: between the two steps the pid is still ours, so send_signal() cannot hit
  // another.
  siginfo_t info{};
  while (::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
  }
  const std::lock_guard lock(mutex_);
  while (::waitpid(child, &wait_status_, 0) < 0 && errno == EINTR) {
  }
  ended_ = true;
}

QemuProcess::~QemuProcess() {
  if (!keeper_.joinable()) return;
  if (pid_ > 0) {
    send_signal(SIGTERM);
    if (!wait_ended(Deadline(kTermPatience))) send_signal(SIGKILL);
  }
  keeper_.join();
}

void QemuProcess::send_signal(int signal) {
  const std::lock_guard lock(mutex_);
  if (!ended_) ::kill(pid_, signal);
}

bool QemuProcess::running() const {
  const std::lock_guard lock(mutex_);
  return !ended_;
}

bool QemuProcess::wait_ended(Deadline deadline) const {
  return wait_until([this] { return !running(); }, deadline, std::chrono::milliseconds(1));
}

std::string QemuProcess::last_words() const {
  std::string text;
  {
    const std::lock_guard lock(mutex_);
    text = ended_ ? describe(wait_status_) : "QEMU still runs";
  }
  struct stat info {};
  if (::fstat(output_.get(), &info) != 0 || info.st_size == 0) return text;
  const off_t from = std::max<off_t>(0, info.st_size - kLastWords);
  std::string words(static_cast<std::size_t>(info.st_size - from), '\0');
  const ssize_t got = ::pread(output_.get(), words.data(), words.size(), from);
  words.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  while (!words.empty() && words.back() == '\n') words.pop_back();
  std::replace(words.begin(), words.end(), '\n', '|');
  return text + ", having said: " + words;
}

std::string QemuProcess::last_words_once_ended() const {
  wait_ended(Deadline(kDeathPatience));
  return last_words();
}

}  // namespace spinring::pmd
