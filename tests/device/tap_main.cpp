#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "tests/device/tap_net.hpp"

/// Tests whose NIC is a tap: they need QEMU and a network namespace of their own. Without either they are
/// skipped, and say so.
int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (std::system("qemu-system-x86_64 --version >/dev/null 2>&1") != 0) {
    std::puts("skipped: there is no qemu-system-x86_64 in PATH (apt-get install qemu-system-x86)");
    return 77;
  }
  const std::string refused = spinring::test::enter_namespace();
  if (!refused.empty()) {
    std::printf("skipped: several queues and offloads need a tap device: %s\n", refused.c_str());
    return 77;
  }
  return RUN_ALL_TESTS();
}
