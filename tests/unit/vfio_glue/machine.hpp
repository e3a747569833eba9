#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <memory>
#include <string>

#include "base/mapping.hpp"
#include "tests/sim/fake_kernel.hpp"
#include "vfio_glue/container_iommu.hpp"
#include "vfio_glue/device.hpp"
#include "vfio_glue/errors.hpp"
#include "vfio_glue/sysfs.hpp"

namespace spinring::vfio_glue {

/// Memory as a pool would own it.
class TestMemory {
 public:
  explicit TestMemory(RegionId id = 0, std::size_t length = 64 * 1024, std::size_t page_size = 4096)
      : mapping_(::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                        -1, 0),
                 length) {
    region_.va = mapping_.data();
    region_.length = length;
    region_.page_size = page_size;
    region_.id = id;
  }
  [[nodiscard]] const MemoryRegion& region() const { return region_; }

 private:
  Mapping mapping_;
  MemoryRegion region_;
};

inline PciAddress address(std::string_view text) { return PciAddress::parse(text).value(); }

/// A machine with one NIC, bound to vfio-pci already.
class Machine : public testing::Test {
 protected:
  Machine() { kernel.add(kNic, 7, "vfio-pci"); }
  ~Machine() override { EXPECT_THAT(kernel.leftovers(), testing::IsEmpty()); }

  std::unique_ptr<IommuBackend> backend() { return std::move(ContainerIommu::create(kernel, false).value()); }
  PciDeviceInfo info(std::string_view name = kNic) { return read_pci_device(kernel, address(name)).value(); }
  std::unique_ptr<Device> open(IommuBackend& backend, std::string_view name = kNic) {
    Fd fd = std::move(backend.open_device(info(name)).value());
    return std::move(Device::open(kernel, std::move(fd), address(name), backend).value());
  }

  static constexpr const char* kNic = "0000:01:00.0";
  sim::FakeKernel kernel;
};

#define EXPECT_REFUSED(result, errc, text_matcher)                                       \
  do {                                                                                   \
    const auto& refused = (result);                                                      \
    ASSERT_FALSE(refused.has_value());                                                   \
    EXPECT_EQ(refused.error().code, make_error_code(errc)) << refused.error().message(); \
    EXPECT_THAT(refused.error().message(), text_matcher);                                \
  } while (false)

}  // namespace spinring::vfio_glue
