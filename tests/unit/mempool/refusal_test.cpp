// What the real kernel refuses, and what the message says about it.
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/fd.hpp"
#include "mempool/errors.hpp"
#include "tests/unit/mempool/memory_fixture.hpp"

namespace spinring::mempool {
namespace {

std::size_t open_descriptors() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

TEST(TooFewHugepages, NamesTheCountsAndTheCommandAndKeepsNothing) {
  if (const std::string reason = reason_for_no_hugepages(0); !reason.empty()) GTEST_SKIP() << reason;
  if (hugepage_sizes().empty()) GTEST_SKIP() << "this kernel has no hugepages";
  for (const int node : {-1, 0}) {
    if (node == 0 && ::access("/sys/devices/system/node/node0", F_OK) != 0) continue;
    const std::uint64_t needed = hugepage_counts(kTwoMiB, -1).total + 1;
    ASSERT_EQ(Memory::create({.bytes = needed * kTwoMiB, .numa_node = node}).error().code,
              make_error_code(Errc::kNoHugepages));
    const std::size_t descriptors = open_descriptors();
    const std::size_t hugepages = process_bytes("HugetlbPages");
    const auto memory = Memory::create({.bytes = needed * kTwoMiB, .numa_node = node});
    ASSERT_FALSE(memory);
    EXPECT_EQ(memory.error().code, make_error_code(Errc::kNoHugepages));
    const std::string message = memory.error().message();
    EXPECT_SAYS(message, fmt::format("{} needed, ", needed));
    EXPECT_SAYS(message, "hugepages-2048kB/nr_hugepages");
    EXPECT_SAYS(message, "echo ");
    EXPECT_EQ(open_descriptors(), descriptors);
    EXPECT_EQ(process_bytes("HugetlbPages"), hugepages);
  }
}

TEST(TooFewHugepages, TheCommandMakesEnough) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root may make hugepages";
  if (hugepage_sizes().empty()) GTEST_SKIP() << "this kernel has no hugepages";
  const HugepageCounts before = hugepage_counts(kTwoMiB, -1);
  const std::uint64_t needed = before.total + 8;
  const auto refused = Memory::create({.bytes = needed * kTwoMiB});
  ASSERT_FALSE(refused);
  const std::string& cure = refused.error().cure;
  const auto command = cure.find("echo ");
  ASSERT_NE(command, std::string::npos) << cure;
  ASSERT_EQ(std::system(cure.substr(command).c_str()), 0);  // NOLINT: the cure is a command
  // Not taken here: other programs of the machine need theirs.
  EXPECT_GE(hugepage_counts(kTwoMiB, -1).total, needed);
  std::ofstream("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages") << before.total;
}

TEST(PageSize, ThatTheMachineLacksIsRefusedWithThoseItHas) {
  const auto memory = Memory::create({.bytes = 1, .page_size = 8UL << 20});
  ASSERT_FALSE(memory);
  EXPECT_EQ(memory.error().code, make_error_code(Errc::kPageSize));
  if (!hugepage_sizes().empty()) {
    EXPECT_SAYS(memory.error().message(), "Sizes here: 2 MiB");
  }
}

TEST(PageSize, OneGiBIsTakenOrRefusedForAReason) {
  constexpr std::size_t kOneGiB = 1UL << 30;
  const auto memory = Memory::create({.bytes = 1, .page_size = kOneGiB});
  if (memory) {
    EXPECT_EQ((*memory)->regions()[0].page_size, kOneGiB);
    EXPECT_EQ((*memory)->regions()[0].length, kOneGiB);
    return;
  }
  const auto sizes = hugepage_sizes();
  const bool known = std::find(sizes.begin(), sizes.end(), kOneGiB) != sizes.end();
  EXPECT_EQ(memory.error().code, make_error_code(known ? Errc::kNoHugepages : Errc::kPageSize));
  EXPECT_SAYS(memory.error().message(), known ? "hugepagesz=1G" : "1");
}

TEST(NumaNode, ThatExistsIsUsed) {
  if (::access("/sys/devices/system/node/node0", F_OK) != 0)
    GTEST_SKIP() << "this kernel shows no NUMA nodes";
  const auto memory = Memory::create({.bytes = kTwoMiB, .numa_node = 0, .hugepages = false});
  ASSERT_TRUE(memory) << memory.error().message();
  EXPECT_EQ((*memory)->regions()[0].numa_node, 0);
}

TEST(NumaNode, ThatDoesNotExistIsRefusedWithThoseThatDo) {
  const std::size_t descriptors = open_descriptors();
  for (const int node : {1000, 5000}) {
    const auto memory = Memory::create({.bytes = kTwoMiB, .numa_node = node, .hugepages = false});
    ASSERT_FALSE(memory);
    EXPECT_EQ(memory.error().code, make_error_code(Errc::kBadArgument));
    EXPECT_SAYS(memory.error().message(), fmt::format("NUMA node {}", node));
    EXPECT_FALSE(memory.error().cure.empty());
  }
  EXPECT_EQ(open_descriptors(), descriptors);
}

/// Asks for normal pages in a child that may lock only `limit` bytes; its message, empty if it got them.
std::string message_under_lock_limit(rlim_t limit, std::size_t bytes) {
  std::array<int, 2> ends{};
  if (::pipe(ends.data()) != 0) return "pipe";
  const Fd reader(ends[0]);
  Fd writer(ends[1]);
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit limits{limit, limit};
    // Root may lock without limit: become nobody.
    const bool ready = ::setrlimit(RLIMIT_MEMLOCK, &limits) == 0 &&
                       (::geteuid() != 0 || ::setresuid(65534, 65534, 65534) == 0);
    const auto memory = Memory::create({.bytes = bytes, .hugepages = false});
    std::string text = ready ? "" : "not ready";
    if (!memory) text = fmt::format("{} {}", memory.error().code.value(), memory.error().message());
    ::_exit(::write(writer.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()) ? 0 : 1);
  }
  writer.reset();
  std::string text;
  std::array<char, 1024> buffer{};
  for (ssize_t got = 0; (got = ::read(reader.get(), buffer.data(), buffer.size())) > 0;) {
    text.append(buffer.data(), static_cast<std::size_t>(got));
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  return text;
}

TEST(LockLimit, RefusalNamesTheLimitNeededAndAllowed) {
  const std::string text = message_under_lock_limit(1 << 20, 4 << 20);
  EXPECT_TRUE(text.starts_with(fmt::format("{} ", static_cast<int>(Errc::kLockLimit)))) << text;
  EXPECT_SAYS(text, "RLIMIT_MEMLOCK must be 4096 KiB, it is 1024 KiB");
  EXPECT_SAYS(text, "prlimit --pid $$ --memlock=4194304");
}

TEST(LockLimit, OfNothingAtAllIsNamedToo) {
  EXPECT_SAYS(message_under_lock_limit(0, 1 << 20), "RLIMIT_MEMLOCK must be 1024 KiB, it is 0 KiB");
}

TEST(LockLimit, ThatSufficesIsEnough) { EXPECT_EQ(message_under_lock_limit(1 << 20, 1 << 20), ""); }

}  // namespace
}  // namespace spinring::mempool
