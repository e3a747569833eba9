#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "base/counter.hpp"
#include "base/log.hpp"
#include "base/shared.hpp"

namespace spinring {
namespace {

TEST(SharedField, KeepsWireOrder) {
  Le16 field = 0;
  store_relaxed<std::uint16_t>(field, 0x1234);
  EXPECT_EQ(reinterpret_cast<const unsigned char*>(&field)[0], 0x34);
  EXPECT_EQ(load_relaxed(field), 0x1234);
}

TEST(SharedField, ReleaseMakesEarlierWritesVisibleToAnAcquire) {
  constexpr std::uint16_t kRounds = 2000;
  Le16 index = 0;
  std::uint32_t payload = 0;  // guarded by index: odd while the writer's turn is over
  std::thread writer([&] {
    for (std::uint16_t round = 1; round < kRounds; round = static_cast<std::uint16_t>(round + 2)) {
      payload = round;
      store_release<std::uint16_t>(index, round);
      while (load_acquire(index) == round) std::this_thread::yield();
    }
  });
  for (std::uint16_t round = 1; round < kRounds; round = static_cast<std::uint16_t>(round + 2)) {
    while (load_acquire(index) != round) std::this_thread::yield();
    EXPECT_EQ(payload, round);
    store_release<std::uint16_t>(index, static_cast<std::uint16_t>(round + 1));
  }
  writer.join();
}

TEST(StatisticsCounter, IsReadableWhileItCounts) {
  Counter counter;
  std::thread writer([&] {
    for (int i = 0; i < 10'000; ++i) counter.add(3);
  });
  std::uint64_t last = 0;
  while (last < 30'000) {
    const std::uint64_t now = counter.value();
    EXPECT_GE(now, last);
    last = now;
    std::this_thread::yield();
  }
  writer.join();
  EXPECT_EQ(counter.value(), 30'000U);
}

std::string last_remark;

TEST(LogSink, ReceivesRemarksAndIgnoresNoSink) {
  set_log_sink([](LogLevel level, std::string_view text) {
    last_remark = (level == LogLevel::kWarning ? "warning: " : "") + std::string(text);
  });
  set_log_sink(nullptr);
  log(LogLevel::kWarning, "the device lacks MQ");
  set_log_sink([](LogLevel, std::string_view) {});
  EXPECT_EQ(last_remark, "warning: the device lacks MQ");
}

}  // namespace
}  // namespace spinring
