#include "vfio_glue/sysfs.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>

#include "tests/unit/vfio_glue/machine.hpp"

namespace spinring::vfio_glue {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(PciScan, ReadsEveryAttribute) {
  sim::FakeKernel kernel;
  kernel.add("0000:01:00.0", 7, "virtio-pci").numa_node = 1;
  kernel.add("0000:00:1f.0", -1, "").class_code = 0x060100;
  const std::vector<PciDeviceInfo> devices = scan_pci_devices(kernel).value();
  ASSERT_EQ(devices.size(), 2U);
  EXPECT_EQ(devices[0].address, address("0000:00:1f.0"));
  EXPECT_EQ(devices[0].driver, "");
  EXPECT_EQ(devices[0].iommu_group, kUngrouped);
  EXPECT_FALSE(devices[0].is_network());
  EXPECT_EQ(devices[1].vendor, 0x1af4);
  EXPECT_EQ(devices[1].device, 0x1041);
  EXPECT_EQ(devices[1].driver, "virtio-pci");
  EXPECT_EQ(devices[1].iommu_group, 7);
  EXPECT_EQ(devices[1].numa_node, 1);
  EXPECT_TRUE(devices[1].is_network());
  EXPECT_THAT(group_devices(kernel, 7).value(), ElementsAre(address("0000:01:00.0")));
}

TEST(PciScan, ADeviceThatIsNotThereIsNamed) {
  sim::FakeKernel kernel;
  EXPECT_REFUSED(read_pci_device(kernel, address("0000:09:00.0")), Errc::kNoDevice,
                 HasSubstr("0000:09:00.0"));
}

TEST(PciScan, ReadsThisMachine) {
  // The real kernel's answers: whatever devices there are, every one must be readable.
  if (!real_sys().access("/sys/bus/pci/devices", F_OK)) GTEST_SKIP() << "this machine has no PCI bus";
  const Result<std::vector<PciDeviceInfo>> devices = scan_pci_devices(real_sys());
  ASSERT_TRUE(devices.has_value()) << devices.error().message();
  EXPECT_EQ(devices->size(), real_sys().list_directory("/sys/bus/pci/devices")->size());
  EXPECT_TRUE(has_iommu(real_sys()).has_value());
}

TEST(RealCalls, GiveWhatTheKernelGivesOrItsErrno) {
  Sys& sys = real_sys();
  const std::string folder = testing::TempDir() + "spinring-sys-" + std::to_string(::getpid());
  ASSERT_EQ(::mkdir(folder.c_str(), 0700), 0);
  const std::string file = folder + "/file";
  std::ofstream(file) << "abc";
  ASSERT_EQ(::symlink("target", (folder + "/link").c_str()), 0);

  EXPECT_EQ(sys.read_file(file), "abc");
  EXPECT_EQ(sys.write_file(file, "xyz"), 0);
  EXPECT_EQ(sys.read_file(file), "xyz");
  EXPECT_EQ(sys.read_link(folder + "/link"), "target");
  EXPECT_THAT(sys.list_directory(folder).value(), ElementsAre("file", "link"));
  EXPECT_EQ(sys.read_file(folder + "/none").error(), ENOENT);
  EXPECT_EQ(sys.write_file(folder + "/none", "x").error(), ENOENT);
  EXPECT_EQ(sys.read_link(file).error(), EINVAL);
  EXPECT_EQ(sys.list_directory(file).error(), ENOTDIR);
  EXPECT_EQ(sys.access(folder + "/none", F_OK).error(), ENOENT);
  EXPECT_EQ(sys.open(folder + "/none", O_RDWR).error(), ENOENT);
  EXPECT_TRUE(sys.memlock_limit().has_value());

  SysResult<Fd> fd = sys.open(file, O_RDWR);
  ASSERT_TRUE(fd.has_value());
  EXPECT_EQ(::fcntl(fd->get(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  char byte = 0;
  EXPECT_EQ(sys.pread(fd->get(), &byte, 1, 2), 1U);
  EXPECT_EQ(byte, 'z');
  EXPECT_EQ(sys.pwrite(fd->get(), "!", 1, 0), 1U);
  EXPECT_EQ(sys.pread(-1, &byte, 1, 0).error(), EBADF);
  EXPECT_EQ(sys.pwrite(-1, &byte, 1, 0).error(), EBADF);
  EXPECT_EQ(sys.ioctl(fd->get(), 0x3b64, 0).error(), ENOTTY);
  {
    SysResult<Mapping> mapping = sys.mmap(4096, PROT_READ, fd->get(), 0);
    ASSERT_TRUE(mapping.has_value());
    EXPECT_EQ(mapping->data()[0], std::byte{'!'});
  }
  EXPECT_EQ(sys.mmap(4096, PROT_READ, fd->get(), 1).error(), EINVAL);
  SysResult<Fd> event = sys.eventfd();
  ASSERT_TRUE(event.has_value());
  std::uint64_t count = 0;
  EXPECT_EQ(::read(event->get(), &count, sizeof(count)), -1);  // non-blocking
  EXPECT_EQ(errno, EAGAIN);

  ::unlink(file.c_str());
  ::unlink((folder + "/link").c_str());
  ::rmdir(folder.c_str());
}

}  // namespace
}  // namespace spinring::vfio_glue
