#pragma once

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "mempool/memory.hpp"
#include "pmd/errors.hpp"
#include "pmd/port.hpp"

namespace spinring::pmd {

/// What the drivers' ports have in common: a device, queues of a path that was chosen at start, and what the
/// device alone answers. `RxPath` and `TxPath` are rows of a driver's path table, `RxControl` and `TxControl`
/// the control plane's sides of its queues. A driver's own destructor calls stop(): the device must stop
/// before anything goes.
template <PacketPool Packets, class Device, class RxPath, class TxPath, class RxControl, class TxControl>
class QueuePort : public BasicPort<Packets> {
 public:
  [[nodiscard]] const PortInfo& info() const noexcept final { return device_->info(); }

  [[nodiscard]] Result<void> start(const PortConfig<Packets>& config) final {
    if (started_) return fail(Errc::kBadState, "starting a port that runs", info().name, 0, "Stop it first");
    if (auto ok = check_config(config); !ok) return ok;
    const auto no_cache = [](const QueueConfig<Packets>& queue) { return queue.cache == nullptr; };
    if (std::any_of(config.rx.begin(), config.rx.end(), no_cache) ||
        std::any_of(config.tx.begin(), config.tx.end(), no_cache)) {
      return fail(Errc::kBadArgument, "a queue without a packet cache", info().name, 0,
                  "Give each queue the cache of the lcore that polls it");
    }
    // Without the queues of the last run: their statistics end here.
    drop_queues();
    started_ = true;  // from here on stop() has something to undo
    auto result = begin(config);
    if (!result) {
      stop();
      drop_queues();
    }
    return result;
  }

  void stop() noexcept final {
    if (!std::exchange(started_, false)) return;
    device_->stop();
    // The device no longer writes: what it held returns to the caches. Statistics are kept.
    for (auto& queue : rx_) queue->give_back();
    for (auto& queue : tx_) queue->give_back();
    ended();
  }

  [[nodiscard]] AnyRxQueue<Packets> rx(std::uint16_t queue) const noexcept final {
    return rx_path_->handle(*rx_[queue]);
  }
  [[nodiscard]] AnyTxQueue<Packets> tx(std::uint16_t queue) const noexcept final {
    return tx_path_->handle(*tx_[queue]);
  }
  [[nodiscard]] std::string rx_path() const final {
    return std::string(rx_path_ != nullptr ? rx_path_->name : "");
  }
  [[nodiscard]] std::string tx_path() const final {
    return std::string(tx_path_ != nullptr ? tx_path_->name : "");
  }

  [[nodiscard]] RxStats rx_stats(std::uint16_t queue) const noexcept override {
    return queue < rx_.size() ? rx_[queue]->stats() : RxStats{};
  }
  [[nodiscard]] TxStats tx_stats(std::uint16_t queue) const noexcept override {
    return queue < tx_.size() ? tx_[queue]->stats() : TxStats{};
  }

  [[nodiscard]] LinkState link() final { return device_->link(); }
  [[nodiscard]] int link_event_fd() const noexcept final { return device_->link_event_fd(); }
  void acknowledge_link_event() noexcept final { device_->acknowledge_link_event(); }
  [[nodiscard]] int removal_fd() const noexcept final { return device_->removal_fd(); }
  [[nodiscard]] Result<void> check() override { return device_->check(); }

  [[nodiscard]] Result<void> set_promiscuous(bool on) final { return device_->set_promiscuous(on); }
  [[nodiscard]] Result<void> set_all_multicast(bool on) final { return device_->set_all_multicast(on); }
  [[nodiscard]] Result<void> set_mac(const MacAddress& mac) final { return device_->set_mac(mac); }
  [[nodiscard]] Result<void> set_mac_filter(std::span<const MacAddress> addresses) final {
    return device_->set_mac_filter(addresses);
  }
  [[nodiscard]] Result<void> set_vlan_filter(std::uint16_t vlan_id, bool on) final {
    return device_->set_vlan_filter(vlan_id, on);
  }

 protected:
  QueuePort(std::unique_ptr<Device> device, mempool::Memory& memory)
      : memory_(&memory), device_(std::move(device)) {}

  /// Whether the device can be started so; nothing has been touched.
  [[nodiscard]] virtual Result<void> check_config(const PortConfig<Packets>& config) const = 0;
  /// Sets up device and queues, and lets them run. After an error stop() follows.
  [[nodiscard]] virtual Result<void> begin(const PortConfig<Packets>& config) = 0;
  /// The device has stopped, and the queues have given their packets back.
  virtual void ended() noexcept {}
  virtual void drop_queues() noexcept {
    rx_.clear();
    tx_.clear();
  }

  // Teardown runs upwards: queues (their packets go home) before the device's registers, and memory_ outlives
  // all.
  mempool::Memory* memory_;
  std::unique_ptr<Device> device_;
  const RxPath* rx_path_ = nullptr;
  const TxPath* tx_path_ = nullptr;
  std::vector<std::unique_ptr<RxControl>> rx_;
  std::vector<std::unique_ptr<TxControl>> tx_;
  bool started_ = false;
};

}  // namespace spinring::pmd
