#include "apps/testpmd/stop_signals.hpp"

#include <sys/eventfd.h>
#include <termios.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>

#include "lcore/errors.hpp"

namespace spinring::testpmd {
namespace {

// A signal handler reaches nothing but what is global.
std::atomic<int> g_event = -1;
std::atomic<int> g_signal = 0;
termios g_terminal{};
bool g_has_terminal = false;

void on_signal(int signal) {
  const int saved = errno;
  if (g_signal.exchange(signal) != 0) {
    if (g_has_terminal) ::tcsetattr(STDIN_FILENO, TCSANOW, &g_terminal);
    constexpr int kKilledBy = 128;  // as a shell counts
    ::_exit(kKilledBy + signal);
  }
  const std::uint64_t one = 1;
  (void)!::write(g_event.load(), &one, sizeof one);
  errno = saved;
}

}  // namespace

Result<StopSignals> StopSignals::create() {
  Fd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event) return fail(lcore::Errc::kThread, "eventfd", "signals", errno);
  g_event = event.get();
  g_signal = 0;
  g_has_terminal = ::tcgetattr(STDIN_FILENO, &g_terminal) == 0;
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigfillset(&action.sa_mask);
  struct sigaction ignore {};
  ignore.sa_handler = SIG_IGN;
  if (::sigaction(SIGINT, &action, nullptr) != 0 || ::sigaction(SIGTERM, &action, nullptr) != 0 ||
      ::sigaction(SIGPIPE, &ignore, nullptr) != 0) {
    return fail(lcore::Errc::kThread, "sigaction", "signals", errno);
  }
  return StopSignals(std::move(event));
}

const char* StopSignals::received() const noexcept {
  switch (g_signal.load()) {
    case SIGINT:
      return "SIGINT";
    case SIGTERM:
      return "SIGTERM";
    default:
      return nullptr;
  }
}

}  // namespace spinring::testpmd
