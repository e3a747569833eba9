#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/log.hpp"
#include "pmd/errors.hpp"
#include "pmd/port.hpp"
#include "pmd/queue_port.hpp"
#include "pmd/virtio/carried.hpp"
#include "pmd/virtio/net_device.hpp"
#include "pmd/virtio/path_table.hpp"

namespace spinring::pmd::virtio {

/// A virtio-net port over packets of any type: the device, and its queues.
template <PacketPool Packets>
class VirtioPort final
    : public QueuePort<Packets, NetDevice, RxPath<Packets>, TxPath<Packets>, RxQueueControl, TxQueueControl> {
  using Base = typename VirtioPort::QueuePort;

 public:
  VirtioPort(NetDevice device, mempool::Memory& memory)
      : Base(std::make_unique<NetDevice>(std::move(device)), memory) {}
  ~VirtioPort() override { this->stop(); }
  using Base::info;
  using Base::rx;
  using Base::rx_path;
  using Base::tx;
  using Base::tx_path;

  [[nodiscard]] bool may_restart() override { return device_->may_start(); }
  [[nodiscard]] Result<void> restart() override {
    if (!started_) return fail(Errc::kBadState, "restarting a port that was not started", info().name);
    suspend();
    if (auto result = set_up(carried_.config()); !result) {
      suspend();
      return result;
    }
    for (std::uint16_t queue = 0; queue < tx_.size(); ++queue)
      carried_.send_again(queue, tx(queue), *tx_[queue]);
    return {};
  }

  [[nodiscard]] RxStats rx_stats(std::uint16_t queue) const noexcept override {
    return carried_.total(queue, Base::rx_stats(queue));
  }
  [[nodiscard]] TxStats tx_stats(std::uint16_t queue) const noexcept override {
    return carried_.total(queue, Base::tx_stats(queue));
  }

  [[nodiscard]] Result<void> check() override {
    if (auto ok = device_->check(); !ok || !started_) return ok;
    if (rx_.empty())
      return fail(Errc::kDeviceFault, "a restart has failed", info().name, 0, "Restart the port again");
    const auto faulted = [](const auto& queue) { return queue->faulted() && !queue->resting(); };
    if (std::any_of(rx_.begin(), rx_.end(), faulted)) return broken("an rx");
    if (std::any_of(tx_.begin(), tx_.end(), faulted)) return broken("a tx");
    return {};
  }

  [[nodiscard]] Result<void> set_rx_offloads(Offloads on) override { return device_->set_rx_offloads(on); }
  [[nodiscard]] Result<void> set_rss(const RssConfig& rss) override { return device_->set_rss(rss); }
  [[nodiscard]] Result<void> set_coalescing(Direction direction, Coalescing wanted) override {
    return device_->set_coalescing(direction, wanted);
  }
  [[nodiscard]] Result<void> set_coalescing(Direction direction, std::uint16_t queue,
                                            Coalescing wanted) override {
    auto found = find_queue(direction, queue, "setting notification coalescing");
    if (!found) return fail(std::move(found));
    return device_->set_queue_coalescing((*found)->index(), wanted);
  }
  [[nodiscard]] Result<Coalescing> coalescing(Direction direction, std::uint16_t queue) override {
    auto found = find_queue(direction, queue, "reading notification coalescing");
    if (!found) return fail(std::move(found));
    return device_->queue_coalescing((*found)->index());
  }
  [[nodiscard]] Result<void> stop_queue(Direction direction, std::uint16_t queue) override {
    auto found = find_queue(direction, queue, "stopping one queue");
    if (!found) return fail(std::move(found));
    if (auto ok = device_->check_queue_reset(); !ok) return ok;
    if ((*found)->resting())
      return fail(Errc::kBadState, "stopping one queue: it is stopped", info().name, 0, "Start it first");
    if (auto reset = device_->reset_queue((*found)->index()); !reset) return reset;
    (*found)->give_back();
    (*found)->set_resting(true);
    return {};
  }
  [[nodiscard]] Result<void> start_queue(Direction direction, std::uint16_t queue) override {
    auto found = find_queue(direction, queue, "starting one queue");
    if (!found) return fail(std::move(found));
    QueueControl& stopped = **found;
    if (!stopped.resting())
      return fail(Errc::kBadState, "starting one queue: it runs", info().name, 0, "Stop it first");
    auto memory = memory_->allocate(ring_bytes(device_->negotiated(), stopped.size()), kCacheLine);
    if (!memory) return fail(std::move(memory));
    stopped.renew(std::move(*memory));
    if (direction == Direction::kRx) rx_[queue]->fill();
    auto doorbell = device_->enable_queue(stopped.index(), stopped.size(), stopped.addresses());
    if (!doorbell) {
      stopped.give_back();
      return fail(std::move(doorbell));
    }
    stopped.set_doorbell(*doorbell);
    if (direction == Direction::kRx) stopped.announce();
    stopped.set_resting(false);
    return {};
  }
  [[nodiscard]] std::uint64_t announcements() const noexcept override { return device_->announcements(); }
  [[nodiscard]] std::vector<NamedStat> extended_stats() override {
    std::vector<NamedStat> all = device_->statistics();
    all.push_back({"announcements", device_->announcements()});
    if (const auto count = device_->reconnects()) all.push_back({"reconnects", *count});
    return all;
  }

 private:
  using Base::device_;
  using Base::memory_;
  using Base::rx_;
  using Base::rx_path_;
  using Base::started_;
  using Base::tx_;
  using Base::tx_path_;

  static constexpr std::uint32_t kEthernetOverhead = 18;  ///< header and one VLAN tag

  [[nodiscard]] Result<void> check_config(const PortConfig<Packets>& config) const override {
    if (auto ok = device_->check_queue_counts(config.rx.size(), config.tx.size()); !ok) return ok;
    return device_->check_request(request_of(config));
  }

  [[nodiscard]] static StartRequest request_of(const PortConfig<Packets>& config) {
    return {.queue_pairs = static_cast<std::uint16_t>(config.rx.size()),
            .promiscuous = config.promiscuous,
            .vlan_filter = config.vlan_filter,
            .offloads = config.offloads,
            .mtu = config.mtu,
            .rss = config.rss};
  }

  [[nodiscard]] Result<void> begin(const PortConfig<Packets>& config) override {
    carried_ = Carried(config);
    return set_up(config);
  }
  void ended() noexcept override { carried_.free_unsent(); }

  [[nodiscard]] Result<void> set_up(const PortConfig<Packets>& config) {
    const StartRequest request = request_of(config);
    if (auto ok = device_->negotiate(request); !ok) return ok;
    rx_path_ = &select_rx_path<Packets>(device_->negotiated());
    tx_path_ = &select_tx_path<Packets>(device_->negotiated());
    if (auto ok = check_buffers(config, device_->mtu(request)); !ok) return ok;
    auto header = memory_->allocate(sizeof(HashHeader), kCacheLine);
    if (!header) return fail(std::move(header));
    empty_header_ = std::move(*header);
    for (std::size_t i = 0; i < config.rx.size(); ++i) {
      if (auto ok = add_rx(config.rx[i], static_cast<std::uint16_t>(2 * i)); !ok) return ok;
    }
    // 5.1.6.5.6.1: both queues of a pair are set up before the pair is enabled, also when nobody will send on
    // one.
    for (std::size_t i = 0; i < config.rx.size(); ++i) {
      const QueueConfig<Packets>& sender = config.tx[std::min(i, config.tx.size() - 1)];
      const auto index = static_cast<std::uint16_t>(2 * i + 1);
      if (auto ok = add_tx(sender, index, rx_[i]->going_round()); !ok) return ok;
    }
    for (auto& queue : rx_)
      queue->fill();  // 3.1.1: queues may be populated before DRIVER_OK, but not notified
    if (auto ok = device_->run(request); !ok) return ok;
    connect();
    log(LogLevel::kInfo, info().name + ": " + rx_path() + ", " + tx_path());
    return {};
  }

  /// Without mergeable buffers a frame must fit one (5.1.6.3.1).
  [[nodiscard]] Result<void> check_buffers(const PortConfig<Packets>& config, std::uint16_t mtu) const {
    if (rx_path_->features.mergeable) return {};
    const std::uint32_t frame = mtu + kEthernetOverhead;
    for (const QueueConfig<Packets>& queue : config.rx) {
      typename Packets::Packet* packet = nullptr;
      if (queue.cache->get({&packet, 1}) == 0)
        continue;  // nothing to receive into: counted when the ring is filled
      const std::uint32_t header = header_rules(device_->negotiated()).bytes;
      const bool too_small = writable<Packets>(*packet, device_start<Packets>(device_->wants_aligned_frames(),
                                                                              header)) < header + frame;
      queue.cache->put({&packet, 1});
      if (too_small) {
        return fail(Errc::kBadArgument,
                    "packet buffers too small for frames of " + std::to_string(frame) + " bytes", info().name,
                    0,
                    "Use larger buffers, a smaller MTU, or a device with mergeable receive buffers (in QEMU "
                    "mrg_rxbuf=on)");
      }
    }
    return {};
  }

  [[nodiscard]] tl::unexpected<Error> broken(const char* direction) const {
    return fail(Errc::kDeviceFault,
                std::string(direction) + " queue: the device completed more than it was given", info().name,
                0, "Restart the port");
  }

  [[nodiscard]] Result<QueueParts<Packets>> parts(const QueueConfig<Packets>& config, std::uint16_t index) {
    auto size = device_->ring_size(index, config.ring_size);
    if (!size) return fail(std::move(size));
    auto memory = memory_->allocate(ring_bytes(device_->negotiated(), *size), kCacheLine);
    if (!memory) return fail(std::move(memory));
    return QueueParts<Packets>{std::move(*memory),
                               *size,
                               config.fill,
                               index,
                               &device_->dma(),
                               config.cache,
                               header_rules(device_->negotiated()),
                               notify_rules(device_->negotiated()),
                               device_->wants_aligned_frames()};
  }

  [[nodiscard]] Result<void> add_rx(const QueueConfig<Packets>& config, std::uint16_t index) {
    auto made = parts(config, index);
    if (!made) return fail(std::move(made));
    rx_.push_back(rx_path_->make(std::move(*made)));
    return enable(*rx_.back(), rx_doorbells_);
  }
  [[nodiscard]] Result<void> add_tx(const QueueConfig<Packets>& config, std::uint16_t index,
                                    std::uint16_t going_round) {
    auto made = parts(config, index);
    if (!made) return fail(std::move(made));
    made->going_round = going_round;
    if (device_->negotiated().has(Feature::kIndirect)) {
      auto tables = memory_->allocate(IndirectTables::bytes(made->size), kCacheLine);
      if (!tables) return fail(std::move(tables));
      made->indirect = std::move(*tables);
    }
    carried_.reserve(static_cast<std::uint16_t>(tx_.size()), made->size);
    tx_.push_back(tx_path_->make(std::move(*made), empty_header_.iova(device_->dma())));
    return enable(*tx_.back(), tx_doorbells_);
  }
  template <class Queue>
  [[nodiscard]] Result<void> enable(Queue& queue, std::vector<Doorbell>& doorbells) {
    auto doorbell = device_->enable_queue(queue.index(), queue.size(), queue.addresses());
    if (!doorbell) return fail(std::move(doorbell));
    doorbells.push_back(*doorbell);
    return {};
  }
  /// 3.1.1: no notification before DRIVER_OK. So the queues get their doorbells now, and the device hears of
  /// the buffers that were offered meanwhile.
  void connect() {
    for (std::size_t i = 0; i < rx_.size(); ++i) {
      rx_[i]->set_doorbell(rx_doorbells_[i]);
      rx_[i]->announce();
    }
    for (std::size_t i = 0; i < tx_.size(); ++i) tx_[i]->set_doorbell(tx_doorbells_[i]);
  }

  [[nodiscard]] Result<QueueControl*> find_queue(Direction direction, std::uint16_t queue, const char* what) {
    if (!started_) return fail(Errc::kBadState, what, info().name, 0, "Start the port first");
    if (queue >= rx_.size())  // as many tx queues: they come in pairs
      return fail(Errc::kBadArgument, std::string(what) + ": queue " + std::to_string(queue), info().name, 0,
                  "The port has " + std::to_string(rx_.size()) + " of each");
    if (direction == Direction::kRx) return rx_[queue].get();
    return tx_[queue].get();
  }

  /// Takes the queues down, and what must not be lost with them over to the next ones.
  void suspend() noexcept {
    for (std::uint16_t queue = 0; queue < rx_.size(); ++queue)
      carried_.drop_received(queue, rx(queue), rx_[queue]->size());
    device_->stop();
    for (std::uint16_t queue = 0; queue < rx_.size(); ++queue) {
      rx_[queue]->give_back();
      carried_.add(queue, rx_[queue]->stats());
    }
    for (std::uint16_t queue = 0; queue < tx_.size(); ++queue) {
      carried_.keep_unsent(queue, [&](auto& unsent) { tx_path_->withdraw(*tx_[queue], unsent); });
      carried_.add(queue, tx_[queue]->stats());
    }
    drop_queues();
  }

  void drop_queues() noexcept override {
    Base::drop_queues();
    rx_doorbells_.clear();
    tx_doorbells_.clear();
    empty_header_ = {};
  }

  mempool::DmaBlock empty_header_;  ///< zeros for frames without headroom
  Carried<Packets> carried_;
  std::vector<Doorbell> rx_doorbells_;
  std::vector<Doorbell> tx_doorbells_;
};

}  // namespace spinring::pmd::virtio
