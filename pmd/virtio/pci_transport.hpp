#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/dma.hpp"
#include "base/mmio.hpp"
#include "base/result.hpp"
#include "pmd/bus/pci_function.hpp"
#include "pmd/virtio/common_config.hpp"
#include "pmd/virtio/features.hpp"

namespace spinring::pmd::virtio {

/// Where a virtqueue lies, as the device sees it (virtio 1.2, 2.6: descriptor, driver and device area).
struct QueueAddresses {
  Iova descriptor;
  Iova driver;
  Iova device;
};

/// A virtio device over modern PCI (virtio 1.2, 4.1): finds the register structures through the capability
/// list and speaks their language. Knows no device type and moves no packet. Control thread only.
class PciTransport {
 public:
  /// Walks the capabilities. Refuses a device without the modern structures or with ones that reach outside
  /// their BAR.
  [[nodiscard]] static Result<PciTransport> create(std::unique_ptr<PciFunction> function);

  [[nodiscard]] PciFunction& function() const noexcept { return *function_; }
  [[nodiscard]] const std::string& name() const noexcept { return function_->name(); }

  /// 4.1.4.3.2: writes 0 to the status and waits until it reads back as 0.
  [[nodiscard]] Result<void> reset();
  [[nodiscard]] common::DeviceStatus status() const;
  /// Sets status bits on top of those already set.
  void add_status(common::DeviceStatus bits);
  [[nodiscard]] FeatureSet device_features();
  /// 3.1.1 steps 4 to 6: writes the features, sets FEATURES_OK and checks that the device keeps it.
  [[nodiscard]] Result<void> accept_features(FeatureSet features);

  [[nodiscard]] std::uint16_t queue_count() const;
  /// Entries that queue `index` can have; 0 if the device does not have it.
  [[nodiscard]] std::uint16_t max_queue_size(std::uint16_t index);
  /// Configures and enables the queue; returns its doorbell, to be rung with the queue's index.
  [[nodiscard]] Result<Doorbell> enable_queue(std::uint16_t index, std::uint16_t size,
                                              const QueueAddresses& addresses);

  /// Routes configuration changes to MSI-X vector `vector`.
  [[nodiscard]] Result<void> set_config_vector(std::uint16_t vector);
  /// 4.1.4.5: reads and so clears the ISR status (needed for INTx only).
  std::uint8_t read_isr();

  /// Device-specific configuration; all ones beyond its end.
  [[nodiscard]] std::uint8_t read_device8(std::uint64_t offset) const;
  [[nodiscard]] std::uint16_t read_device16(std::uint64_t offset) const;
  [[nodiscard]] std::uint32_t read_device32(std::uint64_t offset) const;
  /// Runs `read` until the configuration did not change meanwhile (2.5.1: config_generation), a bounded
  /// number of times.
  template <class Read>
  [[nodiscard]] auto read_consistently(Read read) const {
    auto value = read();
    for (int tries = 0; tries < kGenerationTries; ++tries) {
      const std::uint8_t before = generation();
      value = read();
      if (generation() == before) break;
    }
    return value;
  }

 private:
  static constexpr int kGenerationTries = 16;

  /// A register structure inside a BAR.
  struct Structure {
    RegisterBlock* block = nullptr;
    unsigned bar = 0;
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
  };
  struct Capability {
    std::uint8_t type;
    std::uint8_t bar;
    std::uint64_t offset;
    std::uint64_t length;
    std::uint16_t position;  ///< in configuration space
  };

  explicit PciTransport(std::unique_ptr<PciFunction> function) : function_(std::move(function)) {}
  [[nodiscard]] Result<void> walk_capabilities();
  [[nodiscard]] Result<Capability> read_capability(std::uint16_t position);
  [[nodiscard]] Result<void> take_capability(const Capability& capability);
  [[nodiscard]] Result<void> check_structures() const;
  [[nodiscard]] std::uint8_t generation() const;
  void write_common64(std::uint64_t offset, std::uint64_t value);

  template <class Register>
  [[nodiscard]] Register get() const {
    return mmio::read<Register>(*common_.block, common_.offset);
  }
  template <class Register>
  void set(Register value) {
    mmio::write(*common_.block, value, common_.offset);
  }

  std::unique_ptr<PciFunction> function_;
  Structure common_;
  Structure notify_;
  Structure isr_;
  Structure device_;
  std::uint32_t notify_multiplier_ = 0;
};

}  // namespace spinring::pmd::virtio
