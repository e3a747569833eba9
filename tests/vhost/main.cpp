#include <gtest/gtest.h>

#include <cstdio>

#include "tests/vhost/dpdk_switch.hpp"

/// The tier needs DPDK's libraries, with which it was built, and memory for them.
int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (const std::string reason = spinring::vhost_test::DpdkSwitch::start_dpdk(); !reason.empty()) {
    std::printf("%s\n", reason.c_str());
    return 1;
  }
  return RUN_ALL_TESTS();
}
