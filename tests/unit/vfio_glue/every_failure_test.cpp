// Opens everything that a driver opens, then once more for every system call of that with that call failing.
#include <cerrno>

#include "tests/unit/vfio_glue/machine.hpp"
#include "vfio_glue/bind.hpp"

namespace spinring::vfio_glue {
namespace {

using testing::IsEmpty;

constexpr const char* kNic = "0000:01:00.0";

/// One driver's worth of kernel objects, in the order in which they are taken.
struct Everything {
  std::optional<BoundDevice> bound;
  std::unique_ptr<IommuBackend> backend;
  std::unique_ptr<Device> device;

  Result<void> open(sim::FakeKernel& kernel, const MemoryRegion& memory) {
    Result<PciDeviceInfo> info = read_pci_device(kernel, address(kNic));
    if (!info) return fail(std::move(info));
    Result<BoundDevice> taken = BoundDevice::bind(kernel, address(kNic));
    if (!taken) return fail(std::move(taken));
    bound.emplace(std::move(*taken));
    Result<std::unique_ptr<IommuBackend>> space = ContainerIommu::create(kernel, false);
    if (!space) return fail(std::move(space));
    backend = std::move(*space);
    Result<Fd> fd = backend->open_device(*info);
    if (!fd) return fail(std::move(fd));
    if (Result<void> mapped = backend->mapper()->add(memory); !mapped) return mapped;
    Result<std::unique_ptr<Device>> opened = Device::open(kernel, std::move(*fd), address(kNic), *backend);
    if (!opened) return fail(std::move(opened));
    device = std::move(*opened);
    if (Result<Region*> bar = device->bar(0); !bar) return fail(std::move(bar));
    if (Result<Region*> bar = device->bar(2); !bar) return fail(std::move(bar));
    if (Result<std::vector<PciCapability>> list = device->config().capabilities(); !list) {
      return fail(std::move(list));
    }
    if (Result<unsigned> armed = device->enable_interrupts(4); !armed) return fail(std::move(armed));
    if (Result<void> on = device->set_bus_master(true); !on) return on;
    return device->reset();
  }
};

void furnish(sim::FakeKernel& kernel) {
  kernel.add(kNic, 7, "virtio-pci");
  kernel.at(kNic).bars[2] = {0x4000, true, true, {{0, 0x1000}, {0x3000, 0x1000}}};
}

class EveryCall : public testing::TestWithParam<int> {};

TEST_P(EveryCall, ThatFailsIsReportedAndLeavesNothing) {
  const TestMemory memory;
  unsigned calls = 0;
  {
    sim::FakeKernel kernel;
    furnish(kernel);
    {
      Everything everything;
      ASSERT_TRUE(everything.open(kernel, memory.region()).has_value());
      calls = kernel.calls();
      EXPECT_EQ(kernel.dma_mappings(), 1U);
    }
    EXPECT_THAT(kernel.leftovers(), IsEmpty());
  }
  ASSERT_GT(calls, 50U);
  RecordProperty("calls", static_cast<int>(calls));
  unsigned tolerated = 0;
  for (unsigned nth = 1; nth <= calls; ++nth) {
    sim::FakeKernel kernel;
    furnish(kernel);
    kernel.fail_call(nth, GetParam());
    std::string call;
    {
      Everything everything;
      const Result<void> opened = everything.open(kernel, memory.region());
      ASSERT_TRUE(kernel.failed());
      call = kernel.trace()[nth - 1];
      if (opened) {
        ++tolerated;
        // A missing numa_node, driver or group is an answer; so is an interrupt that the device does not
        // have.
        const bool absent =
            GetParam() == ENOENT && (call.starts_with("readlink") || call.starts_with("read "));
        const bool none = GetParam() == EINVAL && call.starts_with("ioctl VFIO_DEVICE_GET_IRQ_INFO");
        EXPECT_TRUE(absent || none) << "swallowed: " << call;
      } else {
        const Error& error = opened.error();
        EXPECT_FALSE(error.operation.empty()) << call;
        EXPECT_FALSE(error.subject.empty()) << call;
        if (GetParam() == EIO) {
          EXPECT_EQ(error.system_errno, EIO) << call << ": " << error.message();
        }
      }
    }
    EXPECT_THAT(kernel.leftovers(), IsEmpty()) << "call " << nth << ": " << call;
  }
  if (GetParam() == EIO) {
    EXPECT_EQ(tolerated, 0U);
  }
  std::printf("errno %d: %u calls failed in turn, %u of them tolerated\n", GetParam(), calls, tolerated);
}

INSTANTIATE_TEST_SUITE_P(Errnos, EveryCall,
                         testing::Values(EIO, ENOENT, EINVAL, EPERM, EACCES, EBUSY, ENOMEM, ENOSPC, ENODEV));

TEST(EveryCallOfTheTeardown, MayFailAndLeavesNothingOpenOrMapped) {
  const TestMemory memory;
  unsigned opening = 0;
  unsigned closing = 0;
  {
    sim::FakeKernel kernel;
    furnish(kernel);
    {
      Everything everything;
      ASSERT_TRUE(everything.open(kernel, memory.region()).has_value());
      opening = kernel.calls();
    }
    closing = kernel.calls() - opening;
  }
  ASSERT_GT(closing, 5U);
  for (unsigned nth = 1; nth <= closing; ++nth) {
    sim::FakeKernel kernel;
    furnish(kernel);
    {
      Everything everything;
      ASSERT_TRUE(everything.open(kernel, memory.region()).has_value());
      kernel.fail_call(nth, EIO);
    }
    const std::string call = kernel.trace()[opening + nth - 1];
    EXPECT_TRUE(kernel.failed()) << nth;
    EXPECT_THAT(kernel.open_files(), IsEmpty()) << call;
    EXPECT_EQ(kernel.dma_mappings(), 0U) << call;
  }
}

}  // namespace
}  // namespace spinring::vfio_glue
