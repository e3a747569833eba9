#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tests/unit/pmd/bare_machine.hpp"

namespace spinring::sim {

/// A bare driver of one pair over split rings of 8 entries: queue `q` at 4096 * q of the memory, with its
/// available ring at 128 behind that and its used ring at 256.
class BareSplit : public BareMachine {
 public:
  static constexpr std::size_t kData = 65536;

  explicit BareSplit(std::uint64_t extra = 0) : BareMachine(extra), features(kFeatures | extra) {}

  using BareMachine::set_up_queue;
  void set_up_queue(std::uint16_t index, std::size_t offset) {
    set_up_queue(index, 8, offset, offset + 128, offset + 256);
  }
  void run() {
    negotiate(features);
    ASSERT_TRUE(function->set_bus_master(true));
    set_up_queue(0, 0);
    set_up_queue(1, 4096);
    status(15);
  }
  void descriptor(std::size_t queue, unsigned index, const vring_desc& value) {
    std::memcpy(memory.get() + queue * 4096 + index * sizeof value, &value, sizeof value);
  }
  /// flags, index, entries, and behind 8 of these the event index.
  [[nodiscard]] std::uint16_t* available(std::size_t queue) {
    return reinterpret_cast<std::uint16_t*>(memory.get() + queue * 4096 + 128);
  }
  [[nodiscard]] const vring_used_elem& used(std::size_t queue, unsigned slot) {
    return reinterpret_cast<const vring_used_elem*>(memory.get() + queue * 4096 + 260)[slot];
  }
  [[nodiscard]] std::uint16_t used_flags(std::size_t queue) { return used_field(queue, 0); }
  [[nodiscard]] std::uint16_t used_index(std::size_t queue) { return used_field(queue, 2); }
  [[nodiscard]] std::uint16_t available_event(std::size_t queue) { return used_field(queue, 4 + 8 * 8); }
  void ask_for_interrupt_at(std::size_t queue, std::uint16_t index) { available(queue)[2 + 8] = index; }

  /// Puts a head into the next slot of the available ring, and the index behind it.
  void offer(std::size_t queue, std::uint16_t head, std::uint16_t ahead = 1) {
    std::uint16_t* const ring = available(queue);
    ring[2 + ring[1] % 8] = head;
    ring[1] = static_cast<std::uint16_t>(ring[1] + ahead);
  }
  /// A well-formed frame of 60 bytes to send, in one descriptor.
  void offer_frame(std::uint16_t head = 0) {
    descriptor(1, head, {iova(kData), 72, 0, 0});
    offer(1, head);
  }
  /// A receive buffer of so many bytes.
  void offer_buffer(std::uint16_t head, std::uint32_t length = 2048) {
    descriptor(0, head, {iova(kData + 4096U * head), length, VRING_DESC_F_WRITE, 0});
    offer(0, head);
  }

  std::uint64_t features;

 private:
  [[nodiscard]] std::uint16_t used_field(std::size_t queue, std::size_t offset) {
    std::uint16_t value = 0;
    std::memcpy(&value, memory.get() + queue * 4096 + 256 + offset, sizeof value);
    return value;
  }
};

}  // namespace spinring::sim
