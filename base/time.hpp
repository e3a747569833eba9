#pragma once

#include <chrono>
#include <cstdint>
#include <thread>

namespace spinring {

using Clock = std::chrono::steady_clock;

/// Ticks of read_tsc() in a second, measured once against the steady clock (the first call takes about 20
/// ms).
std::uint64_t tsc_hz();

/// A point in time after which a wait is given up. Every wait in spinring has one.
class Deadline {
 public:
  explicit Deadline(Clock::duration from_now) : at_(Clock::now() + from_now) {}
  [[nodiscard]] bool passed() const { return Clock::now() >= at_; }
  [[nodiscard]] Clock::duration left() const { return at_ - Clock::now(); }

 private:
  Clock::time_point at_;
};

/// Calls `done` until it is true or the deadline has passed; sleeps `pause` between calls.
/// The last call is made after the deadline, so a slow scheduler cannot make a condition that holds look
/// late.
template <class Predicate>
[[nodiscard]] bool wait_until(Predicate done, Deadline deadline,
                              Clock::duration pause = std::chrono::microseconds(100)) {
  while (!done()) {
    if (deadline.passed()) return done();
    std::this_thread::sleep_for(pause);
  }
  return true;
}

}  // namespace spinring
