#include "bench/vhost/touched_lines.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstddef>

#include "base/cpu.hpp"
#include "bench/vhost/thread_tracer.hpp"

namespace spinring::bench::vhost {
namespace {

constexpr std::size_t kLines = 10;
/// What the looping process shares with the test.
struct Shared {
  alignas(kCacheLine) std::array<volatile unsigned char, kLines * kCacheLine> lines;
  alignas(kCacheLine) std::atomic<std::uint64_t> turns;
};

/// A process that touches each line of `shared` once a turn, and counts its turns there.
class Looping {
 public:
  explicit Looping(Shared& shared) : process_(::fork()) {
    if (process_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (true) {
      for (std::size_t i = 0; i < kLines; ++i) shared.lines[i * kCacheLine + i] = 1;
      shared.turns.fetch_add(1);
    }
  }
  Looping(const Looping&) = delete;
  Looping& operator=(const Looping&) = delete;
  ~Looping() {
    if (process_ < 0) return;
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
  }
  [[nodiscard]] pid_t process() const noexcept { return process_; }

 private:
  pid_t process_;
};

TEST(TouchedLines, CountsEachLineOfATurnOnceByWhatLiesThere) {
  void* const memory =
      ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  auto& shared = *static_cast<Shared*>(memory);
  const Looping looping(shared);
  ASSERT_GT(looping.process(), 0);
  while (shared.turns.load() == 0) ::usleep(100);
  // The first three lines pass for a ring, which begins within one, as the entries of an available ring do.
  SharedStats stats{};
  stats.rings[1].start = reinterpret_cast<std::uint64_t>(&shared.lines[4]);
  stats.rings[1].bytes = 2 * kCacheLine + 8;
  auto lines = TouchedLines::of_process(looping.process(), stats);
  ASSERT_TRUE(lines) << lines.error().message();
  auto tracer = ThreadTracer::attach(looping.process());
  ASSERT_TRUE(tracer) << tracer.error().message();

  constexpr std::uint64_t kTurns = 3;
  std::uint64_t whole = 0;
  bool counting = false;
  for (std::uint64_t seen = shared.turns.load(); whole < kTurns;) {
    const auto next = tracer->step();
    ASSERT_TRUE(next) << next.error().message();
    if (counting) lines->see(*next);
    if (shared.turns.load() == seen) continue;
    seen = shared.turns.load();
    if (counting) {
      lines->end_turn();
      ++whole;
    }
    counting = true;
  }
  EXPECT_EQ(lines->lines().at("rx available"), kTurns * 3);
  EXPECT_EQ(lines->lines().at("shared besides"), kTurns * (kLines - 3 + 1)) << "and the counter's";
  EXPECT_EQ(lines->lines().count("elsewhere"), 0U);
  EXPECT_EQ(lines->unknown(), 0U);
  ::munmap(memory, sizeof(Shared));
}

}  // namespace
}  // namespace spinring::bench::vhost
