#include "vfio_glue/bind.hpp"

#include <cerrno>

#include "base/log.hpp"
#include "tests/unit/vfio_glue/machine.hpp"

namespace spinring::vfio_glue {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kUsed = "0000:02:00.0";

class Binding : public testing::Test {
 protected:
  Binding() { kernel.add(kUsed, 8, "virtio-pci"); }
  sim::FakeKernel kernel;
};

TEST_F(Binding, TakesTheDeviceAndGivesItBack) {
  {
    Result<BoundDevice> bound = BoundDevice::bind(kernel, address(kUsed));
    ASSERT_TRUE(bound.has_value()) << bound.error().message();
    EXPECT_EQ(bound->former_driver(), "virtio-pci");
    EXPECT_EQ(kernel.at(kUsed).driver, "vfio-pci");
    EXPECT_EQ(kernel.at(kUsed).driver_override, "vfio-pci");
  }
  EXPECT_EQ(kernel.at(kUsed).driver, "virtio-pci");
  EXPECT_THAT(kernel.leftovers(), IsEmpty());
}

TEST_F(Binding, ADeviceWithoutDriverReturnsToNone) {
  kernel.add("0000:03:00.0", 9, "");
  {
    const Result<BoundDevice> bound = BoundDevice::bind(kernel, address("0000:03:00.0"));
    ASSERT_TRUE(bound.has_value());
    EXPECT_EQ(kernel.at("0000:03:00.0").driver, "vfio-pci");
  }
  EXPECT_EQ(kernel.at("0000:03:00.0").driver, "");
  EXPECT_THAT(kernel.leftovers(), IsEmpty());
}

TEST_F(Binding, AnOverrideSetByTheUserReturnsToo) {
  kernel.at(kUsed).driver_override = "virtio-pci";
  { ASSERT_TRUE(BoundDevice::bind(kernel, address(kUsed)).has_value()); }
  EXPECT_EQ(kernel.at(kUsed).driver_override, "virtio-pci");
  EXPECT_EQ(kernel.at(kUsed).driver, "virtio-pci");
}

TEST_F(Binding, ADeviceFoundWithVfioStaysThere) {
  // As a killed process leaves it: nobody knows the former driver.
  kernel.at(kUsed).driver = "vfio-pci";
  kernel.at(kUsed).driver_override = "vfio-pci";
  {
    const Result<BoundDevice> bound = BoundDevice::bind(kernel, address(kUsed));
    ASSERT_TRUE(bound.has_value());
    EXPECT_EQ(bound->former_driver(), "");
  }
  EXPECT_EQ(kernel.at(kUsed).driver, "vfio-pci");
  EXPECT_THAT(kernel.trace(), testing::Not(Contains(HasSubstr("write "))));
}

TEST_F(Binding, MovesWithItsObligation) {
  Result<BoundDevice> bound = BoundDevice::bind(kernel, address(kUsed));
  ASSERT_TRUE(bound.has_value());
  {
    const BoundDevice moved = std::move(*bound);
    EXPECT_EQ(kernel.at(kUsed).driver, "vfio-pci");
  }
  EXPECT_EQ(kernel.at(kUsed).driver, "virtio-pci");
  EXPECT_TRUE(bound->restore().has_value());  // nothing left to do
}

TEST_F(Binding, WithoutTheModuleSaysWhichToLoad) {
  kernel.vfio_pci_loaded = false;
  EXPECT_REFUSED(BoundDevice::bind(kernel, address(kUsed)), Errc::kNoModule,
                 AllOf(HasSubstr(kUsed), HasSubstr("modprobe vfio-pci")));
  EXPECT_THAT(kernel.leftovers(), IsEmpty());
}

TEST_F(Binding, WithoutRightsSaysHowToGetThem) {
  kernel.denied.insert("/sys/bus/pci/devices/0000:02:00.0/driver_override");
  EXPECT_REFUSED(BoundDevice::bind(kernel, address(kUsed)), Errc::kPermission,
                 AllOf(HasSubstr("driver_override"), HasSubstr("sudo spinring-devbind --bind")));
}

TEST_F(Binding, AProbeThatFailsPutsTheDeviceBack) {
  kernel.at(kUsed).probe_fails = true;
  EXPECT_REFUSED(BoundDevice::bind(kernel, address(kUsed)), Errc::kBind,
                 AllOf(HasSubstr(kUsed), HasSubstr("no driver"), HasSubstr("dmesg")));
  EXPECT_EQ(kernel.at(kUsed).driver, "virtio-pci");
  EXPECT_THAT(kernel.leftovers(), IsEmpty());
}

TEST_F(Binding, NoSuchDevice) {
  EXPECT_REFUSED(BoundDevice::bind(kernel, address("0000:55:00.0")), Errc::kNoDevice, HasSubstr("lspci -D"));
}

TEST_F(Binding, EveryCallThatFailsLeavesTheDeviceWhereItWas) {
  unsigned calls = 0;
  {
    ASSERT_TRUE(BoundDevice::bind(kernel, address(kUsed)).has_value());
    calls = kernel.calls();
  }
  for (unsigned nth = 1; nth <= calls; ++nth) {
    sim::FakeKernel fresh;
    fresh.add(kUsed, 8, "virtio-pci");
    fresh.fail_call(nth, EIO);
    const Result<BoundDevice> bound = BoundDevice::bind(fresh, address(kUsed));
    if (!fresh.failed()) break;  // the rest were calls of the return
    ASSERT_FALSE(bound.has_value()) << "call " << nth << ": " << fresh.trace().back();
    EXPECT_EQ(bound.error().system_errno, EIO) << bound.error().message();
    EXPECT_THAT(fresh.leftovers(), IsEmpty()) << "call " << nth;
    EXPECT_GT(nth, 0U);
  }
}

std::string logged;

TEST_F(Binding, AReturnThatFailsIsLoggedWithTheCommandThatMendsIt) {
  logged.clear();
  set_log_sink([](LogLevel level, std::string_view text) {
    if (level == LogLevel::kWarning) logged += text;
  });
  {
    Result<BoundDevice> bound = BoundDevice::bind(kernel, address(kUsed));
    ASSERT_TRUE(bound.has_value());
    kernel.fail_call("write /sys/bus/pci/drivers/virtio-pci/bind", 1, EBUSY);
  }
  set_log_sink([](LogLevel, std::string_view) {});
  EXPECT_THAT(logged, AllOf(HasSubstr(kUsed), HasSubstr("Device or resource busy"),
                            HasSubstr("spinring-devbind --restore 0000:02:00.0 --driver virtio-pci")));
  EXPECT_EQ(kernel.at(kUsed).driver, "");
  EXPECT_EQ(kernel.at(kUsed).driver_override, "");  // the other steps were made all the same
}

TEST_F(Binding, HandOverLetsTheKernelChoose) {
  kernel.at(kUsed).driver = "vfio-pci";
  kernel.at(kUsed).driver_override = "vfio-pci";
  ASSERT_TRUE(hand_over(kernel, address(kUsed), "").has_value());
  EXPECT_EQ(kernel.at(kUsed).driver, "virtio-pci");
  EXPECT_THAT(kernel.leftovers(), IsEmpty());
}

TEST_F(Binding, HandOverToANamedDriver) {
  ASSERT_TRUE(hand_over(kernel, address(kUsed), "vfio-pci").has_value());
  EXPECT_EQ(kernel.at(kUsed).driver, "vfio-pci");
  EXPECT_EQ(kernel.at(kUsed).driver_override, "vfio-pci");
  ASSERT_TRUE(hand_over(kernel, address(kUsed), "virtio-pci").has_value());
  EXPECT_THAT(kernel.leftovers(), IsEmpty());
  EXPECT_REFUSED(hand_over(kernel, address(kUsed), "nosuch"), Errc::kNoModule, HasSubstr("modprobe nosuch"));
}

}  // namespace
}  // namespace spinring::vfio_glue
