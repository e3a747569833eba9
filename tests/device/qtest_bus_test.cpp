// The qtest bus by itself: QEMU's life, configuration space, BARs, resets, and DMA into our memory by a
// virtio-net model that is driven here by hand, from the kernel's UAPI headers and not by our driver.

#define VIRTIO_RING_NO_LEGACY  // vring_init() in the UAPI header is not C++
#include <gtest/gtest.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <signal.h>
#include <sys/wait.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <thread>

#include "pmd/bus/qtest/qtest_machine.hpp"
#include "pmd/errors.hpp"
#include "tests/device/rig.hpp"

namespace spinring::test {
namespace {

using pmd::PciFunction;
using pmd::QtestConfig;
using pmd::QtestMachine;
using namespace std::chrono_literals;

constexpr std::size_t kHeader = 12;  // struct virtio_net_hdr_v1 (linux/virtio_net.h, which is not C++)
constexpr std::array<std::uint8_t, 6> kMac{0x52, 0x54, 0x00, 0x12, 0x34, 0x56};

QtestConfig one_device(const std::string& options) {
  return {.netdevs = {"hubport,id=n0,hubid=0"}, .devices = {{"qtest0", options}}};
}

/// Where a virtio configuration structure lies (virtio 1.2, 4.1.4).
struct Structure {
  unsigned bar = 0;
  std::uint32_t offset = 0;
  std::uint32_t length = 0;
  std::uint32_t notify_multiplier = 0;
};

Structure find_structure(PciFunction& function, std::uint8_t type) {
  std::uint32_t at = must(function.read_config(0x34, 1));
  while (at != 0) {
    const auto here = static_cast<std::uint16_t>(at);
    const auto byte = [&](unsigned offset) {
      return must(function.read_config(static_cast<std::uint16_t>(here + offset), 1));
    };
    const auto dword = [&](unsigned offset) {
      return must(function.read_config(static_cast<std::uint16_t>(here + offset), 4));
    };
    if (byte(0) == 0x09 && byte(3) == type) {
      return {byte(4), dword(8), dword(12), type == VIRTIO_PCI_CAP_NOTIFY_CFG ? dword(16) : 0};
    }
    at = byte(1);
  }
  throw std::runtime_error("no such virtio structure");
}

class QtestBus : public testing::Test {
 protected:
  std::unique_ptr<mempool::Memory> memory_ = make_memory(4);
};

TEST_F(QtestBus, FindsTheDeviceAndItsBars) {
  auto machine = must(QtestMachine::start(*memory_, one_device("virtio-net-pci,netdev=n0")));
  ASSERT_EQ(machine->device_count(), 1U);
  auto function = must(machine->function(0));
  EXPECT_EQ(function->name(), "qtest0");
  EXPECT_EQ(must(function->read_config(0, 2)), 0x1af4U);
  EXPECT_EQ(must(function->read_config(2, 2)),
            0x1041U);  // modern: behind a root port QEMU switches legacy off
  EXPECT_EQ(must(function->read_config(0, 4)), 0x1041'1af4U);
  EXPECT_EQ(must(function->read_config(4, 2)) & 7U, 2U) << "memory on, bus mastering off";

  EXPECT_EQ(must(function->bar(1))->size(), 4096U);  // MSI-X
  EXPECT_EQ(must(function->bar(4))->size(), 16384U);
  EXPECT_FALSE(function->bar(0));
  EXPECT_FALSE(function->bar(5));
  EXPECT_FALSE(function->bar(6));
  EXPECT_EQ(must(function->enable_interrupts(4)), 0U);
  EXPECT_EQ(function->interrupt_fd(0), -1);

  for (const auto& [offset, width] :
       {std::pair<std::uint16_t, unsigned>{1, 2}, {256, 4}, {0, 3}, {0, 8}, {254, 4}}) {
    const auto refused = function->read_config(offset, width);
    ASSERT_FALSE(refused) << offset << " " << width;
    EXPECT_EQ(refused.error().code, pmd::Errc::kBadArgument);
  }
}

TEST_F(QtestBus, RegistersAnswerInEveryWidthAndNotOutsideTheBar) {
  auto machine =
      must(QtestMachine::start(*memory_, one_device("virtio-net-pci,netdev=n0,mac=52:54:00:12:34:56")));
  auto function = must(machine->function(0));
  const Structure device = find_structure(*function, VIRTIO_PCI_CAP_DEVICE_CFG);
  RegisterBlock& bar = *must(function->bar(device.bar));
  EXPECT_EQ(bar.read32(device.offset), 0x1200'5452U);
  EXPECT_EQ(bar.read16(device.offset + 4), 0x5634U);
  for (unsigned i = 0; i < kMac.size(); ++i) EXPECT_EQ(bar.read8(device.offset + i), kMac[i]);

  const Structure common = find_structure(*function, VIRTIO_PCI_CAP_COMMON_CFG);
  bar.write16(common.offset + VIRTIO_PCI_COMMON_Q_SELECT, 1);
  EXPECT_EQ(bar.read16(common.offset + VIRTIO_PCI_COMMON_Q_SELECT), 1U);
  bar.write32(common.offset + VIRTIO_PCI_COMMON_Q_DESCLO, 0x89ab'c000);
  EXPECT_EQ(bar.read32(common.offset + VIRTIO_PCI_COMMON_Q_DESCLO), 0x89ab'c000U);

  EXPECT_EQ(bar.read32(bar.size()), 0xffff'ffffU);
  EXPECT_EQ(bar.read64(bar.size() - 4), ~0ULL);
  EXPECT_EQ(bar.read8(~0ULL), 0xffU);
  bar.write32(~0ULL - 1, 0);
  EXPECT_FALSE(function->doorbell(device.bar, bar.size() - 1, 16));
  EXPECT_FALSE(function->doorbell(device.bar, 1, 16));
  EXPECT_FALSE(function->doorbell(device.bar, 0, 8));
  EXPECT_TRUE(function->doorbell(device.bar, bar.size() - 2, 16));
}

/// Every model that the project drives; e1000 is conventional PCI and has no function-level reset of its own.
struct Model {
  const char* name;
  std::uint32_t id;
  std::uint64_t bar0_size;
};

class QtestModels : public QtestBus, public testing::WithParamInterface<Model> {};

TEST_P(QtestModels, ResetsAndComesBackWithItsBars) {
  const Model& model = GetParam();
  auto machine = must(QtestMachine::start(*memory_, one_device(std::string(model.name) + ",netdev=n0")));
  auto function = must(machine->function(0));
  EXPECT_EQ(must(function->read_config(0, 4)), model.id);
  RegisterBlock& bar = *must(function->bar(0));
  EXPECT_EQ(bar.size(), model.bar0_size);
  constexpr std::uint64_t kRdlen = 0x2808;  // a plain read-write register of the whole e1000 family
  bar.write32(kRdlen, 0x1000);
  EXPECT_EQ(bar.read32(kRdlen), 0x1000U);
  must(function->set_bus_master(true));
  EXPECT_EQ(must(function->read_config(4, 2)) & 7U, 6U);
  must(function->reset());
  EXPECT_EQ(must(function->read_config(4, 2)) & 7U, 2U);
  EXPECT_EQ(bar.read32(kRdlen), 0U) << "the BAR answers, the register is at its default";
}

INSTANTIATE_TEST_SUITE_P(E1000Family, QtestModels,
                         testing::Values(Model{"e1000", 0x100e'8086, 128 << 10},
                                         Model{"e1000e", 0x10d3'8086, 128 << 10},
                                         Model{"igb", 0x10c9'8086, 128 << 10}),
                         [](const auto& model) { return model.param.name; });

TEST_F(QtestBus, SeveralDevicesInOneMachineAndOneHolderEach) {
  QtestConfig config{.netdevs = {"hubport,id=n0,hubid=0", "hubport,id=n1,hubid=0"},
                     .devices = {{"qtest0", "virtio-net-pci,netdev=n0"}, {"qtest1", "e1000e,netdev=n1"}}};
  auto machine = must(QtestMachine::start(*memory_, config));
  auto first = must(machine->function(0));
  auto second = must(machine->function(1));
  EXPECT_EQ(must(first->read_config(0, 4)), 0x1041'1af4U);
  EXPECT_EQ(must(second->read_config(0, 4)), 0x10d3'8086U);
  const auto taken = machine->function(0);
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code, pmd::Errc::kBadState);
  EXPECT_FALSE(machine->function(2));
  first.reset();
  EXPECT_TRUE(machine->function(0));

  const pid_t qemu = machine->qemu_pid();
  machine.reset();
  EXPECT_EQ(must(second->read_config(0, 4)), 0x10d3'8086U) << "QEMU lives as long as a function";
  second.reset();
  EXPECT_EQ(::kill(qemu, 0), -1) << "ended and reaped";
  EXPECT_EQ(errno, ESRCH);
}

/// The least that makes the model receive: queue 0 with one buffer. Everything lies in `block`.
class HandDrivenReceiver {
 public:
  HandDrivenReceiver(PciFunction& function, mempool::Memory& memory)
      : function_(function), block_(must(memory.allocate(16384, 4096))) {
    const Structure common = find_structure(function, VIRTIO_PCI_CAP_COMMON_CFG);
    const Structure notify = find_structure(function, VIRTIO_PCI_CAP_NOTIFY_CFG);
    bar_ = must(function.bar(common.bar));
    base_ = common.offset;
    must(function.reset());
    must(function.set_bus_master(true));
    set_status(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    bar_->write32(base_ + VIRTIO_PCI_COMMON_GFSELECT, 1);
    bar_->write32(base_ + VIRTIO_PCI_COMMON_GF, 1U << (VIRTIO_F_VERSION_1 - 32));
    set_status(status_ | VIRTIO_CONFIG_S_FEATURES_OK);
    bar_->write16(base_ + VIRTIO_PCI_COMMON_Q_SELECT, 0);
    bar_->write16(base_ + VIRTIO_PCI_COMMON_Q_SIZE, kSize);
    write_address(VIRTIO_PCI_COMMON_Q_DESCLO, 0);
    write_address(VIRTIO_PCI_COMMON_Q_AVAILLO, kAvail);
    write_address(VIRTIO_PCI_COMMON_Q_USEDLO, kUsed);
    const std::uint16_t index = bar_->read16(base_ + VIRTIO_PCI_COMMON_Q_NOFF);
    doorbell_ = must(function.doorbell(notify.bar, notify.offset + index * notify.notify_multiplier, 16));
    bar_->write16(base_ + VIRTIO_PCI_COMMON_Q_ENABLE, 1);

    auto* descriptor = reinterpret_cast<vring_desc*>(block_.data());
    descriptor->addr = to_u64(block_.iova(function.dma())) + kBuffer;
    descriptor->len = 4096;
    descriptor->flags = VRING_DESC_F_WRITE;
    auto* avail = reinterpret_cast<vring_avail*>(block_.data() + kAvail);
    __atomic_store_n(&avail->idx, std::uint16_t{1}, __ATOMIC_RELEASE);
    set_status(status_ | VIRTIO_CONFIG_S_DRIVER_OK);
  }

  [[nodiscard]] RegionId region() const { return block_.region(); }
  void ring() const { doorbell_.ring(0); }
  [[nodiscard]] bool received() const {
    const auto* used = reinterpret_cast<const vring_used*>(block_.data() + kUsed);
    return __atomic_load_n(&used->idx, __ATOMIC_ACQUIRE) == 1;
  }
  [[nodiscard]] Frame frame() const {
    const auto* used = reinterpret_cast<const vring_used*>(block_.data() + kUsed);
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(block_.data() + kBuffer);
    return {bytes + kHeader, bytes + used->ring[0].len};
  }
  [[nodiscard]] std::uint8_t status() const { return bar_->read8(base_ + VIRTIO_PCI_COMMON_STATUS); }

 private:
  static constexpr std::uint16_t kSize = 16;
  static constexpr std::size_t kAvail = 1024;
  static constexpr std::size_t kUsed = 2048;
  static constexpr std::size_t kBuffer = 8192;

  void set_status(unsigned status) {
    status_ = status;
    bar_->write8(base_ + VIRTIO_PCI_COMMON_STATUS, static_cast<std::uint8_t>(status));
  }
  void write_address(unsigned reg, std::uint64_t offset) {
    const std::uint64_t address = to_u64(block_.iova(function_.dma())) + offset;
    bar_->write32(base_ + reg, static_cast<std::uint32_t>(address));
    bar_->write32(base_ + reg + 4, static_cast<std::uint32_t>(address >> 32));
  }

  PciFunction& function_;
  mempool::DmaBlock block_;
  RegisterBlock* bar_ = nullptr;
  std::uint64_t base_ = 0;
  unsigned status_ = 0;
  Doorbell doorbell_;
};

QtestConfig device_on_cable(const std::string& path) {
  return {.netdevs = {"stream,id=n0,server=off,addr.type=unix,addr.path=" + path},
          .devices = {{"qtest0", "virtio-net-pci,netdev=n0,mac=52:54:00:12:34:56"}}};
}

TEST_F(QtestBus, ADeviceWritesAFrameIntoOurMemory) {
  const TempDir dir;
  FramePeer peer(dir.file("wire"));
  auto machine = must(QtestMachine::start(*memory_, device_on_cable(dir.file("wire"))));
  auto function = must(machine->function(0));
  HandDrivenReceiver receiver(*function, *memory_);
  receiver.ring();
  EXPECT_EQ(receiver.status(), 0x0fU);
  const Frame frame = make_frame(1514, 7, kMac);
  ASSERT_TRUE(peer.send(frame, Deadline(5s)));
  ASSERT_TRUE(wait_until([&] { return receiver.received(); }, Deadline(5s)));
  EXPECT_EQ(receiver.frame(), frame);
}

TEST_F(QtestBus, ADeviceReachesMemoryTakenLater) {
  const TempDir dir;
  FramePeer peer(dir.file("wire"));
  auto machine = must(QtestMachine::start(*memory_, device_on_cable(dir.file("wire"))));
  auto function = must(machine->function(0));
  must(memory_->grow({.bytes = 2UL << 20, .hugepages = false}));
  ASSERT_EQ(memory_->regions().size(), 2U);
  // Fill the first region, so that the ring comes to lie in the second.
  std::vector<mempool::DmaBlock> filler;
  while (true) {
    auto block = must(memory_->allocate(1UL << 20, 4096));
    const bool in_second = block.region() == memory_->regions()[1].id;
    filler.push_back(std::move(block));
    if (in_second) break;
  }
  filler.pop_back();
  HandDrivenReceiver receiver(*function, *memory_);
  ASSERT_EQ(receiver.region(), memory_->regions()[1].id);
  receiver.ring();
  const Frame frame = make_frame(60, 8, kMac);
  ASSERT_TRUE(peer.send(frame, Deadline(5s)));
  ASSERT_TRUE(wait_until([&] { return receiver.received(); }, Deadline(5s)));
  EXPECT_EQ(receiver.frame(), frame);
}

TEST_F(QtestBus, BusMasteringOffStopsTheDma) {
  const TempDir dir;
  FramePeer peer(dir.file("wire"));
  auto machine = must(QtestMachine::start(*memory_, device_on_cable(dir.file("wire"))));
  auto function = must(machine->function(0));
  HandDrivenReceiver receiver(*function, *memory_);
  must(function->set_bus_master(false));
  receiver.ring();
  ASSERT_TRUE(peer.send(make_frame(60, 9, kMac), Deadline(5s)));
  EXPECT_FALSE(wait_until([&] { return receiver.received(); }, Deadline(100ms)));
}

TEST_F(QtestBus, AFunctionThatGoesStopsItsDevice) {
  const TempDir dir;
  FramePeer peer(dir.file("wire"));
  auto machine = must(QtestMachine::start(*memory_, device_on_cable(dir.file("wire"))));
  auto function = must(machine->function(0));
  HandDrivenReceiver receiver(*function, *memory_);
  receiver.ring();
  function.reset();
  ASSERT_TRUE(peer.send(make_frame(60, 9, kMac), Deadline(5s)));
  EXPECT_FALSE(wait_until([&] { return receiver.received(); }, Deadline(100ms)));
  auto again = must(machine->function(0));
  EXPECT_EQ(must(again->bar(4))->size(), 16384U);
}

TEST_F(QtestBus, AnUnpluggedDeviceReadsAsAllOnes) {
  auto machine = must(QtestMachine::start(*memory_, one_device("virtio-net-pci,netdev=n0")));
  auto function = must(machine->function(0));
  RegisterBlock& bar = *must(function->bar(4));
  EXPECT_NE(bar.read32(0), 0xffff'ffffU);
  must(machine->unplug(0));
  EXPECT_EQ(must(function->read_config(0, 4)), 0xffff'ffffU);
  EXPECT_EQ(bar.read8(0x14), 0xffU);
  function.reset();
  const auto gone = machine->function(0);
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code, pmd::Errc::kRemoved);
}

TEST_F(QtestBus, QemusDeathIsAnErrorWithItsLastWords) {
  auto machine = must(QtestMachine::start(*memory_, one_device("virtio-net-pci,netdev=n0")));
  auto function = must(machine->function(0));
  RegisterBlock& bar = *must(function->bar(4));
  const Doorbell doorbell = must(function->doorbell(4, 0x3000, 16));
  ASSERT_EQ(::kill(machine->qemu_pid(), SIGKILL), 0);
  EXPECT_EQ(bar.read32(0), 0xffff'ffffU);
  for (int i = 0; i < 1000; ++i) doorbell.ring(0);
  const auto refused = function->read_config(0, 4);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, pmd::Errc::kQemu);
  EXPECT_NE(refused.error().message().find("signal 9"), std::string::npos) << refused.error().message();
  EXPECT_FALSE(machine->qmp("query-status"));
}

TEST_F(QtestBus, WhatQemuDoesNotLikeIsToldInItsOwnWords) {
  const auto bad_model = QtestMachine::start(*memory_, one_device("no-such-nic,netdev=n0"));
  ASSERT_FALSE(bad_model);
  EXPECT_EQ(bad_model.error().code, pmd::Errc::kQemu);
  EXPECT_NE(bad_model.error().message().find("'no-such-nic' is not a valid device model name"),
            std::string::npos)
      << bad_model.error().message();
  const auto bad_property = QtestMachine::start(*memory_, one_device("virtio-net-pci,netdev=n0,colour=red"));
  ASSERT_FALSE(bad_property);
  EXPECT_NE(bad_property.error().message().find("virtio-net-pci.colour"), std::string::npos)
      << bad_property.error().message();

  QtestConfig no_qemu = one_device("virtio-net-pci");
  no_qemu.qemu = "/nonexistent/qemu";
  const auto missing = QtestMachine::start(*memory_, no_qemu);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, pmd::Errc::kQemu);
  EXPECT_EQ(missing.error().system_errno, ENOENT);

  EXPECT_FALSE(QtestMachine::start(*memory_, {}));
  EXPECT_FALSE(QtestMachine::start(*memory_, one_device("virtio-net-pci,netdev=n0,addr=5")));
}

TEST_F(QtestBus, DoorbellsFromAnotherThreadDoNotDisturbReads) {
  auto machine = must(QtestMachine::start(*memory_, one_device("virtio-net-pci,netdev=n0")));
  auto function = must(machine->function(0));
  const Structure notify = find_structure(*function, VIRTIO_PCI_CAP_NOTIFY_CFG);
  const Doorbell doorbell = must(function->doorbell(notify.bar, notify.offset, 16));
  RegisterBlock& bar = *must(function->bar(4));
  std::atomic<bool> stop = false;
  std::atomic<unsigned> rung = 0;
  std::thread lcore([&] {
    while (!stop.load()) {
      doorbell.ring(0);
      rung.fetch_add(1);
    }
  });
  const std::uint16_t queues = bar.read16(VIRTIO_PCI_COMMON_NUMQ);
  EXPECT_EQ(queues, 3U);
  const Deadline patience(20s);  // the other thread may have to wait for a CPU
  for (int i = 0; i < 500 || (rung.load() <= 500U && !patience.passed()); ++i)
    ASSERT_EQ(bar.read16(VIRTIO_PCI_COMMON_NUMQ), queues);
  stop.store(true);
  lcore.join();
  EXPECT_GT(rung.load(), 500U);
  EXPECT_EQ(bar.read16(VIRTIO_PCI_COMMON_NUMQ), queues);
}

TEST_F(QtestBus, QemuDiesWithAParentThatIsKilled) {
  // A child opens a machine, tells us its QEMU's pid, and is killed without a chance to clean up.
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    auto memory = make_memory(4);
    auto machine = must(QtestMachine::start(*memory, one_device("virtio-net-pci,netdev=n0")));
    const pid_t qemu = machine->qemu_pid();
    if (::write(ends[1], &qemu, sizeof qemu) != sizeof qemu) ::_exit(1);
    ::pause();
    ::_exit(1);
  }
  ::close(ends[1]);
  pid_t qemu = 0;
  ASSERT_EQ(::read(ends[0], &qemu, sizeof qemu), static_cast<ssize_t>(sizeof qemu));
  ::close(ends[0]);
  ASSERT_EQ(::kill(qemu, 0), 0);
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  // Its new parent reaps it: until then kill() still finds the zombie, so look whether it runs.
  const auto runs = [qemu] { return std::filesystem::exists("/proc/" + std::to_string(qemu) + "/exe"); };
  EXPECT_TRUE(wait_until([&] { return !runs(); }, Deadline(5s)));
}

}  // namespace
}  // namespace spinring::test
