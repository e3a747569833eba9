#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.hpp"
#include "vfio_glue/iova_allocator.hpp"
#include "vfio_glue/pci_address.hpp"
#include "vfio_glue/sys.hpp"

namespace spinring::sim {

/// A BAR of a FakeDevice.
struct FakeBar {
  std::uint64_t size = 0;
  bool mappable = true;
  bool msix_capability = false;
  /// Reported as VFIO_REGION_INFO_CAP_SPARSE_MMAP if there are any: offset, size.
  std::vector<std::pair<std::uint64_t, std::uint64_t>> sparse;
};

/// A PCI function of the fake machine: what it is, and what has been done to it.
struct FakeDevice {
  vfio_glue::PciAddress address;
  std::uint16_t vendor = 0x1af4;
  std::uint16_t device = 0x1041;
  std::uint32_t class_code = 0x020000;
  int group = -1;          ///< -1: behind no IOMMU, or none yet
  int group_on_bind = -1;  ///< the group that it gets when a driver takes it (virtio-iommu)
  int numa_node = 0;
  std::string driver;           ///< that has it now
  std::string natural_driver;   ///< whose id table matches it
  std::string driver_override;  ///< empty: "(null)"
  std::array<FakeBar, 6> bars;
  bool function_reset = true;
  bool bus_reset = true;
  std::array<unsigned, 5> irq_counts{1, 1, 4, 1, 1};  ///< INTx, MSI, MSI-X, error, request
  std::array<std::uint8_t, 256> config{};
  bool probe_fails = false;  ///< vfio-pci refuses it

  // What has become of it.
  unsigned function_resets = 0;
  unsigned bus_resets = 0;
  std::array<Fd, 6> bar_memory;          ///< memfds behind the BARs
  std::array<std::vector<Fd>, 5> armed;  ///< the kernel's own references to the eventfds
  bool intx_masked = false;
  bool intx_pending = false;
  bool unguarded = false;  ///< its group was made by VFIO: there is no IOMMU

  [[nodiscard]] std::uint16_t command() const {
    return static_cast<std::uint16_t>(config[4] | config[5] << 8);
  }
  [[nodiscard]] bool bus_master() const { return (command() & 4U) != 0; }
  [[nodiscard]] bool memory_space() const { return (command() & 2U) != 0; }
};

/// VFIO and the parts of sysfs that vfio_glue uses, written from <linux/vfio.h> and from the kernel's
/// behaviour (6.1 where versions differ). It hands out real descriptors and real mappings, looks at every
/// call which of them are still alive, and draws its state from that, as the kernel does from its references.
/// What the kernel would answer by hanging, or would let pass although it is wrong, is noted in violations().
class FakeKernel final : public vfio_glue::Sys {
 public:
  FakeKernel();
  ~FakeKernel() override;

  // The machine. Changed by tests before and between calls.
  bool vfio_pci_loaded = true;
  bool type1v2 = true;
  bool type1 = true;
  bool noiommu = false;
  bool interrupt_remapping = true;
  int api_version = 0;
  std::uint64_t memlock = kUnlimited;
  std::uint64_t page_sizes = 0x40201000;  ///< 4 KiB, 2 MiB, 1 GiB
  std::uint32_t dma_entry_limit = 65535;
  bool report_ranges = true;
  std::vector<vfio_glue::IovaRange> ranges{{0, 0xfedf'ffff}, {0xfef0'0000, (1ULL << 39) - 1}};
  std::map<int, std::vector<vfio_glue::IovaRange>> group_ranges;  ///< what a group's IOMMU adds as a limit
  std::set<std::string> denied;                                   ///< paths that this user may not open
  std::set<int> held_elsewhere;                                   ///< groups open in another process
  unsigned free_vectors = 2048;                                   ///< interrupt vectors of the machine
  std::map<std::string, std::string> files;                       ///< further files (hugepages)
  bool pagemap_readable = true;
  bool scattered_memory = false;

  /// Adds a device with a name such as "0000:01:00.0", bound to `driver`.
  FakeDevice& add(std::string_view address, int group, std::string driver = "virtio-pci");
  [[nodiscard]] FakeDevice& at(std::string_view address);

  // Faults.
  /// Fails the n-th call from now (1: the next) with that errno, once.
  void fail_call(unsigned nth, int system_errno);
  /// Fails the n-th call from now whose trace line begins with `prefix`, once.
  void fail_call(std::string prefix, unsigned nth, int system_errno);
  [[nodiscard]] unsigned calls() const { return static_cast<unsigned>(trace_.size()); }
  /// One line a call: "open /dev/vfio/7", "ioctl VFIO_SET_IOMMU".
  [[nodiscard]] const std::vector<std::string>& trace() const { return trace_; }
  /// Whether the injected fault has been met.
  [[nodiscard]] bool failed() const { return failed_; }

  // What is there now.
  [[nodiscard]] std::vector<std::string> open_files();
  [[nodiscard]] std::size_t dma_mappings();
  /// Everything that is open, mapped, bound otherwise than at the start, and every violation.
  [[nodiscard]] std::vector<std::string> leftovers();
  [[nodiscard]] const std::vector<std::string>& violations() const { return violations_; }

  /// The device reads memory by DMA: what an IOMMU lets through, or nothing.
  [[nodiscard]] std::optional<std::string> dma_read(std::string_view address, std::uint64_t iova,
                                                    std::size_t length);
  /// The device raises an interrupt. False if nobody armed it, or the line is masked.
  bool fire(std::string_view address, unsigned index, unsigned vector = 0);
  /// A register as the device sees it.
  [[nodiscard]] std::uint32_t peek(std::string_view address, unsigned bar, std::uint64_t offset);
  void poke(std::string_view address, unsigned bar, std::uint64_t offset, std::uint32_t value);

  // vfio_glue::Sys
  vfio_glue::SysResult<Fd> open(const std::string& path, int flags) override;
  vfio_glue::SysResult<int> ioctl(int fd, unsigned long request, unsigned long argument) override;
  vfio_glue::SysResult<Mapping> mmap(std::size_t length, int protection, int fd,
                                     std::uint64_t offset) override;
  vfio_glue::SysResult<std::size_t> pread(int fd, void* buffer, std::size_t length,
                                          std::uint64_t offset) override;
  vfio_glue::SysResult<std::size_t> pwrite(int fd, const void* buffer, std::size_t length,
                                           std::uint64_t offset) override;
  vfio_glue::SysResult<Fd> eventfd() override;
  vfio_glue::SysResult<int> access(const std::string& path, int mode) override;
  vfio_glue::SysResult<std::string> read_link(const std::string& path) override;
  vfio_glue::SysResult<std::vector<std::string>> list_directory(const std::string& path) override;
  vfio_glue::SysResult<std::string> read_file(const std::string& path) override;
  vfio_glue::SysResult<int> write_file(const std::string& path, std::string_view text) override;
  vfio_glue::SysResult<std::uint64_t> memlock_limit() override;

 private:
  enum class Kind { kContainer, kGroup, kDevice, kEvent, kPagemap };
  /// A descriptor that was handed out, and how to tell it from a later one of the same number.
  struct File {
    int fd = -1;
    Kind kind = Kind::kEvent;
    std::string name;
    std::string identity;
    int group = -1;      // groups and devices
    int container = 0;   // containers: their id
    std::string device;  // devices
  };
  struct Container {
    bool iommu_set = false;
    unsigned long iommu_type = 0;
    std::set<int> groups;
    std::map<std::uint64_t, std::pair<std::uint64_t, std::uint64_t>> maps;  // iova -> vaddr, size
  };

  using Answer = vfio_glue::SysResult<int>;
  static tl::unexpected<int> error(int system_errno) { return tl::unexpected<int>(system_errno); }

  // fake_kernel.cpp
  std::optional<int> enter(std::string line);
  void sync();
  Fd hand_out(Fd fd, File file);
  File* find(int fd);
  void violation(std::string text) { violations_.push_back(std::move(text)); }
  [[nodiscard]] bool has_open_device(int group) const;
  [[nodiscard]] bool has_open_group(int group) const;
  [[nodiscard]] bool group_in_use(int group) const { return container_of_.contains(group); }
  void leave_container(int group);
  void drop_maps(Container& container, const char* how);
  std::size_t live_bar_mappings();

  // fake_kernel_container.cpp
  Answer container_ioctl(File& file, unsigned long request, unsigned long argument);
  Answer group_ioctl(File& file, unsigned long request, unsigned long argument);
  Answer set_iommu(Container& container, unsigned long type);
  Answer iommu_info(const Container& container, unsigned long argument);
  Answer map_dma(Container& container, unsigned long argument);
  Answer unmap_dma(Container& container, unsigned long argument);
  Answer set_container(int group, int container_fd);
  Answer device_fd(const File& group, const char* name);
  [[nodiscard]] std::vector<vfio_glue::IovaRange> ranges_of(const Container& container) const;
  [[nodiscard]] bool viable(int group) const;

  // fake_kernel_device.cpp
  Answer device_ioctl(File& file, unsigned long request, unsigned long argument);
  Answer region_info(FakeDevice& device, unsigned long argument);
  Answer irq_info(FakeDevice& device, unsigned long argument);
  Answer set_irqs(FakeDevice& device, unsigned long argument);
  Answer arm(FakeDevice& device, unsigned index, const std::vector<int>& fds);
  Answer hot_reset_info(FakeDevice& device, unsigned long argument);
  Answer hot_reset(FakeDevice& device, unsigned long argument);
  [[nodiscard]] std::vector<FakeDevice*> same_bus(const FakeDevice& device);
  void close_device(FakeDevice& device);
  void raise_intx(FakeDevice& device);
  vfio_glue::SysResult<std::size_t> device_io(FakeDevice& device, void* buffer, std::size_t length,
                                              std::uint64_t offset, bool write);

  // fake_kernel_sysfs.cpp
  Answer open_node(const std::string& path);
  [[nodiscard]] bool exists(const std::string& path) const;
  [[nodiscard]] std::vector<std::string> children(const std::string& path) const;
  [[nodiscard]] std::optional<std::string> link_target(const std::string& path) const;
  [[nodiscard]] std::optional<std::string> file_text(const std::string& path) const;
  Answer unbind(FakeDevice& device);
  Answer bind(FakeDevice& device, const std::string& driver);

  std::map<std::string, FakeDevice> devices_;
  std::map<std::string, std::string> first_drivers_;
  std::vector<File> files_;
  std::map<int, Container> containers_;  // by id
  std::map<int, int> container_of_;      // group -> container id
  int next_container_ = 1;
  std::vector<std::string> trace_;
  std::vector<std::string> violations_;
  std::optional<std::pair<unsigned, int>> fault_;  // calls to go, errno
  std::string fault_prefix_;
  bool failed_ = false;
};

}  // namespace spinring::sim
