#include "lcore/core_list.hpp"

#include <gtest/gtest.h>

#include "lcore/cpu_set.hpp"
#include "lcore/errors.hpp"

namespace spinring::lcore {
namespace {

using Specs = std::vector<LcoreSpec>;

TEST(CoreList, TakesNumbersAndRangesInTheOrderWritten) {
  const Result<Specs> specs = parse_core_list("5,0-2");
  ASSERT_TRUE(specs) << specs.error().message();
  EXPECT_EQ(*specs, (Specs{{5, 5}, {0, 0}, {1, 1}, {2, 2}}));
}

TEST(CoreList, OneCoreIsAList) { EXPECT_EQ(parse_core_list("0").value(), (Specs{{0, 0}})); }

TEST(CoreList, RefusesWhatIsNoListAndQuotesIt) {
  for (const char* text : {"", "a", "1,", ",1", "1-", "-1", "1--2", "3-1", "0x1", "8192", "99999999999",
                           "0 1", "1,1", "0-2,1", "0@0"}) {
    const Result<Specs> specs = parse_core_list(text);
    ASSERT_FALSE(specs) << '"' << text << '"';
    EXPECT_EQ(specs.error().code, Errc::kBadCoreList);
    EXPECT_NE(specs.error().message().find('"' + std::string(text) + '"'), std::string::npos);
    EXPECT_FALSE(specs.error().cure.empty());
  }
}

TEST(CoreList, SaysWhichPartIsWrong) {
  EXPECT_NE(parse_core_list("0,7-x,9").error().message().find("\"7-x\""), std::string::npos);
  EXPECT_NE(parse_core_list("4-2").error().message().find("backwards"), std::string::npos);
  EXPECT_NE(parse_core_list("1,2,1").error().message().find("twice"), std::string::npos);
}

TEST(Lcores, PutSeveralOnOneCpu) {
  EXPECT_EQ(parse_lcores("0@0,1@0").value(), (Specs{{0, 0}, {1, 0}}));
  EXPECT_EQ(parse_lcores("0-1@3,7").value(), (Specs{{0, 3}, {1, 3}, {7, 7}}));
}

TEST(Lcores, RefuseABadCpu) {
  for (const char* text : {"0@", "0@x", "@1", "0@1-2", "0@8192", "1@0,1@1"}) {
    EXPECT_FALSE(parse_lcores(text)) << text;
  }
}

TEST(CpuSet, PrintsAsTheKernelDoes) {
  EXPECT_EQ(CpuSet({8, 0, 1, 2, 2, 10}).to_string(), "0-2,8,10");
  EXPECT_EQ(CpuSet({4, 5}).to_string(), "4-5");
  EXPECT_EQ(CpuSet().to_string(), "");
}

TEST(CpuSet, ChecksNameTheCpuAndTheAllowedOnes) {
  const CpuSet allowed({0, 1, 2});
  EXPECT_TRUE(check_cpu(2, allowed));
  const Result<void> refused = check_cpu(7, allowed);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::kCpuNotAvailable);
  EXPECT_NE(refused.error().message().find("CPU 7"), std::string::npos);
  EXPECT_NE(refused.error().message().find("0-2"), std::string::npos);
}

}  // namespace
}  // namespace spinring::lcore
