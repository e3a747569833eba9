#pragma once

#include <sys/eventfd.h>

#include <atomic>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "mempool/memory.hpp"
#include "mempool/pool.hpp"
#include "pmd/errors.hpp"
#include "pmd/port.hpp"

namespace spinring::testpmd {

/// A port in memory: what its TX queue N takes comes out of RX queue N of the port at the other end of its
/// cable. An uncabled port keeps copies of the frames. It holds ring_size frames a queue and then is full,
/// and its faults, link and removal are the test's to command. It hands packets on as they are: rings, DMA
/// and drivers have their own tests.
class LoopbackPort final : public pmd::AnyPort {
 public:
  using Packet = mempool::Packet;

  explicit LoopbackPort(std::string name, std::uint16_t queues = 4) {
    info_.name = std::move(name);
    info_.driver = "loopback";
    info_.mac = {0x52, 0x54, 0, 0, 0, next_mac()};
    info_.max_rx_queues = queues;
    info_.max_tx_queues = queues;
    info_.max_rx_ring = 1024;
    info_.max_tx_ring = 1024;
  }
  ~LoopbackPort() override {
    stop();
    if (peer_ != nullptr) peer_->peer_ = nullptr;
    if (destroyed != nullptr) *destroyed = true;
  }

  static void connect(LoopbackPort& one, LoopbackPort& other) {
    one.peer_ = &other;
    other.peer_ = &one;
  }

  [[nodiscard]] const pmd::PortInfo& info() const noexcept override { return info_; }
  [[nodiscard]] Result<void> start(const pmd::PortConfig<pmd::SpinringPackets>& config) override {
    if (starts_to_fail > 0) {
      --starts_to_fail;
      return fail(pmd::Errc::kTimeout, "start", info_.name);
    }
    ++starts;
    faulty = false;
    started_with = {config.offloads, config.rss.types, config.mtu};
    queues_.clear();
    for (std::size_t i = 0; i < std::max(config.rx.size(), config.tx.size()); ++i) {
      auto queue = std::make_unique<Queue>();
      queue->port = this;
      queue->number = i;
      if (i < config.rx.size()) queue->rx_cache = config.rx[i].cache;
      if (i < config.rx.size()) queue->rx_ring = config.rx[i].ring_size;
      if (i < config.tx.size()) queue->tx_cache = config.tx[i].cache;
      queues_.push_back(std::move(queue));
    }
    started_ = true;
    return {};
  }
  void stop() noexcept override {
    if (!std::exchange(started_, false)) return;
    for (auto& queue : queues_) {
      const std::lock_guard lock(queue->mutex);
      for (Packet* frame : queue->frames) queue->rx_cache->put_chain(frame);
      queue->frames.clear();
    }
  }

  [[nodiscard]] pmd::AnyRxQueue<pmd::SpinringPackets> rx(std::uint16_t queue) const noexcept override {
    return {queues_[queue].get(), &LoopbackPort::rx_burst};
  }
  [[nodiscard]] pmd::AnyTxQueue<pmd::SpinringPackets> tx(std::uint16_t queue) const noexcept override {
    return {queues_[queue].get(), &LoopbackPort::tx_burst};
  }
  [[nodiscard]] std::string rx_path() const override { return "loopback rx"; }
  [[nodiscard]] std::string tx_path() const override { return "loopback tx"; }
  [[nodiscard]] pmd::RxStats rx_stats(std::uint16_t queue) const noexcept override {
    const auto& counters = queues_[queue]->rx;
    return {counters.packets.value(), counters.bytes.value()};
  }
  [[nodiscard]] pmd::TxStats tx_stats(std::uint16_t queue) const noexcept override {
    const auto& counters = queues_[queue]->tx;
    return {counters.packets.value(), counters.bytes.value(), counters.ring_full.value()};
  }

  [[nodiscard]] std::vector<pmd::NamedStat> extended_stats() override { return device_stats; }
  [[nodiscard]] std::vector<pmd::RegisterDump> registers() override { return device_registers; }
  std::vector<pmd::NamedStat> device_stats;
  std::vector<pmd::RegisterDump> device_registers;

  [[nodiscard]] pmd::LinkState link() override { return {link_up, 10'000, true}; }
  [[nodiscard]] int link_event_fd() const noexcept override { return link_event_.get(); }
  [[nodiscard]] int removal_fd() const noexcept override { return removal_.get(); }
  void acknowledge_link_event() noexcept override {
    eventfd_t count = 0;
    (void)::eventfd_read(link_event_.get(), &count);
  }
  [[nodiscard]] Result<void> check() override {
    if (faulty) return fail(pmd::Errc::kDeviceFault, "check", info_.name);
    return {};
  }
  [[nodiscard]] Result<void> set_promiscuous(bool on) override {
    promiscuous = on;
    return {};
  }
  [[nodiscard]] Result<void> set_all_multicast(bool) override { return {}; }
  [[nodiscard]] Result<void> set_mac(const pmd::MacAddress&) override { return {}; }
  [[nodiscard]] Result<void> set_mac_filter(std::span<const pmd::MacAddress>) override { return {}; }
  [[nodiscard]] Result<void> set_vlan_filter(std::uint16_t, bool) override { return {}; }

  [[nodiscard]] Result<void> set_flow_control(const pmd::FlowControl& wanted) override {
    flow_control_set = wanted;
    return {};
  }
  [[nodiscard]] Result<pmd::FlowControl> flow_control() override { return flow_control_set; }
  pmd::FlowControl flow_control_set;

  // What the test commands.
  void change_link(bool up) {
    link_up = up;
    (void)::eventfd_write(link_event_.get(), 1);
  }
  void ask_back() { (void)::eventfd_write(removal_.get(), 1); }
  /// A frame arrives at RX queue `queue`: one segment, or a chain of several with as many bytes each. Not
  /// while an lcore polls the cache.
  void receive(std::uint16_t queue, const std::vector<std::byte>& frame, unsigned segments = 1) {
    Queue& to = *queues_[queue];
    Packet* head = nullptr;
    Packet* tail = nullptr;
    for (unsigned i = 0; i < segments; ++i) {
      Packet* packet = to.rx_cache->get();
      packet->reset(static_cast<std::uint16_t>(frame.size()));
      std::copy(frame.begin(), frame.end(), packet->data());
      if (head == nullptr) {
        head = packet;
      } else {
        tail->next = packet;
        head->packet_length += packet->data_length;
        ++head->segments;
      }
      tail = packet;
    }
    const std::lock_guard lock(to.mutex);
    to.frames.push_back(head);
  }
  /// Copies of what an uncabled port has sent, the first 1000; by queue and order.
  [[nodiscard]] std::vector<std::vector<std::byte>> sent_frames(std::uint16_t queue) const {
    const std::lock_guard lock(queues_[queue]->mutex);
    return queues_[queue]->sent;
  }

  std::atomic<bool> faulty = false;
  std::atomic<bool> link_up = true;
  bool promiscuous = true;
  int starts = 0;
  struct Settings {
    pmd::Offloads offloads;
    std::uint32_t rss_types = 0;
    std::uint16_t mtu = 0;
  };
  Settings started_with;
  void offer(pmd::Offloads offloads) { info_.offloads = offloads; }
  int starts_to_fail = 0;
  bool* destroyed = nullptr;
  /// Frames that an uncabled port's TX queue takes before it is full for good.
  std::size_t tx_room = SIZE_MAX;
  /// And frames that it takes again after it has refused one.
  std::size_t tx_drains = 0;

 private:
  struct QueueCounters {
    Counter packets;
    Counter bytes;
    Counter ring_full;
  };
  struct Queue {
    LoopbackPort* port = nullptr;
    std::size_t number = 0;
    mempool::PoolCache* rx_cache = nullptr;
    mempool::PoolCache* tx_cache = nullptr;
    std::size_t rx_ring = 0;
    mutable std::mutex mutex;  // two lcores meet at a queue: one sends into it, one receives from it
    std::deque<Packet*> frames;
    std::vector<std::vector<std::byte>> sent;
    QueueCounters rx;
    QueueCounters tx;
  };

  static std::uint8_t next_mac() {
    static std::atomic<std::uint8_t> next = 1;
    return next++;
  }

  static std::uint16_t rx_burst(void* self, Packet** out, std::uint16_t count) noexcept {
    Queue& queue = *static_cast<Queue*>(self);
    const std::lock_guard lock(queue.mutex);
    std::uint16_t taken = 0;
    while (taken < count && !queue.frames.empty()) {
      out[taken++] = queue.frames.front();
      queue.rx.bytes.add(queue.frames.front()->packet_length);
      queue.frames.pop_front();
    }
    queue.rx.packets.add(taken);
    return taken;
  }

  static std::uint16_t tx_burst(void* self, Packet** packets, std::uint16_t count,
                                pmd::More /*more*/) noexcept {
    Queue& queue = *static_cast<Queue*>(self);
    std::uint16_t taken = 0;
    while (taken < count && queue.port->take(queue, packets[taken])) ++taken;
    queue.tx.packets.add(taken);
    queue.tx.ring_full.add(static_cast<std::uint64_t>(count - taken));
    return taken;
  }

  bool take(Queue& queue, Packet* frame) noexcept {
    const std::uint32_t length = frame->packet_length;
    if (peer_ != nullptr && peer_->started_) {
      Queue& to = *peer_->queues_[queue.number];
      const std::lock_guard lock(to.mutex);
      if (to.frames.size() >= to.rx_ring) return false;
      to.frames.push_back(frame);
    } else {
      const std::lock_guard lock(queue.mutex);
      if (tx_room == 0) {
        tx_room = tx_drains;
        return false;
      }
      if (tx_room != SIZE_MAX) --tx_room;
      constexpr std::size_t kKept = 1000;
      if (queue.sent.size() < kKept) queue.sent.emplace_back(frame->bytes().begin(), frame->bytes().end());
      queue.tx_cache->put_chain(frame);
    }
    queue.tx.bytes.add(length);
    return true;
  }

  pmd::PortInfo info_;
  LoopbackPort* peer_ = nullptr;
  std::vector<std::unique_ptr<Queue>> queues_;
  bool started_ = false;
  Fd link_event_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  Fd removal_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
};

/// A session over loopback ports, cabled in pairs unless a test says otherwise.
struct Lab {
  explicit Lab(std::size_t ports, bool cabled = true) {
    memory = mempool::Memory::create({.bytes = 6UL << 20, .hugepages = false}).value();
    for (std::size_t i = 0; i < ports; ++i) {
      auto made = std::make_unique<LoopbackPort>("loop" + std::to_string(i));
      port.push_back(made.get());
      opened.push_back(std::move(made));
    }
    for (std::size_t i = 0; cabled && i + 1 < ports; i += 2) LoopbackPort::connect(*port[i], *port[i + 1]);
  }

  std::unique_ptr<mempool::Memory> memory;
  std::vector<LoopbackPort*> port;  ///< stays readable while the session owns the port
  std::vector<std::unique_ptr<pmd::AnyPort>> opened;
};

}  // namespace spinring::testpmd
