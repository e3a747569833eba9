#pragma once

#include <cstdint>
#include <memory>
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
/// puts queues of some packet type on it. Control thread only.
class Device {
 public:
  /// Takes the device into a known state (reset) and reads what it is.
  [[nodiscard]] static Result<Device> open(std::unique_ptr<PciFunction> function, const Model& model);

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
  [[nodiscard]] Result<void> prepare(const StartRequest& request);
  /// The queue's ring; empty. Returns its tail register.
  [[nodiscard]] Result<Doorbell> enable_rx(std::uint16_t index, const Ring& ring, std::uint16_t buffer);
  [[nodiscard]] Result<Doorbell> enable_tx(std::uint16_t index, const Ring& ring);
  /// Start, second half: receives and sends from here on. The rings are still empty.
  [[nodiscard]] Result<void> run();
  /// Stops all DMA: reset, bus mastering off. Idempotent.
  void stop() noexcept;

  /// An error if the device has gone.
  [[nodiscard]] Result<void> check() const;
  [[nodiscard]] LinkState link() const;
  /// The device's counters since prepare(); those of the last run once it is stopped.
  [[nodiscard]] std::vector<NamedStat> extended_stats();
  [[nodiscard]] std::vector<RegisterDump> registers(std::uint16_t rx_queues, std::uint16_t tx_queues) const;
  /// Readable when the link may have changed; -1: the bus delivers no interrupts.
  [[nodiscard]] int link_event_fd() const noexcept;
  void acknowledge_link_event() noexcept;
  [[nodiscard]] int removal_fd() const noexcept { return function_->removal_fd(); }

  [[nodiscard]] Result<void> set_promiscuous(bool on);
  [[nodiscard]] Result<void> set_all_multicast(bool on);
  [[nodiscard]] Result<void> set_mac(const MacAddress& mac);
  [[nodiscard]] Result<void> set_mac_filter(std::span<const MacAddress> addresses);
  [[nodiscard]] Result<void> set_vlan_filter(std::uint16_t vlan_id, bool on);

 private:
  Device(std::unique_ptr<PciFunction> function, const Model& model, RegisterBlock& registers)
      : function_(std::move(function)), model_(&model), registers_(&registers) {}

  // device.cpp
  [[nodiscard]] Result<void> check_request(const StartRequest& request) const;
  [[nodiscard]] Result<void> reset();
  void quiesce();
  [[nodiscard]] Result<void> read_address();
  void describe();
  [[nodiscard]] Result<void> start_link();
  void set_up_receive(const StartRequest& request);
  void set_up_rss(const StartRequest& request);
  void set_up_transmit();
  [[nodiscard]] Result<Doorbell> enable_queue(std::uint64_t base, const Ring& ring, std::uint32_t control);
  [[nodiscard]] const std::string& name() const noexcept { return function_->name(); }

  // interrupts.cpp
  [[nodiscard]] Result<void> arm_link_event();
  [[nodiscard]] Result<bool> uses_msix();

  // filters.cpp
  [[nodiscard]] Result<void> check_running(const char* what) const;
  void clear_filters();
  void write_address(std::uint64_t index, const MacAddress& mac, bool valid);
  void apply_promiscuity();

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
};

}  // namespace spinring::pmd::e1000
