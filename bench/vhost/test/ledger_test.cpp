#include "bench/vhost/ledger.hpp"

#include <gtest/gtest.h>

#include <filesystem>

#include "bench/vhost/errors.hpp"

namespace spinring::bench::vhost {
namespace {

TEST(Ledger, IsKnownToTheNextAndNewOnesAreEmpty) {
  const std::string path = testing::TempDir() + "ledger-" + std::to_string(::getpid());
  {
    const auto first = Ledger::open(path, 2);
    ASSERT_TRUE(first) << first.error().message();
    ASSERT_EQ(first->records().size(), 2U);
    EXPECT_EQ(first->records()[1].next, 0U);
    SequenceChecker(first->records()[1]).see(0);
    SequenceChecker(first->records()[1]).see(2);
  }
  const auto second = Ledger::open(path, 2);
  ASSERT_TRUE(second);
  SequenceChecker checker(second->records()[1]);
  EXPECT_EQ(checker.lost(), 1U);
  checker.see(0);
  EXPECT_EQ(checker.duplicated(), 1U) << "it remembers each number";
  checker.see(1);
  EXPECT_EQ(checker.lost(), 0U);
  EXPECT_EQ(second->records()[0].verified, 0U);
  const auto other = Ledger::open(path, 3);
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, make_error_code(Errc::kBadArgument));
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace spinring::bench::vhost
