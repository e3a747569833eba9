#include "vfio_glue/preflight.hpp"

#include "tests/unit/vfio_glue/machine.hpp"

namespace spinring::vfio_glue {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

class Preflight : public testing::Test {
 protected:
  Preflight() {
    kernel.add("0000:01:00.0", 7, "virtio-pci");
    hugepages(2048, 1024, 1000);
    hugepages(1048576, 0, 0);
  }
  void hugepages(int kib, int total, int free) {
    const std::string folder = "/sys/kernel/mm/hugepages/hugepages-" + std::to_string(kib) + "kB/";
    kernel.files[folder + "nr_hugepages"] = std::to_string(total) + "\n";
    kernel.files[folder + "free_hugepages"] = std::to_string(free) + "\n";
  }
  std::vector<Finding> look() { return preflight(kernel, request); }
  /// The one finding that is bad.
  Error only_refusal() {
    Error refusal;
    unsigned count = 0;
    for (const Finding& finding : look()) {
      if (finding.good) continue;
      refusal = finding.error;
      ++count;
    }
    EXPECT_EQ(count, 1U);
    return refusal;
  }

  sim::FakeKernel kernel;
  PreflightRequest request{{*PciAddress::parse("0000:01:00.0")}, 256UL << 20, 2UL << 20};
};

TEST_F(Preflight, AGoodMachineHasNothingToSay) {
  for (const Finding& finding : look()) EXPECT_TRUE(finding.good) << finding.error.message();
  EXPECT_THAT(look(),
              testing::Contains(testing::Field(&Finding::what, HasSubstr("2048 KiB: 1000 of 1024 free"))));
  EXPECT_THAT(kernel.leftovers(), IsEmpty());
  for (const std::string& call : kernel.trace()) EXPECT_FALSE(call.starts_with("write")) << call;
}

TEST_F(Preflight, NoIommuNamesTheBootOption) {
  request.devices.clear();
  kernel.at("0000:01:00.0").group = -1;
  const Error refusal = only_refusal();
  EXPECT_EQ(refusal.code, make_error_code(Errc::kNoIommu));
  EXPECT_THAT(refusal.message(), AllOf(HasSubstr("/sys/kernel/iommu_groups"), HasSubstr("intel_iommu=on")));
}

TEST_F(Preflight, ADeviceBehindNoIommuIsNamedUnlessItHasNoDriverYet) {
  kernel.add("0000:02:00.0", -1, "igb");
  request.devices.push_back(*PciAddress::parse("0000:02:00.0"));
  EXPECT_THAT(only_refusal().message(), AllOf(HasSubstr("0000:02:00.0"), HasSubstr("no IOMMU")));
  kernel.at("0000:02:00.0").driver = "";
  for (const Finding& finding : look()) EXPECT_TRUE(finding.good) << finding.error.message();
  kernel.at("0000:02:00.0").driver = "igb";
}

TEST_F(Preflight, TooFewHugepagesNamesTheCommand) {
  hugepages(2048, 100, 60);
  const Error refusal = only_refusal();
  EXPECT_EQ(refusal.code, make_error_code(Errc::kHugepages));
  EXPECT_THAT(refusal.message(),
              AllOf(HasSubstr("128 free pages of 2048 KiB are needed, 60 of 100 are free"),
                    HasSubstr("echo 168 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")));
}

TEST_F(Preflight, APageSizeThatTheKernelHasNotIsNamed) {
  request.page_size = 16UL << 20;
  EXPECT_THAT(only_refusal().message(), HasSubstr("no pages of that size"));
}

TEST_F(Preflight, MemlockNamesNeededAndAllowed) {
  kernel.memlock = 8192 * 1024;
  const Error refusal = only_refusal();
  EXPECT_EQ(refusal.code, make_error_code(Errc::kMemlock));
  EXPECT_THAT(refusal.message(),
              AllOf(HasSubstr("262144 KiB of locked memory are needed, 8192 KiB are allowed"),
                    HasSubstr("ulimit -l 262144")));
}

TEST_F(Preflight, AModuleThatIsMissingIsNamed) {
  kernel.type1 = kernel.type1v2 = false;
  EXPECT_THAT(only_refusal().message(), HasSubstr("modprobe vfio_iommu_type1"));
}

TEST_F(Preflight, AGroupWithForeignDriversIsListed) {
  kernel.add("0000:01:00.1", 7, "e1000e");
  const Error refusal = only_refusal();
  EXPECT_EQ(refusal.code, make_error_code(Errc::kGroupNotViable));
  EXPECT_THAT(refusal.message(), HasSubstr("0000:01:00.1 (e1000e)"));
  request.devices.push_back(*PciAddress::parse("0000:01:00.1"));  // both are going to be bound
  for (const Finding& finding : look()) EXPECT_TRUE(finding.good) << finding.error.message();
}

TEST_F(Preflight, PermissionOnTheNodeIsNamed) {
  kernel.at("0000:01:00.0").driver = "vfio-pci";
  kernel.denied.insert("/dev/vfio/7");
  const Error refusal = only_refusal();
  EXPECT_EQ(refusal.code, make_error_code(Errc::kPermission));
  EXPECT_THAT(refusal.message(), AllOf(HasSubstr("/dev/vfio/7"), HasSubstr("chown")));
}

TEST_F(Preflight, ADeviceThatIsNotThereIsNamed) {
  request.devices = {*PciAddress::parse("0000:44:00.0")};
  EXPECT_THAT(only_refusal().message(), HasSubstr("0000:44:00.0"));
}

}  // namespace
}  // namespace spinring::vfio_glue
