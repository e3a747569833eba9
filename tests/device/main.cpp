#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

/// The device tier needs QEMU and nothing else. Without it the tier is skipped, and says so.
int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (std::system("qemu-system-x86_64 --version >/dev/null 2>&1") != 0) {
    std::puts("skipped: there is no qemu-system-x86_64 in PATH (apt-get install qemu-system-x86)");
    return 77;
  }
  return RUN_ALL_TESTS();
}
