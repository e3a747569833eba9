#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/dma.hpp"
#include "base/mmio.hpp"
#include "base/result.hpp"
#include "pmd/bus/pci_function.hpp"
#include "pmd/virtio/transport.hpp"

namespace spinring::pmd::virtio {

/// A virtio device over modern PCI (virtio 1.2, 4.1): finds the register structures through the capability
/// list.
class PciTransport final : public Transport {
 public:
  /// Walks the capabilities. Refuses a device without the modern structures or with ones that reach outside
  /// their BAR.
  [[nodiscard]] static Result<std::unique_ptr<Transport>> create(std::unique_ptr<PciFunction> function);

  [[nodiscard]] const std::string& name() const noexcept override { return function_->name(); }
  [[nodiscard]] int iommu_group() const noexcept override { return function_->iommu_group(); }
  [[nodiscard]] int numa_node() const noexcept override { return function_->numa_node(); }
  [[nodiscard]] const DmaTable& dma() const noexcept override { return function_->dma(); }

  [[nodiscard]] Result<void> reset() override;
  [[nodiscard]] common::DeviceStatus status() const override;
  void add_status(common::DeviceStatus bits) override;
  [[nodiscard]] FeatureSet device_features() override;
  [[nodiscard]] Result<void> accept_features(FeatureSet features) override;
  [[nodiscard]] Result<void> set_dma(bool on) override { return function_->set_bus_master(on); }

  [[nodiscard]] std::uint16_t queue_count() const override;
  [[nodiscard]] std::uint16_t max_queue_size(std::uint16_t index) override;
  [[nodiscard]] Result<Doorbell> enable_queue(std::uint16_t index, std::uint16_t size,
                                              const QueueAddresses& addresses) override;
  [[nodiscard]] Result<void> reset_queue(std::uint16_t index) override;

  [[nodiscard]] std::uint8_t read_device8(std::uint64_t offset) const override;
  [[nodiscard]] std::uint16_t read_device16(std::uint64_t offset) const override;
  [[nodiscard]] std::uint32_t read_device32(std::uint64_t offset) const override;
  [[nodiscard]] std::uint8_t config_generation() const override;

  [[nodiscard]] Result<bool> arm_config_event() override;
  [[nodiscard]] int config_event_fd() const noexcept override;
  void acknowledge_config_event() noexcept override;
  [[nodiscard]] int removal_fd() const noexcept override { return function_->removal_fd(); }

 private:
  static constexpr std::uint16_t kConfigVector = 0;

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
  bool with_data_ = false;  ///< NOTIFICATION_DATA was negotiated
  unsigned vectors_ = 0;    ///< interrupts armed; 0: the bus delivers none
};

}  // namespace spinring::pmd::virtio
