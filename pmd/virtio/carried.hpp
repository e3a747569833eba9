#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "pmd/port.hpp"

namespace spinring::pmd::virtio {

/// What a port takes over from the queues of before a restart to those behind it: how it was started, the
/// packets that are still to be sent, and what was counted. Control thread; no lcore is in a burst.
template <PacketPool Packets>
class Carried {
 public:
  using Packet = typename Packets::Packet;

  Carried() = default;
  /// For a port that is started in this way. Sends on as many queues as it receives by: virtio-net has them
  /// in pairs.
  explicit Carried(const PortConfig<Packets>& config)
      : config_(config), rx_(config.rx.size()), tx_(config.rx.size()), unsent_(config.rx.size()) {}
  Carried(const Carried&) = delete;
  Carried& operator=(const Carried&) = delete;
  Carried(Carried&&) noexcept = default;
  Carried& operator=(Carried&&) noexcept = default;
  ~Carried() = default;  // free_unsent() comes before

  [[nodiscard]] const PortConfig<Packets>& config() const noexcept { return config_; }

  [[nodiscard]] RxStats total(std::uint16_t queue, RxStats now) const noexcept {
    return queue < rx_.size() ? plus(rx_[queue], now) : now;
  }
  [[nodiscard]] TxStats total(std::uint16_t queue, TxStats now) const noexcept {
    return queue < tx_.size() ? plus(tx_[queue], now) : now;
  }
  /// The last reading of a queue that goes.
  void add(std::uint16_t queue, const RxStats& last) noexcept { rx_[queue] = plus(rx_[queue], last); }
  void add(std::uint16_t queue, const TxStats& last) noexcept { tx_[queue] = plus(tx_[queue], last); }

  /// Before a queue of that many entries runs.
  void reserve(std::uint16_t queue, std::uint16_t entries) { unsent_[queue].reserve(entries); }
  /// What `withdraw` finds unsent was not handed over after all.
  template <class Withdraw>
  void keep_unsent(std::uint16_t queue, Withdraw withdraw) noexcept {
    std::vector<Packet*>& unsent = unsent_[queue];
    const std::size_t before = unsent.size();
    withdraw(unsent);
    for (const Packet* packet : std::span(unsent).subspan(before)) {
      tx_[queue].packets -= 1;
      tx_[queue].bytes -= Packets::frame_length(*packet);
    }
  }

  /// Frames that the device has delivered and nobody has taken: a ring of `entries` at most, as the device
  /// may still deliver more.
  void drop_received(std::uint16_t queue, AnyRxQueue<Packets> rx, std::uint16_t entries) noexcept {
    std::array<Packet*, 64> frames{};
    std::uint16_t count = 0;
    for (unsigned taken = 0; taken < entries && (count = rx.burst(frames)) != 0; taken += count) {
      for (Packet* const frame : std::span(frames).first(count)) {
        // The queue counts it as handed to the application.
        rx_[queue].packets -= 1;
        rx_[queue].bytes -= Packets::frame_length(*frame);
        rx_[queue].restart_dropped += 1;
        free_chain<Packets>(*config_.rx[queue].cache, frame);
      }
    }
  }

  /// Hands what is unsent to the queue's successor, which has sent nothing yet.
  template <class Control>
  void send_again(std::uint16_t queue, AnyTxQueue<Packets> tx, const Control& control) noexcept {
    std::vector<Packet*>& unsent = unsent_[queue];
    const std::uint16_t sent = tx.burst(unsent);
    drop_unsent(queue, sent);
    tx_[queue].sent_again += control.stats().packets;
  }
  /// The port is stopped: nobody will send them.
  void free_unsent() noexcept {
    for (std::uint16_t queue = 0; queue < unsent_.size(); ++queue) drop_unsent(queue, 0);
  }

 private:
  [[nodiscard]] static RxStats plus(RxStats sum, const RxStats& more) noexcept {
    sum.packets += more.packets;
    sum.bytes += more.bytes;
    sum.bad_completions += more.bad_completions;
    sum.truncated += more.truncated;
    sum.refill_short += more.refill_short;
    sum.restart_dropped += more.restart_dropped;
    return sum;
  }
  [[nodiscard]] static TxStats plus(TxStats sum, const TxStats& more) noexcept {
    sum.packets += more.packets;
    sum.bytes += more.bytes;
    sum.ring_full += more.ring_full;
    sum.rejected += more.rejected;
    sum.bad_completions += more.bad_completions;
    sum.sent_again += more.sent_again;
    sum.restart_dropped += more.restart_dropped;
    return sum;
  }
  void drop_unsent(std::uint16_t queue, std::size_t from) noexcept {
    auto& cache = *config_.tx[std::min<std::size_t>(queue, config_.tx.size() - 1)].cache;
    for (Packet* const packet : std::span(unsent_[queue]).subspan(from)) {
      tx_[queue].restart_dropped += 1;
      free_chain<Packets>(cache, packet);
    }
    unsent_[queue].clear();
  }

  PortConfig<Packets> config_;
  std::vector<RxStats> rx_;  ///< by queue: what was counted before the last restart
  std::vector<TxStats> tx_;
  std::vector<std::vector<Packet*>> unsent_;  ///< by queue
};

}  // namespace spinring::pmd::virtio
