#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>

#include "base/cpu.hpp"
#include "pmd/e1000/descriptors.hpp"
#include "pmd/e1000/queue.hpp"
#include "pmd/e1000/tx_job.hpp"
#include "pmd/port.hpp"

namespace spinring::pmd::e1000 {

/// What a TX loop is specialised by.
struct TxFeatures {
  TxFormat format = TxFormat::kLegacy;
  constexpr bool operator==(const TxFeatures&) const = default;
};

/// What a TX queue is told of its packets.
struct TxSettings {
  std::uint32_t offloads = 0;       ///< mempool::OffloadBits that a packet may ask for
  std::uint32_t longest_frame = 0;  ///< bytes without FCS, of a packet that is not segmented
  bool segments_ipv6 = true;        ///< TCP over IPv6 can be segmented, not over IPv4 alone
};

/// A TX queue of any features, for the control plane.
class TxQueueControl : public QueueControl {
 public:
  [[nodiscard]] virtual TxStats stats() const noexcept = 0;
};

/// The transmit loop of the family. A packet is a descriptor for each segment, with a context before them
/// when it asks for an offload. The device reports (RS) every few descriptors and at the end of a burst;
/// packets are taken back up to a report that has come.
template <PacketPool Packets, TxFeatures F>
class TxQueue final : public Queue<Packets, TxDescriptor, TxQueueControl> {
 public:
  using Packet = typename Packets::Packet;

  TxQueue(QueueParts<Packets>&& parts, const TxSettings& settings)
      : TxQueue::Queue(std::move(parts)),
        reports_(std::make_unique<std::uint16_t[]>(this->size_)),
        settings_(settings),
        free_(static_cast<std::uint16_t>(this->size_ - 1)),  // TDT = TDH is an empty ring
        batch_(std::clamp<std::uint16_t>(this->size_ / 4, 1, kMostHeldBack)) {}
  ~TxQueue() override { give_back(); }

  void give_back() noexcept override {
    this->set_stopped();
    for (; clean_ != tail_; clean_ = this->after(clean_)) {
      this->free_chain(std::exchange(this->packets_[clean_], nullptr));
    }
  }
  [[nodiscard]] TxStats stats() const noexcept override {
    return {packets_sent_.value(), bytes_.value(), ring_full_.value(), rejected_.value(), 0};
  }

  /// Takes packets from the front until the ring is full; returns how many. Called with none, it only
  /// publishes and reclaims. `more`: the caller calls again soon, so a batch may be completed first.
  [[nodiscard]] std::uint16_t burst(Packet** packets, std::uint16_t count, More more) noexcept {
    if (this->stopped()) [[unlikely]]
      return 0;
    if (count == 0 || free_ < count || this->size_ - 1 - free_ >= batch_) reclaim();
    std::uint16_t taken = 0;
    std::uint16_t posted = 0;
    std::uint64_t bytes = 0;
    for (; taken < count; ++taken) {
      if (taken + 1 < count) prefetch_write(packets[taken + 1]);
      Packet& packet = *packets[taken];
      const std::uint32_t length = Packets::frame_length(packet);
      if (is_plain(packet)) [[likely]] {
        if (!has_room(1)) [[unlikely]]
          break;
        const TxJob job = plain_job<F.format>(length);
        write(packet, job.command | TxDescriptor::kEop, job.status);
        posted_to(packet, 1);
      } else {
        TxJob job;
        const std::uint16_t descriptors = plan(packet, job);
        if (descriptors == kNotSendable) [[unlikely]] {
          rejected_.add(1);
          this->free_chain(&packet);
          continue;
        }
        if (!has_room(descriptors)) [[unlikely]]
          break;
        post(packet, job, descriptors);
      }
      bytes += length;
      ++posted;
    }
    if (posted != 0) {
      packets_sent_.add(posted);
      bytes_.add(bytes);
    }
    // A full ring waits for what is in it: then all of that must be on its way.
    hand_over(taken < count ? More::kNo : more);
    if (taken < count) [[unlikely]]
      ring_full_.add(static_cast<std::uint64_t>(count - taken));
    return taken;
  }

 private:
  using Base = typename TxQueue::Queue;
  /// Descriptors that are published, and reported, together while there are more to come.
  static constexpr std::uint16_t kMostHeldBack = 64;
  static constexpr std::uint16_t kNotSendable = 0;
  /// QUIRK(QEMU): e1000e and igb drop a packet of more pieces. No frame needs as many.
  static constexpr std::uint16_t kMostSegments = 60;

  /// One segment, no offload: nearly every packet.
  [[nodiscard]] bool is_plain(const Packet& packet) const noexcept {
    return Packets::segments(packet) == 1 && Packets::next(packet) == nullptr &&
           Packets::tx_offloads(packet) == 0 && Packets::data_length(packet) >= kShortestFrame &&
           Packets::data_length(packet) <= settings_.longest_frame;
  }

  /// How a packet of another kind is sent, and the descriptors that it takes. What the device could never
  /// send, or what asks for an offload that was not asked for at start, is refused, not sent wrongly. A chain
  /// has as many segments as its head counts, none of them empty.
  [[nodiscard, gnu::noinline]] std::uint16_t plan(Packet& head, TxJob& job) const noexcept {
    const std::uint16_t segments = Packets::segments(head);
    if (segments == 0 || segments > kMostSegments) return kNotSendable;
    std::uint32_t length = 0;
    const Packet* segment = &head;
    for (std::uint16_t left = segments; left > 0; --left) {
      if (segment == nullptr || Packets::data_length(*segment) == 0) return kNotSendable;
      length += Packets::data_length(*segment);
      segment = Packets::next(*segment);
    }
    if (segment != nullptr || length != Packets::frame_length(head) || length < kShortestFrame)
      return kNotSendable;
    const TxRequest request = Packets::tx_request(head);
    const bool segmented = (request.offloads & mempool::kTxSegment) != 0;
    if ((request.offloads & ~settings_.offloads) != 0 ||
        length > (segmented ? kLongestSegmented : settings_.longest_frame))
      return kNotSendable;
    job = plain_job<F.format>(length);
    if (request.offloads != 0 && !offload_job<F.format>({Packets::data(head), Packets::data_length(head)},
                                                        length, request, settings_.segments_ipv6, job))
      return kNotSendable;
    // Counted with the context even if the device should know it already: a full ring must not depend on
    // that.
    const std::uint32_t descriptors = segments + (job.has_context ? 1U : 0U);
    return descriptors < this->size_ ? static_cast<std::uint16_t>(descriptors) : kNotSendable;
  }

  /// A long packet may need what is too little for a batch.
  [[nodiscard]] bool has_room(std::uint16_t descriptors) noexcept {
    if (descriptors > free_) [[unlikely]]
      reclaim();
    return descriptors <= free_;
  }

  /// Writes the descriptors; there is room for `descriptors`.
  [[gnu::noinline]] void post(Packet& head, const TxJob& job, std::uint16_t descriptors) noexcept {
    if (job.has_context) [[unlikely]]
      descriptors = static_cast<std::uint16_t>(descriptors - (post_context(job) ? 0 : 1));
    Packet* segment = &head;
    for (; Packets::next(*segment) != nullptr; segment = Packets::next(*segment)) {
      write(*segment, job.command, job.status);
      tail_ = this->after(tail_);
    }
    write(*segment, job.command | TxDescriptor::kEop, job.status);
    posted_to(head, descriptors);
  }
  void write(Packet& segment, std::uint32_t command, std::uint32_t status) noexcept {
    auto& descriptor = this->descriptors_[tail_];
    descriptor.address = to_u64(Packets::iova(segment, Packets::data(segment), *this->table_));
    descriptor.command = command | Packets::data_length(segment);
    store_relaxed(descriptor.status, status);
  }
  /// The packet belongs to its last descriptor, the one at the tail: what is reported up to there is sent.
  void posted_to(Packet& head, std::uint16_t descriptors) noexcept {
    this->packets_[tail_] = &head;
    last_ = tail_;
    tail_ = this->after(tail_);
    free_ = static_cast<std::uint16_t>(free_ - descriptors);
    unreported_ = static_cast<std::uint16_t>(unreported_ + descriptors);
    unpublished_ = static_cast<std::uint16_t>(unpublished_ + descriptors);
    if (unreported_ >= batch_) report();
  }

  /// The device keeps the context of the packet before: false if it has this one already.
  [[nodiscard]] bool post_context(const TxJob& job) noexcept {
    if (context_known_ && job.same_context(context_)) return false;
    auto& descriptor = this->descriptors_[tail_];
    descriptor.address = job.context_address;
    descriptor.command = job.context_command;
    store_relaxed(descriptor.status, job.context_status);
    tail_ = this->after(tail_);
    context_ = job;
    context_known_ = true;
    return true;
  }

  /// Asks for a report of the last packet. It is not the device's yet.
  void report() noexcept {
    this->descriptors_[last_].command = this->descriptors_[last_].command | TxDescriptor::kRs;
    reports_[report_tail_] = last_;
    report_tail_ = this->after(report_tail_);
    ++reports_due_;
    unreported_ = 0;
  }

  void hand_over(More more) noexcept {
    if (unpublished_ == 0 || (more == More::kSoon && unpublished_ < batch_)) return;
    if (unreported_ != 0) report();
    this->publish(tail_);
    unpublished_ = 0;
  }

  /// Gives the packets that the device has sent back to their pool, in batches.
  void reclaim() noexcept {
    std::array<Packet*, Base::kHarvest> single;
    std::size_t singles = 0;
    while (reports_due_ != 0 && this->descriptors_[reports_[report_head_]].done()) {
      const std::uint16_t end = this->after(reports_[report_head_]);
      report_head_ = this->after(report_head_);
      --reports_due_;
      for (; clean_ != end; clean_ = this->after(clean_)) {
        ++free_;
        Packet* const head = std::exchange(this->packets_[clean_], nullptr);
        if (head == nullptr) continue;  // a context, or not the last of a chain
        if (Packets::next(*head) != nullptr) [[unlikely]] {
          this->free_chain(head);
          continue;
        }
        single[singles++] = head;
        if (singles == single.size()) {
          this->cache_->recycle(std::span(single));
          singles = 0;
        }
      }
    }
    if (singles != 0) this->cache_->recycle(std::span(single).first(singles));
  }

  std::unique_ptr<std::uint16_t[]> reports_;  ///< slots whose report is awaited: a ring
  TxSettings settings_;
  std::uint16_t free_;  ///< descriptors
  std::uint16_t batch_;
  std::uint16_t tail_ = 0;   ///< the slot that is written next
  std::uint16_t clean_ = 0;  ///< the oldest slot that was not taken back
  std::uint16_t last_ = 0;   ///< of the packet that was posted last
  std::uint16_t report_head_ = 0;
  std::uint16_t report_tail_ = 0;
  std::uint16_t reports_due_ = 0;
  std::uint16_t unreported_ = 0;   ///< descriptors since the last report
  std::uint16_t unpublished_ = 0;  ///< descriptors since the last doorbell
  bool context_known_ = false;
  TxJob context_;  ///< what the device was told last
  Counter packets_sent_;
  Counter bytes_;
  Counter ring_full_;
  Counter rejected_;
};

}  // namespace spinring::pmd::e1000
