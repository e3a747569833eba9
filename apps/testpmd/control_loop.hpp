#pragma once

#include <string_view>
#include <vector>

#include "apps/testpmd/prompt.hpp"
#include "apps/testpmd/session.hpp"
#include "apps/testpmd/stop_signals.hpp"
#include "base/result.hpp"
#include "base/time.hpp"

namespace spinring::testpmd {

/// What the main lcore does while the others forward: it sleeps in poll(2) and wakes for signals, link and
/// removal events, commands, the statistics' period, the end of the duration, and ten times a second to look
/// for faults.
class ControlLoop {
 public:
  /// Prints a text that the user asked for.
  using Print = void (*)(std::string_view text);

  /// `prompt` may be null. All outlive the loop.
  ControlLoop(Session& session, const StopSignals& signals, Prompt* prompt, Print print);

  /// Returns when the program is to end: a signal, the duration, quit, no port left. An error is an lcore
  /// that hangs, or lcores that could not be started again.
  [[nodiscard]] Result<void> run();

 private:
  void wait();
  [[nodiscard]] Result<void> serve_port_events();
  void serve_prompt();
  [[nodiscard]] Result<void> tick();
  void print_period();
  [[nodiscard]] int timeout_ms() const;

  Session& session_;
  const StopSignals& signals_;
  Prompt* prompt_;
  Print print_;
  bool end_ = false;
  bool prompt_ready_ = false;
  std::vector<bool> link_events_;  ///< by port: its event descriptor was readable
  std::vector<bool> removals_;
  Clock::time_point next_tick_;
  unsigned ticks_ = 0;
  Clock::time_point last_print_;
  Report last_report_;
};

}  // namespace spinring::testpmd
