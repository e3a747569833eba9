#include "base/time.hpp"

#include "base/cpu.hpp"

namespace spinring {

std::uint64_t tsc_hz() {
  static const std::uint64_t hz = [] {
    const auto start = Clock::now();
    const std::uint64_t start_ticks = read_tsc();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    const std::uint64_t ticks = read_tsc() - start_ticks;
    const std::chrono::duration<double> seconds = Clock::now() - start;
    return static_cast<std::uint64_t>(static_cast<double>(ticks) / seconds.count());
  }();
  return hz;
}

}  // namespace spinring
