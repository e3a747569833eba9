#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include "tests/sim/sim_virtio_net.hpp"

namespace spinring::sim {

/// A simulated device, its registers by their names in <linux/virtio_pci.h>, and one page-aligned DMA region:
/// what a bare hand-made driver needs that shows what the device notices.
class BareMachine {
 public:
  static constexpr std::size_t kBytes = 1U << 20;
  static constexpr std::uint64_t kFeatures = feature(VIRTIO_F_VERSION_1) | feature(VIRTIO_F_ACCESS_PLATFORM) |
                                             feature(VIRTIO_NET_F_MAC) | feature(VIRTIO_NET_F_MRG_RXBUF);

  /// The usual device, and what it offers besides.
  [[nodiscard]] static SimNetConfig offering(std::uint64_t extra) {
    SimNetConfig config;
    config.features |= extra;
    return config;
  }
  explicit BareMachine(std::uint64_t extra = 0) : device(offering(extra)), function(device.function()) {
    memory.reset(static_cast<std::byte*>(::aligned_alloc(4096, kBytes)));
    std::memset(memory.get(), 0, kBytes);
    region = {.va = memory.get(), .length = kBytes, .page_size = 4096};
    EXPECT_TRUE(device.iommu().add(region).has_value());
    common = *function->bar(4);
  }

  void reset() {
    common->write8(VIRTIO_PCI_COMMON_STATUS, 0);
    (void)common->read8(VIRTIO_PCI_COMMON_STATUS);
  }
  void status(unsigned value) { common->write8(VIRTIO_PCI_COMMON_STATUS, static_cast<std::uint8_t>(value)); }
  void accept(std::uint64_t features) {
    for (std::uint32_t half = 0; half < 2; ++half) {
      common->write32(VIRTIO_PCI_COMMON_GFSELECT, half);
      common->write32(VIRTIO_PCI_COMMON_GF, static_cast<std::uint32_t>(features >> (32 * half)));
    }
  }
  /// Up to FEATURES_OK, read back.
  void negotiate(std::uint64_t features = kFeatures) {
    reset();
    status(1);
    status(3);
    accept(features);
    status(11);
    (void)common->read8(VIRTIO_PCI_COMMON_STATUS);
  }
  [[nodiscard]] std::uint64_t iova(std::size_t offset) const {
    return to_u64(function->dma().iova(memory.get() + offset, 0));
  }
  void address(std::uint64_t reg, std::uint64_t value) {
    common->write32(reg, static_cast<std::uint32_t>(value));
    common->write32(reg + 4, static_cast<std::uint32_t>(value >> 32));
  }
  /// Queue `index` of `entries`, its three areas at these offsets of the memory.
  void set_up_queue(std::uint16_t index, std::uint16_t entries, std::size_t descriptors, std::size_t driver,
                    std::size_t used) {
    common->write16(VIRTIO_PCI_COMMON_Q_SELECT, index);
    common->write16(VIRTIO_PCI_COMMON_Q_SIZE, entries);
    address(VIRTIO_PCI_COMMON_Q_DESCLO, iova(descriptors));
    address(VIRTIO_PCI_COMMON_Q_AVAILLO, iova(driver));
    address(VIRTIO_PCI_COMMON_Q_USEDLO, iova(used));
    common->write16(VIRTIO_PCI_COMMON_Q_ENABLE, 1);
  }
  void ring_doorbell(std::uint16_t queue) {
    auto bell = function->doorbell(4, 0x3000U + 4U * queue, 16);
    ASSERT_TRUE(bell.has_value());
    bell->ring(queue);
  }
  /// The same with NOTIFICATION_DATA.
  void ring_doorbell_with(std::uint16_t queue, std::uint16_t next) {
    auto bell = function->doorbell(4, 0x3000U + 4U * queue, 32);
    ASSERT_TRUE(bell.has_value());
    bell->ring(queue | std::uint32_t{next} << 16);
  }
  void expect_violation(const std::string& text) {
    const auto found = device.violations();
    ASSERT_FALSE(found.empty()) << "not noticed: " << text;
    EXPECT_NE(found.front().find(text), std::string::npos) << found.front();
  }
  void expect_no_violation() {
    EXPECT_EQ(device.violations(), std::vector<std::string>{});
    EXPECT_TRUE(device.iommu().faults().empty());
  }

  struct Free {
    void operator()(std::byte* bytes) const { ::free(bytes); }
  };

  SimVirtioNet device;
  std::unique_ptr<std::byte, Free> memory;
  MemoryRegion region;
  std::unique_ptr<pmd::PciFunction> function;
  RegisterBlock* common = nullptr;
};

}  // namespace spinring::sim
