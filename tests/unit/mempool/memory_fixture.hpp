#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <string>

#include "mempool/hugepage.hpp"
#include "mempool/memory.hpp"

namespace spinring::mempool {

inline constexpr std::size_t kTwoMiB = 2UL << 20;

/// Hugepages enough for a test; makes some where it may. Else why not.
inline std::string reason_for_no_hugepages(std::uint64_t pages) {
  if (hugepage_counts(kTwoMiB, -1).available >= pages) return {};
  const std::uint64_t total = hugepage_counts(kTwoMiB, -1).total;
  std::ofstream("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages") << total + pages;
  if (hugepage_counts(kTwoMiB, -1).available >= pages) return {};
  return "no free 2 MiB hugepages, and none could be made (not root?)";
}

/// A number that proc(5) has for this process, in bytes: "VmLck", "HugetlbPages".
inline std::size_t process_bytes(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(name + ":")) return std::stoul(line.substr(name.size() + 1)) << 10;
  }
  return 0;
}

/// Runs each test in normal pages, which need no privilege (2 MiB are below every default of
/// RLIMIT_MEMLOCK), and in hugepages where there are some.
class InMemory : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (!GetParam()) return;
    if (const std::string reason = reason_for_no_hugepages(8); !reason.empty()) GTEST_SKIP() << reason;
  }
  static MemoryConfig config(std::size_t bytes = kTwoMiB) {
    return {.bytes = bytes, .hugepages = GetParam()};
  }
  static std::unique_ptr<Memory> make(std::size_t bytes = kTwoMiB) {
    auto memory = Memory::create(config(bytes));
    EXPECT_TRUE(memory) << memory.error().message();
    return memory ? std::move(*memory) : nullptr;
  }
};

inline std::string page_kind(const testing::TestParamInfo<bool>& info) {
  return info.param ? "Hugepages" : "NormalPages";
}

}  // namespace spinring::mempool
