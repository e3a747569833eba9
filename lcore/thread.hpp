#pragma once

#include <pthread.h>

#include <atomic>
#include <functional>
#include <memory>

#include "base/result.hpp"
#include "base/time.hpp"
#include "lcore/core_list.hpp"
#include "lcore/cpu_set.hpp"
#include "lcore/stop_token.hpp"

namespace spinring::lcore {

/// One lcore: a thread tied to one CPU that runs `entry` once, from launch to stop. Takes no signals (but
/// those of its own faults): they are the launching program's. Owned and stopped by one control thread.
class LcoreThread {
 public:
  /// Runs on the lcore until it returns; it must return soon after the token is requested, and not throw.
  using Entry = std::function<void(const StopToken&)>;

  /// Starts the thread on its CPU. Errors: a CPU outside `allowed` (named, with the set), or the kernel's
  /// refusal; then no thread is left.
  [[nodiscard]] static Result<std::unique_ptr<LcoreThread>> launch(const LcoreSpec& spec,
                                                                   const CpuSet& allowed, Entry entry);
  LcoreThread(const LcoreThread&) = delete;
  LcoreThread& operator=(const LcoreThread&) = delete;
  /// Requests the stop and waits, however long it takes: the entry uses what its owner is about to free.
  ~LcoreThread();

  /// Asks only; with several lcores ask all, then stop() each.
  void request_stop() noexcept { stop_.request(); }
  /// Asks and waits for the end. On a timeout the thread still runs, and stop() may be called again.
  [[nodiscard]] Result<void> stop(Deadline deadline);
  /// The entry has returned.
  [[nodiscard]] bool finished() const noexcept { return finished_.load(std::memory_order_acquire); }
  [[nodiscard]] const LcoreSpec& spec() const noexcept { return spec_; }

 private:
  LcoreThread(const LcoreSpec& spec, Entry entry) : spec_(spec), entry_(std::move(entry)) {}
  [[nodiscard]] int create();
  static void* run(void* self);
  void join() noexcept;

  StopToken stop_;
  LcoreSpec spec_;
  Entry entry_;
  std::atomic<bool> finished_ = false;
  bool joinable_ = false;
  pthread_t thread_{};
};

}  // namespace spinring::lcore
