#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/align.hpp"
#include "base/log.hpp"
#include "pmd/e1000/device.hpp"
#include "pmd/e1000/path_table.hpp"
#include "pmd/errors.hpp"
#include "pmd/port.hpp"
#include "pmd/queue_port.hpp"

namespace spinring::pmd::e1000 {

/// A port of the e1000 family over packets of any type: the device, and its queues.
template <PacketPool Packets>
class E1000Port final
    : public QueuePort<Packets, Device, RxPath<Packets>, TxPath<Packets>, RxQueueControl, TxQueueControl> {
  using Base = typename E1000Port::QueuePort;

 public:
  E1000Port(std::unique_ptr<Device> device, mempool::Memory& memory) : Base(std::move(device), memory) {}
  ~E1000Port() override { this->stop(); }
  using Base::info;

  [[nodiscard]] std::vector<NamedStat> extended_stats() override { return device_->extended_stats(); }
  [[nodiscard]] std::vector<RegisterDump> registers() override {
    return device_->registers(static_cast<std::uint16_t>(rx_.size()), static_cast<std::uint16_t>(tx_.size()));
  }

  [[nodiscard]] Result<void> set_flow_control(const FlowControl& wanted) override {
    return device_->set_flow_control(wanted);
  }
  [[nodiscard]] Result<FlowControl> flow_control() override { return device_->flow_control(); }
  [[nodiscard]] Result<std::optional<std::chrono::nanoseconds>> rx_timestamp() override {
    return device_->rx_timestamp();
  }
  [[nodiscard]] Result<std::chrono::nanoseconds> device_time() override { return device_->device_time(); }

 private:
  using Base::device_;
  using Base::rx_;
  using Base::rx_path_;
  using Base::tx_;
  using Base::tx_path_;

  [[nodiscard]] tl::unexpected<Error> refused(std::string what, std::string cure) const {
    return fail(Errc::kBadArgument, std::move(what), info().name, 0, std::move(cure));
  }

  [[nodiscard]] Result<void> check_config(const PortConfig<Packets>& config) const override {
    const auto within = [](std::size_t count, std::uint16_t most) { return count >= 1 && count <= most; };
    if (!within(config.rx.size(), info().max_rx_queues) || !within(config.tx.size(), info().max_tx_queues)) {
      return refused(
          std::to_string(config.rx.size()) + " rx and " + std::to_string(config.tx.size()) + " tx queues",
          "The device has 1 to " + std::to_string(info().max_rx_queues) + " in each direction");
    }
    return {};
  }

  [[nodiscard]] Result<void> begin(const PortConfig<Packets>& config) override {
    auto buffer = rx_buffer(config);
    if (!buffer) return fail(std::move(buffer));
    const std::uint16_t mtu = config.mtu == 0 ? kStandardMtu : config.mtu;
    if (auto ok = device_->prepare({.promiscuous = config.promiscuous,
                                    .vlan_filter = config.vlan_filter,
                                    .mtu = mtu,
                                    .buffer = *buffer,
                                    .rx_queues = static_cast<std::uint16_t>(config.rx.size()),
                                    .offloads = config.offloads,
                                    .rss = config.rss});
        !ok)
      return ok;
    const std::uint32_t notes = rx_notes(config.offloads);
    rx_path_ = &select_path(kRxPaths<Packets>, RxFeatures{device_->family().rx, notes != 0});
    tx_path_ = &select_path(kTxPaths<Packets>, TxFeatures{device_->family().tx});
    for (const QueueConfig<Packets>& queue : config.rx) {
      if (auto ok = add_rx(queue, {queue.fill, *buffer, Device::longest_frame(mtu), notes}); !ok) return ok;
    }
    for (const QueueConfig<Packets>& queue : config.tx) {
      if (auto ok = add_tx(queue, {tx_offloads(config.offloads), Device::longest_frame(mtu),
                                   device_->family().segments_ipv6});
          !ok)
        return ok;
    }
    if (auto ok = device_->run(); !ok) return ok;
    for (auto& queue : rx_) queue->fill();
    log(LogLevel::kInfo, info().name + ": " + this->rx_path() + ", " + this->tx_path());
    return {};
  }

  /// What the device may write into each packet: the same for all queues.
  [[nodiscard]] Result<std::uint16_t> rx_buffer(const PortConfig<Packets>& config) const {
    std::uint32_t room = UINT16_MAX;
    for (const QueueConfig<Packets>& queue : config.rx) {
      typename Packets::Packet* packet = nullptr;
      if (queue.cache->get({&packet, 1}) == 0)
        return refused("an rx queue whose pool is empty", "Give it a pool with packets");
      const std::uint32_t capacity = Packets::capacity(*packet);
      queue.cache->put({&packet, 1});
      room = std::min(room, capacity - std::min<std::uint32_t>(capacity, Packets::headroom_wanted()));
    }
    const std::uint16_t buffer = device_->rx_buffer(room);
    if (buffer == 0) {
      return refused(
          "packets with room for " + std::to_string(room) + " bytes",
          "Use buffers with 256 bytes behind the headroom, or more; a virtual function takes 1024");
    }
    return buffer;
  }

  [[nodiscard]] Result<QueueParts<Packets>> parts(const QueueConfig<Packets>& config) {
    auto size = device_->ring_size(config.ring_size);
    if (!size) return fail(std::move(size));
    constexpr std::size_t kAlignment = 128;  // [82576] 8.10.5: RDBAL
    auto memory = this->memory_->allocate(align_up(*size * sizeof(TxDescriptor), kAlignment), kAlignment);
    if (!memory) return fail(std::move(memory));
    return QueueParts<Packets>{std::move(*memory), *size, &device_->dma(), config.cache};
  }

  [[nodiscard]] Result<void> add_rx(const QueueConfig<Packets>& config, const RxSettings& settings) {
    auto made = parts(config);
    if (!made) return fail(std::move(made));
    const std::uint32_t held =
        config.fill == 0 ? made->size - 1U : std::min<std::uint32_t>(config.fill, made->size - 1U);
    if (buffers_per_frame(settings) > held) {
      return refused("an rx queue that holds " + std::to_string(held) + " packets of " +
                         std::to_string(settings.buffer) + " bytes",
                     "The longest frame takes " + std::to_string(buffers_per_frame(settings)) +
                         ": use a longer ring, larger buffers or a lower MTU");
    }
    rx_.push_back(rx_path_->make(std::move(*made), settings));
    RxQueueControl& queue = *rx_.back();
    auto doorbell = device_->enable_rx(static_cast<std::uint16_t>(rx_.size() - 1),
                                       {queue.ring(), queue.size()}, settings.buffer);
    if (!doorbell) return fail(std::move(doorbell));
    queue.set_doorbell(*doorbell);
    return {};
  }
  [[nodiscard]] Result<void> add_tx(const QueueConfig<Packets>& config, const TxSettings& settings) {
    auto made = parts(config);
    if (!made) return fail(std::move(made));
    tx_.push_back(tx_path_->make(std::move(*made), settings));
    TxQueueControl& queue = *tx_.back();
    auto doorbell =
        device_->enable_tx(static_cast<std::uint16_t>(tx_.size() - 1), {queue.ring(), queue.size()});
    if (!doorbell) return fail(std::move(doorbell));
    queue.set_doorbell(*doorbell);
    return {};
  }
};

}  // namespace spinring::pmd::e1000
