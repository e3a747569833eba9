#include "lcore/thread.hpp"

#include <gtest/gtest.h>
#include <sched.h>

#include <csignal>
#include <thread>

#include "lcore/errors.hpp"

namespace spinring::lcore {
namespace {

using namespace std::chrono_literals;

CpuSet allowed() { return allowed_cpus().value(); }
int last_cpu() { return allowed().cpus().back(); }

TEST(LcoreThread, RunsOnItsCpuAlone) {
  CpuSet seen;
  int cpu = -1;
  auto lcore = LcoreThread::launch({1, last_cpu()}, allowed(), [&](const StopToken&) {
    seen = allowed_cpus().value();
    cpu = ::sched_getcpu();
  });
  ASSERT_TRUE(lcore) << lcore.error().message();
  ASSERT_TRUE((*lcore)->stop(Deadline(5s)));
  EXPECT_EQ(seen.cpus(), std::vector<int>{last_cpu()});
  EXPECT_EQ(cpu, last_cpu());
}

TEST(LcoreThread, StopsWhenAsked) {
  std::atomic<bool> running = false;
  auto lcore = LcoreThread::launch({0, last_cpu()}, allowed(), [&](const StopToken& stop) {
    running = true;
    while (!stop.requested()) std::this_thread::yield();
  });
  ASSERT_TRUE(lcore) << lcore.error().message();
  ASSERT_TRUE(wait_until([&] { return running.load(); }, Deadline(5s)));
  EXPECT_FALSE((*lcore)->finished());
  EXPECT_TRUE((*lcore)->stop(Deadline(5s)));
  EXPECT_TRUE((*lcore)->finished());
  EXPECT_TRUE((*lcore)->stop(Deadline(0s))) << "a second stop has nothing to wait for";
}

TEST(LcoreThread, AStopThatTakesTooLongIsAnErrorAndMayBeRepeated) {
  std::atomic<bool> hang = true;
  auto lcore = LcoreThread::launch({3, last_cpu()}, allowed(), [&](const StopToken&) {
    while (hang) std::this_thread::yield();
  });
  ASSERT_TRUE(lcore) << lcore.error().message();
  const Result<void> late = (*lcore)->stop(Deadline(20ms));
  hang = false;
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Errc::kTimeout);
  EXPECT_NE(late.error().message().find("lcore 3"), std::string::npos);
  EXPECT_TRUE((*lcore)->stop(Deadline(5s)));
}

TEST(LcoreThread, DestructionStopsAndJoins) {
  std::atomic<bool> ended = false;
  {
    auto lcore = LcoreThread::launch({0, last_cpu()}, allowed(), [&](const StopToken& stop) {
      while (!stop.requested()) std::this_thread::yield();
      ended = true;
    });
    ASSERT_TRUE(lcore) << lcore.error().message();
  }
  EXPECT_TRUE(ended);
}

TEST(LcoreThread, RefusesACpuThatIsNotAllowed) {
  auto lcore = LcoreThread::launch({9, 4095}, allowed(), [](const StopToken&) { FAIL(); });
  ASSERT_FALSE(lcore);
  EXPECT_EQ(lcore.error().code, Errc::kCpuNotAvailable);
  EXPECT_NE(lcore.error().message().find("CPU 4095"), std::string::npos);
  EXPECT_NE(lcore.error().message().find(allowed().to_string()), std::string::npos);
}

TEST(LcoreThread, TheKernelsRefusalIsAnError) {
  // The program believes in a CPU that the machine does not have (taken away after it looked).
  auto lcore = LcoreThread::launch({9, 8191}, CpuSet({8191}), [](const StopToken&) { FAIL(); });
  ASSERT_FALSE(lcore);
  EXPECT_EQ(lcore.error().code, Errc::kThread);
  EXPECT_EQ(lcore.error().system_errno, EINVAL);
  EXPECT_NE(lcore.error().message().find("CPU 8191"), std::string::npos);
}

TEST(LcoreThread, BlocksSignalsButItsOwnFaults) {
  sigset_t mask;
  sigemptyset(&mask);
  auto lcore = LcoreThread::launch({0, last_cpu()}, allowed(),
                                   [&](const StopToken&) { ::pthread_sigmask(SIG_SETMASK, nullptr, &mask); });
  ASSERT_TRUE(lcore) << lcore.error().message();
  ASSERT_TRUE((*lcore)->stop(Deadline(5s)));
  EXPECT_EQ(sigismember(&mask, SIGINT), 1);
  EXPECT_EQ(sigismember(&mask, SIGTERM), 1);
  EXPECT_EQ(sigismember(&mask, SIGSEGV), 0);
  sigset_t mine;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &mine);
  EXPECT_EQ(sigismember(&mine, SIGINT), 0) << "the launching thread's mask is as before";
}

TEST(PinThisThread, MovesTheCallerAndRefusesOthers) {
  const CpuSet all = allowed();
  std::thread([&] {
    ASSERT_TRUE(pin_this_thread(all.cpus().front(), all));
    EXPECT_EQ(allowed_cpus().value().cpus(), std::vector<int>{all.cpus().front()});
    EXPECT_EQ(pin_this_thread(4095, all).error().code, Errc::kCpuNotAvailable);
    EXPECT_EQ(pin_this_thread(8191, CpuSet({8191})).error().code, Errc::kThread);
  }).join();
}

}  // namespace
}  // namespace spinring::lcore
