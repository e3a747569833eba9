#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "pmd/bus/pci_function.hpp"
#include "pmd/e1000/models.hpp"
#include "pmd/e1000/statistics.hpp"
#include "pmd/port.hpp"

namespace spinring::pmd::e1000 {

/// What one start of the device is asked for.
struct StartRequest {
  bool promiscuous = true;
  bool vlan_filter = false;
  std::uint16_t mtu = 0;     ///< bytes; 0: 1500
  std::uint16_t buffer = 0;  ///< rx_buffer() of the packets
  std::uint16_t rx_queues = 1;
  Offloads offloads{};
  RssConfig rss{};
};

/// A queue's ring as the device is told of it.
struct Ring {
  Iova address{};
  std::uint16_t size = 0;  ///< descriptors
};

/// mempool::OffloadBits that a received packet may have when those offloads were asked for.
[[nodiscard]] std::uint32_t rx_notes(Offloads offloads) noexcept;
/// mempool::OffloadBits that a sent packet may ask for.
[[nodiscard]] std::uint32_t tx_offloads(Offloads offloads) noexcept;

/// A NIC of the e1000 family without its packets: reset, NVM, PHY, link, filters, queue registers. The port
/// puts queues of some packet type on it. A virtual function (VfDevice) shares the queues, and asks the
/// physical function for the rest. Control thread only.
class Device {
 public:
  /// Takes the device into a known state (reset) and reads what it is.
  [[nodiscard]] static Result<std::unique_ptr<Device>> open(std::unique_ptr<PciFunction> function,
                                                            const Model& model);
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  virtual ~Device() = default;

  [[nodiscard]] const PortInfo& info() const noexcept { return info_; }
  [[nodiscard]] const Family& family() const noexcept { return *model_->family; }
  [[nodiscard]] const DmaTable& dma() const noexcept { return function_->dma(); }

  /// Entries of a ring when `wanted` are asked for; 0: the default.
  [[nodiscard]] Result<std::uint16_t> ring_size(std::uint16_t wanted) const;
  /// Bytes that the device writes into a packet with that much room: the largest size it knows that fits; 0:
  /// none.
  [[nodiscard]] std::uint16_t rx_buffer(std::uint32_t room) const noexcept;
  /// Bytes of the longest frame with that MTU: with header and one VLAN tag, without FCS.
  [[nodiscard]] static std::uint32_t longest_frame(std::uint16_t mtu) noexcept {
    constexpr std::uint32_t kHeaderAndTag = 18;
    return std::uint32_t{mtu} + kHeaderAndTag;
  }

  /// Start, first half: reset, and all but queues; bus mastering is on. [8254x] 14.3 and 14.4, [82574] 4.6,
  /// [82576] 4.5.
  [[nodiscard]] virtual Result<void> prepare(const StartRequest& request);
  /// The queue's ring; empty. Returns its tail register.
  [[nodiscard]] Result<Doorbell> enable_rx(std::uint16_t index, const Ring& ring, std::uint16_t buffer);
  [[nodiscard]] Result<Doorbell> enable_tx(std::uint16_t index, const Ring& ring);
  /// Start, second half: receives and sends from here on. The rings are still empty.
  [[nodiscard]] virtual Result<void> run();
  /// Stops all DMA: reset, bus mastering off. Idempotent.
  virtual void stop() noexcept;

  /// An error if the device has gone, or has lost what start() told it.
  [[nodiscard]] virtual Result<void> check();
  [[nodiscard]] virtual LinkState link();
  /// The device's counters since prepare(); those of the last run once it is stopped.
  [[nodiscard]] virtual std::vector<NamedStat> extended_stats();
  [[nodiscard]] std::vector<RegisterDump> registers(std::uint16_t rx_queues, std::uint16_t tx_queues) const;
  /// Readable when the link may have changed; -1: the bus delivers no interrupts.
  [[nodiscard]] virtual int link_event_fd() const noexcept;
  virtual void acknowledge_link_event() noexcept;
  [[nodiscard]] int removal_fd() const noexcept { return function_->removal_fd(); }

  [[nodiscard]] virtual Result<void> set_promiscuous(bool on);
  [[nodiscard]] virtual Result<void> set_all_multicast(bool on);
  [[nodiscard]] virtual Result<void> set_mac(const MacAddress& mac);
  [[nodiscard]] virtual Result<void> set_mac_filter(std::span<const MacAddress> addresses);
  [[nodiscard]] virtual Result<void> set_vlan_filter(std::uint16_t vlan_id, bool on);
  [[nodiscard]] Result<void> set_flow_control(const FlowControl& wanted);
  [[nodiscard]] Result<FlowControl> flow_control() const;
  [[nodiscard]] Result<std::optional<std::chrono::nanoseconds>> rx_timestamp();
  [[nodiscard]] Result<std::chrono::nanoseconds> device_time();

 protected:
  Device(std::unique_ptr<PciFunction> function, const Model& model, RegisterBlock& registers)
      : function_(std::move(function)),
        model_(&model),
        registers_(&registers),
        statistics_(model.family->statistics) {}

  /// BAR 0, after the bus has reset the function.
  [[nodiscard]] static Result<RegisterBlock*> take(PciFunction& function, const Model& model);
  [[nodiscard]] Result<void> check_request(const StartRequest& request) const;
  [[nodiscard]] Result<void> check_running(const char* what) const;
  /// The VLAN exists, and the port was started with a filter.
  [[nodiscard]] Result<void> check_vlan(std::uint16_t vlan_id) const;
  /// Offset of the queue's registers.
  [[nodiscard]] std::uint64_t rx_block(std::uint16_t index) const noexcept {
    return family().rx_base + std::uint64_t{index} * family().queue_stride;
  }
  [[nodiscard]] std::uint64_t tx_block(std::uint16_t index) const noexcept {
    return family().tx_base + std::uint64_t{index} * family().queue_stride;
  }
  void describe();
  [[nodiscard]] Result<void> check_there() const;
  [[nodiscard]] const std::string& name() const noexcept { return function_->name(); }

  std::unique_ptr<PciFunction> function_;
  const Model* model_;
  RegisterBlock* registers_;
  PortInfo info_;
  Statistics statistics_;
  unsigned vectors_ = 0;  ///< interrupts armed; 0: the bus delivers none
  bool running_ = false;
  bool promiscuous_ = false;
  bool all_multicast_ = false;
  bool vlan_filter_ = false;

 private:
  // device.cpp
  [[nodiscard]] Result<void> reset();
  void quiesce();
  [[nodiscard]] Result<void> read_address();
  [[nodiscard]] Result<void> start_link();
  void set_up_receive(const StartRequest& request);
  void set_up_rss(const StartRequest& request);
  void set_up_transmit();
  [[nodiscard]] Result<Doorbell> enable_queue(std::uint64_t base, const Ring& ring, std::uint32_t control);

  // interrupts.cpp
  [[nodiscard]] Result<void> arm_link_event();
  [[nodiscard]] Result<bool> uses_msix();

  // flow_control.cpp
  [[nodiscard]] std::uint32_t rx_memory() const;
  [[nodiscard]] FlowControl with_marks(FlowControl wanted) const;
  void apply_flow_control();

  // timestamps.cpp
  void set_up_timestamps();
  [[nodiscard]] Result<void> check_timestamps(const char* what) const;

  // filters.cpp
  void clear_filters();
  void write_address(std::uint64_t index, const MacAddress& mac, bool valid);
  void apply_promiscuity();

  FlowControl flow_control_;
  std::uint16_t mtu_ = 1500;
  bool stamps_ = false;  ///< started with Offload::kRxTimestamp
};

}  // namespace spinring::pmd::e1000
