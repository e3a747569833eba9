#pragma once

#include <sys/types.h>
#include <sys/user.h>

#include <cstdint>
#include <utility>

#include "base/result.hpp"

namespace spinring::bench::vhost {

/// A thread of another process under ptrace(2), run one instruction at a time. Lets it go when it goes.
class ThreadTracer {
 public:
  static Result<ThreadTracer> attach(pid_t thread);
  ThreadTracer(ThreadTracer&& other) noexcept : thread_(std::exchange(other.thread_, 0)) {}
  ThreadTracer& operator=(ThreadTracer&&) = delete;
  ~ThreadTracer();

  /// Runs one instruction; the registers that the next one, at `rip`, will find.
  [[nodiscard]] Result<user_regs_struct> step();

 private:
  explicit ThreadTracer(pid_t thread) : thread_(thread) {}

  pid_t thread_;
};

}  // namespace spinring::bench::vhost
