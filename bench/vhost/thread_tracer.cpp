#include "bench/vhost/thread_tracer.hpp"

#include <sys/ptrace.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <string>

#include "bench/vhost/errors.hpp"

namespace spinring::bench::vhost {
namespace {

/// Until the thread stops. False: it has ended.
bool wait_for_stop(pid_t thread, int& status) {
  while (::waitpid(thread, &status, __WALL) < 0) {
    if (errno != EINTR) return false;
  }
  return WIFSTOPPED(status);
}

}  // namespace

Result<ThreadTracer> ThreadTracer::attach(pid_t thread) {
  const std::string subject = "thread " + std::to_string(thread);
  if (::ptrace(PTRACE_SEIZE, thread, nullptr, nullptr) != 0) {
    return fail(Errc::kSystem, "ptrace", subject, errno, "Run as the thread's user, or as root.");
  }
  ThreadTracer tracer(thread);
  int status = 0;
  if (::ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr) != 0 || !wait_for_stop(thread, status)) {
    return fail(Errc::kSystem, "ptrace: stop", subject, errno);
  }
  return tracer;
}

ThreadTracer::~ThreadTracer() {
  if (thread_ != 0) ::ptrace(PTRACE_DETACH, thread_, nullptr, nullptr);
}

Result<user_regs_struct> ThreadTracer::step() {
  int status = 0;
  do {
    if (::ptrace(PTRACE_SINGLESTEP, thread_, nullptr, nullptr) != 0 || !wait_for_stop(thread_, status)) {
      return fail(Errc::kSystem, "ptrace: step", "thread " + std::to_string(thread_), errno,
                  "The thread has ended; keep its traffic going while it is counted.");
    }
    // Another signal, or a stop of the whole group, is no step.
  } while (WSTOPSIG(status) != SIGTRAP || (status >> 16) != 0);
  user_regs_struct registers{};
  if (::ptrace(PTRACE_GETREGS, thread_, nullptr, &registers) != 0)
    return fail(Errc::kSystem, "ptrace: registers", "thread " + std::to_string(thread_), errno);
  return registers;
}

}  // namespace spinring::bench::vhost
