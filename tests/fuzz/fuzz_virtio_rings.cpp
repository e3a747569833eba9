// The fuzzer is the device of a running virtio-net port: it writes the used rings, RX buffers and descriptors
// as the input says, between bursts of the application. Whatever it does, every packet that the driver hands
// out lies inside its buffer and is nobody else's, and after stop() the pool is whole.

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "mempool/pool_debug.hpp"
#include "tests/fuzz/fuzz_input.hpp"
#include "tests/unit/pmd/virtio_rig.hpp"

namespace spinring::fuzz {
namespace {

using mempool::Packet;
using pmd::Rig;

constexpr std::uint16_t kRing = 16;
constexpr int kMostSteps = 400;

void require(bool good, const char* what) {
  if (!good) throw std::runtime_error(what);
}

/// A device that completes a buffer it was not done with writes into a packet that is back in the pool: that
/// is the device's doing, and only payload. All else is the driver's.
void judge(mempool::PoolViolation violation, const mempool::Pool&, std::uint32_t, std::string_view text) {
  if (violation != mempool::PoolViolation::kUseAfterFree) throw std::runtime_error(std::string(text));
}

/// What a device with all offloads offers.
constexpr std::uint64_t kOffloads =
    sim::feature(VIRTIO_NET_F_CSUM) | sim::feature(VIRTIO_NET_F_HOST_TSO4) |
    sim::feature(VIRTIO_NET_F_HOST_TSO6) | sim::feature(VIRTIO_NET_F_HOST_USO) |
    sim::feature(VIRTIO_NET_F_GUEST_CSUM) | sim::feature(VIRTIO_NET_F_GUEST_TSO4) |
    sim::feature(VIRTIO_NET_F_GUEST_TSO6) | sim::feature(VIRTIO_NET_F_GUEST_USO4) |
    sim::feature(VIRTIO_NET_F_HASH_REPORT);

/// One rig a path; opened once, started for each input. Never destroyed: the process ends with the fuzzer.
Rig& rig_of(bool mergeable, bool offloads) {
  static const auto make = [](bool merged, bool all) {
    ::testing::GTEST_FLAG(throw_on_failure) = true;
    mempool::set_pool_violation_handler(judge);
    pmd::RigConfig config;
    config.ring_size = kRing;
    config.packets = 96;
    config.buffer_length = merged ? 320 : 2304;
    config.memory_bytes = 512U << 10;
    if (!merged) config.device = pmd::without(sim::feature(VIRTIO_NET_F_MRG_RXBUF));
    if (all) config.device.features |= kOffloads;
    auto* const rig = new Rig(config);
    rig->forgive_device();
    require(rig->open().has_value(), "the port does not open");
    rig->set_offloads(rig->port->info().offloads);  // none, or all
    return rig;
  };
  static std::array<Rig*, 4> rigs{make(false, false), make(true, false), make(false, true), make(true, true)};
  return *rigs[(mergeable ? 1U : 0U) + (offloads ? 2U : 0U)];
}

class Story {
 public:
  Story(Rig& rig, FuzzInput input) : rig_(rig), input_(input) {}

  void run() {
    restart();
    for (int step = 0; step < kMostSteps && !input_.empty(); ++step) act();
    finish();
  }

 private:
  void act() {
    switch (input_.u8() % 20) {
      case 0:
      case 1:
        return receive();
      case 2:
      case 3:
        return send();
      case 4:
        return free_some();
      case 5:
        return deliver();
      case 6:
        return hold_rx();
      case 7:
        return push_held_rx();
      case 8:
        return push_raw(0);
      case 9:
        return push_raw(1);
      case 10:
        return store_index(0);
      case 11:
        return store_index(1);
      case 12:
        return scribble_used();
      case 13:
        return scribble_descriptor();
      case 14:
        return fetch();
      case 15:
        return complete();
      case 16:
        if (alive(1)) (void)rig_.device.collect(0, input_.u8() % kRing);
        return;
      case 17:
        return suppress();
      case 18:
        return control();
      default:
        return rare();
    }
  }

  void restart() {
    rig_.port->stop();
    held_rx_.clear();
    fetched_.clear();
    rig_.device.knobs = {};
    auto started = rig_.start();
    require(started.has_value(), "the port does not start again");
    received_ = 0;
  }

  void finish() {
    const pmd::RxStats rx = rig_.port->rx_stats(0);
    require(rx.packets == received_, "packets counted are not packets handed out");
    (void)rig_.port->check();
    rig_.port->stop();
    for (Packet* head : owned_) rig_.cache->put_chain(head);
    owned_.clear();
    rig_.cache->flush();
    require(rig_.pool->available() == rig_.pool->capacity(), "packets are missing after stop()");
    rig_.device.iommu().clear_faults();
  }

  // --- the application ---

  void receive() {
    std::array<Packet*, 2 * kRing> burst{};
    const std::size_t most = input_.u8() % (burst.size() + 1);
    const std::uint16_t count = rig_.port->rx(0).burst(std::span(burst).first(most));
    require(count <= most, "more packets than asked for");
    for (Packet* head : std::span(burst).first(count)) {
      (void)pmd::bytes_of(head);
      std::set<const Packet*> segments;
      for (const Packet* segment = head; segment != nullptr; segment = segment->next) {
        require(rig_.pool->owns(segment), "a packet that is none");
        require(segments.insert(segment).second, "a segment twice in a chain");
      }
      require_sound_notes(*head);
      require(owned_.insert(head).second, "a packet that the application has already");
    }
    received_ += count;
  }

  /// What is noted can be acted on: it lies inside the frame.
  static void require_sound_notes(const Packet& head) {
    if ((head.offloads & mempool::kRxChecksumPartial) != 0) {
      require(head.csum_start + std::uint32_t{head.csum_offset} + 2 <= head.packet_length,
              "a checksum outside the frame");
    }
    if ((head.offloads & mempool::kRxCoalesced) != 0) {
      require(head.segment_size != 0, "segments of no bytes");
      require(head.header_length <= head.packet_length, "headers longer than the frame");
    }
  }

  void send() {
    std::vector<Packet*> burst;
    for (unsigned wanted = input_.u8() % 8; wanted > 0; --wanted) {
      if (Packet* const packet = make_packet()) burst.push_back(packet);
    }
    const std::uint16_t taken = rig_.port->tx(0).burst(burst);
    require(taken <= burst.size(), "more packets taken than given");
    for (Packet* left : std::span(burst).subspan(taken)) owned_.insert(left);
  }

  /// One that was received, or a new one of one to four segments; sometimes of a shape that cannot be sent.
  Packet* make_packet() {
    const std::uint8_t shape = input_.u8();
    if ((shape & 1U) != 0 && !owned_.empty()) {
      Packet* const packet = *owned_.begin();
      owned_.erase(owned_.begin());
      return packet;
    }
    Packet* head = nullptr;
    Packet* tail = nullptr;
    for (unsigned left = 1 + (shape >> 6); left > 0; --left) {
      Packet* const segment = rig_.cache->get();
      if (segment == nullptr) break;
      segment->reset(static_cast<std::uint16_t>(input_.u8() % 150));
      if ((shape & 2U) != 0) segment->data_offset = static_cast<std::uint16_t>(shape >> 3 & 15U);
      if (head == nullptr) {
        head = segment;
      } else {
        tail->next = segment;
        head->segments = static_cast<std::uint16_t>(head->segments + 1);
        head->packet_length += segment->data_length;
      }
      tail = segment;
    }
    if (head != nullptr && (shape & 4U) != 0) head->segments = input_.u8();
    if (head != nullptr && (shape & 32U) != 0) {
      head->offloads = std::uint32_t{input_.u8()} << 8;
      head->csum_start = input_.u8();
      head->csum_offset = input_.u8();
      head->segment_size = input_.u8();
      head->header_length = input_.u8();
      if (head->data_length > 14) head->data()[12] = std::byte{0x08};
    }
    return head;
  }

  void free_some() {
    for (unsigned left = input_.u8() % 32; left > 0 && !owned_.empty(); --left) {
      rig_.cache->put_chain(*owned_.begin());
      owned_.erase(owned_.begin());
    }
  }

  // --- the device ---

  [[nodiscard]] bool alive(unsigned queue) { return rig_.device.queue(queue).ring != nullptr; }

  void deliver() {
    sim::DeliverOptions options;
    const std::uint8_t how = input_.u8();
    if ((how & 1U) != 0) options.num_buffers = input_.u16();
    if ((how & 2U) != 0) options.used_length = small_or_any();
    if ((how & 4U) != 0) options.used_id = small_or_any();
    if ((how & 8U) != 0) options.buffers_pushed = input_.u8() % 4;
    options.publish = (how & 16U) == 0;
    if ((how & 32U) != 0) {
      options.header.flags = input_.u8();
      options.header.gso_type = input_.u8() % 8;
      options.header.csum_start = input_.u16();
      options.header.csum_offset = input_.u8();
      options.header.gso_size = input_.u8();
      options.header.hdr_len = input_.u16();
      options.hash_report = input_.u8();
    }
    const std::size_t length = 14 + input_.u16() % 1500;
    (void)rig_.device.deliver(std::vector<std::byte>(length, std::byte{how}), 0, options);
  }

  void hold_rx() {
    if (!alive(0)) return;
    auto chain = rig_.device.rx_ring().pop();
    if (!chain) return;
    check_buffer(*chain);
    const auto bytes = input_.take(32);
    std::byte* const to = rig_.device.iommu().translate(chain->segments[0].iova, bytes.size(), true);
    if (to != nullptr) std::ranges::copy(bytes, to);
    held_rx_.push_back(std::move(*chain));
  }

  /// A buffer that was offered lies inside one packet's buffer, or a device could write beyond it.
  void check_buffer(const sim::SimChain& chain) {
    if (scribbled_) return;
    for (const sim::SimSegment& segment : chain.segments) {
      const std::byte* const start = rig_.device.iommu().peek(segment.iova, segment.length);
      bool inside = false;
      for (std::uint32_t i = 0; i < rig_.pool->capacity() && !inside; ++i) {
        Packet* const packet = rig_.pool->packet(i);
        inside =
            start >= packet->buffer() && start + segment.length <= packet->buffer() + packet->buffer_length;
      }
      require(inside, "an RX descriptor reaches outside its packet");
    }
  }

  void push_held_rx() {
    if (!alive(0) || held_rx_.empty()) return;
    const std::size_t which = input_.u8() % held_rx_.size();
    rig_.device.rx_ring().push(held_rx_[which], small_or_any());
    held_rx_.erase(held_rx_.begin() + static_cast<std::ptrdiff_t>(which));
    if (input_.u8() % 2 == 0) rig_.device.rx_ring().publish();
  }

  std::uint32_t small_or_any() {
    const std::uint8_t kind = input_.u8();
    return (kind & 3U) != 0 ? kind >> 2 : input_.u32();
  }

  void push_raw(unsigned queue) {
    if (!alive(queue)) return;
    const std::uint32_t id = small_or_any();
    rig_.device.split(queue).push_raw(id, small_or_any() + (input_.u8() % 2 != 0 ? 12U : 0U));
    if (input_.u8() % 2 == 0) rig_.device.split(queue).publish();
  }

  void store_index(unsigned queue) {
    if (!alive(queue)) return;
    auto& ring = rig_.device.split(queue);
    const std::uint8_t step = input_.u8();
    const auto index = static_cast<std::uint16_t>(step < 64 ? ring.used_index() + step : input_.u16());
    ring.store_used_index(index);
    if (step % 2 != 0) ring.set_used_index(index);
  }

  void scribble_used() {
    const unsigned queue = input_.u8() % 2U;
    const std::size_t offset = input_.u8();
    const auto bytes = input_.take(input_.u8() % 64U);
    if (alive(queue)) rig_.device.split(queue).scribble_used(offset, bytes);
  }

  /// Junk that no later access of the simulated device can follow: its own DMA must not hit packet metadata.
  void scribble_descriptor() {
    const unsigned queue = input_.u8() % 2U;
    const std::uint16_t index = input_.u8() % kRing;
    const vring_desc junk{std::uint64_t{input_.u32()} | 1ULL << 60, input_.u32(), input_.u16(), input_.u16()};
    if (!alive(queue)) return;
    rig_.device.split(queue).scribble_descriptor(index, junk);
    scribbled_ = true;
  }

  void fetch() {
    if (!alive(1)) return;
    if (auto frame = rig_.device.fetch()) fetched_.push_back(std::move(*frame));
  }
  void complete() {
    if (!alive(1) || fetched_.empty()) return;
    const std::size_t which = input_.u8() % fetched_.size();
    rig_.device.complete(fetched_[which], 0, small_or_any());
    fetched_.erase(fetched_.begin() + static_cast<std::ptrdiff_t>(which));
  }

  void suppress() {
    const std::uint8_t which = input_.u8();
    if (alive(which % 2U)) rig_.device.split(which % 2U).suppress_notifications((which & 2U) != 0);
  }

  /// Silence is left out: each would cost the fuzzer a second.
  void control() {
    if (!rig_.device.running() || !alive(2)) return;
    rig_.device.knobs.control_ack = input_.u8() % 4 == 0 ? input_.u8() : std::uint8_t{0};
    rig_.device.knobs.control_wrong_id = input_.u8() % 16 == 0;
    rig_.device.knobs.control_used_length = small_or_any();
    (void)rig_.port->set_promiscuous(input_.u8() % 2 == 0);
  }

  void rare() {
    switch (input_.u8() % 8) {
      case 0:
        return rig_.device.ask_for_reset();
      case 1:
        return rig_.device.function_reset();
      case 2:
      case 3:
        return restart();
      default:
        (void)rig_.port->check();
        (void)rig_.port->link();
    }
  }

  Rig& rig_;
  FuzzInput input_;
  std::set<Packet*> owned_;  ///< frames of the application
  std::vector<sim::SimChain> held_rx_;
  std::vector<sim::SentFrame> fetched_;
  std::uint64_t received_ = 0;
  bool scribbled_ = false;
};

}  // namespace
}  // namespace spinring::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return -1;
  const std::span input(data, size);
  spinring::fuzz::Rig& rig = spinring::fuzz::rig_of((input[0] & 1U) != 0, (input[0] & 2U) != 0);
  spinring::fuzz::Story(rig, spinring::fuzz::FuzzInput(input.subspan(1))).run();
  return 0;
}
