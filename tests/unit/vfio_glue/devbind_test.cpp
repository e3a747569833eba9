#include <sstream>

#include "apps/devbind/commands.hpp"
#include "tests/unit/vfio_glue/machine.hpp"

namespace spinring::devbind {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class Devbind : public testing::Test {
 protected:
  Devbind() {
    kernel.add("0000:01:00.0", 7, "virtio-pci");
    kernel.add("0000:02:00.0", 8, "e1000e").device = 0x10d3;
    kernel.add("0000:00:1f.0", 1, "lpc").class_code = 0x060100;
    kernel.files["/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"] = "10\n";
    kernel.files["/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"] = "4\n";
  }
  int go(const Request& request) {
    out.str("");
    err.str("");
    return run(request, kernel, out, err);
  }
  sim::FakeKernel kernel;
  std::ostringstream out;
  std::ostringstream err;
};

TEST_F(Devbind, StatusListsNetworkDevicesAlone) {
  EXPECT_EQ(go({.status = true}), 0);
  EXPECT_THAT(out.str(), AllOf(HasSubstr("0000:01:00.0  1af4:1041  virtio-pci           7     0"),
                               HasSubstr("0000:02:00.0  1af4:10d3  e1000e               8     0"),
                               Not(HasSubstr("1f.0"))));
}

TEST_F(Devbind, BindsAndRestores) {
  EXPECT_EQ(go({.bind = {"0000:01:00.0", "02:00.0"}}), 0) << err.str();
  EXPECT_EQ(kernel.at("0000:01:00.0").driver, "vfio-pci");
  EXPECT_EQ(kernel.at("0000:02:00.0").driver, "vfio-pci");
  EXPECT_THAT(out.str(), HasSubstr("0000:01:00.0: bound to vfio-pci (/dev/vfio/7), was with virtio-pci"));
  EXPECT_EQ(go({.bind = {"0000:01:00.0"}}), 0);
  EXPECT_THAT(out.str(), HasSubstr("already bound"));
  EXPECT_EQ(go({.restore = {"0000:01:00.0"}}), 0);
  EXPECT_EQ(go({.restore = {"0000:02:00.0"}, .driver = "e1000e"}), 0);
  EXPECT_THAT(out.str(), HasSubstr("0000:02:00.0: with e1000e now"));
  EXPECT_THAT(kernel.leftovers(), IsEmpty());
}

TEST_F(Devbind, ARefusalIsToldAndTheOthersAreTried) {
  EXPECT_EQ(go({.bind = {"nonsense", "0000:44:00.0", "0000:01:00.0"}}), 1);
  EXPECT_THAT(err.str(), AllOf(HasSubstr("nonsense"), HasSubstr("0000:44:00.0")));
  EXPECT_EQ(kernel.at("0000:01:00.0").driver, "vfio-pci");
}

TEST_F(Devbind, PreflightTellsWhatIsBadAndTheCure) {
  Request request{.preflight = true, .preflight_devices = {"0000:01:00.0"}, .memory_mib = 4};
  EXPECT_EQ(go(request), 0) << out.str();
  request.memory_mib = 64;
  EXPECT_EQ(go(request), 1);
  EXPECT_THAT(out.str(), AllOf(HasSubstr("ok   IOMMU"), HasSubstr("BAD  hugepages of 2048 KiB: 4 of 10 free"),
                               HasSubstr("echo 38 > ")));
}

}  // namespace
}  // namespace spinring::devbind
