#pragma once

#include "base/fd.hpp"
#include "base/result.hpp"

namespace spinring::testpmd {

/// SIGINT and SIGTERM as a descriptor that the main loop polls. The first asks; the second ends the program
/// at once (the kernel then takes everything back), with the terminal as it was. SIGPIPE is ignored. One at a
/// time; main thread.
class StopSignals {
 public:
  [[nodiscard]] static Result<StopSignals> create();
  StopSignals(StopSignals&&) = default;
  StopSignals& operator=(StopSignals&&) = delete;
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  /// Readable once a signal has come.
  [[nodiscard]] int fd() const noexcept { return event_.get(); }
  /// "SIGINT", "SIGTERM", or nullptr if none came.
  [[nodiscard]] const char* received() const noexcept;

 private:
  explicit StopSignals(Fd event) noexcept : event_(std::move(event)) {}
  Fd event_;
};

}  // namespace spinring::testpmd
