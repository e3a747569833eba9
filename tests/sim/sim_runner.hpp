#pragma once

#include <functional>
#include <stop_token>
#include <thread>
#include <utility>

namespace spinring::sim {

/// Makes the device's steps on a thread of its own until it is destroyed: a device that works while the
/// driver polls. A step takes the device's lock by itself, so the driver's register accesses come in between.
class SimRunner {
 public:
  explicit SimRunner(std::function<void()> step)
      : thread_([step = std::move(step)](const std::stop_token& stop) {
          while (!stop.stop_requested()) {
            step();
            std::this_thread::yield();
          }
        }) {}

 private:
  std::jthread thread_;  // asks for the stop and joins when it goes
};

}  // namespace spinring::sim
