#pragma once

#include <sys/eventfd.h>

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <vector>

#include "base/fd.hpp"
#include "base/mmio.hpp"

namespace spinring::test {

/// A virtual function of the 82576 with the driver of its physical one behind the mailbox, written from the
/// data sheet (7.8) and from what Linux's igb says. A test may let that driver be silent, refuse, lie, or
/// reset.
struct FakeIgbvf final : RegisterBlock {
  using Message = std::vector<std::uint32_t>;
  static constexpr std::uint64_t kMailbox = 0x0C40;
  static constexpr std::uint64_t kBuffer = 0x0800;
  static constexpr std::uint32_t kAck = 1U << 31;
  static constexpr std::uint32_t kNack = 1U << 30;
  static constexpr std::uint32_t kClearToSend = 1U << 29;
  static constexpr std::uint32_t kControl = 0x100;  ///< what the physical function says by itself

  std::uint16_t id = 0x10CA;
  std::vector<std::uint32_t> registers = std::vector<std::uint32_t>(0x4000 / 4);
  std::map<std::uint16_t, std::uint32_t> config;
  std::uint32_t status = 0x80080783;  ///< link up, 1000 Mb/s, full duplex
  bool bus_master = false;
  unsigned unmasked = 0;
  unsigned vectors = 2;
  std::array<Fd, 2> events{Fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
                           Fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC))};

  bool answers = true;
  bool holds_buffer = false;
  std::set<std::uint32_t> refuses;                         ///< commands
  std::array<std::uint32_t, 2> given{0x12005452, 0x5634};  ///< the address that RESET is answered with
  std::function<void()> before_reading = [] {};            ///< what it does when REQ comes
  std::vector<Message> heard;
  unsigned resets = 0;
  unsigned acknowledged = 0;

  std::uint32_t& at(std::uint64_t offset) { return registers[offset / 4]; }
  [[nodiscard]] int fd(unsigned vector) const noexcept { return events[vector].get(); }

  /// A message that nobody asked for.
  void say(std::uint32_t word) {
    at(kBuffer) = word;
    at(kMailbox) |= 1U << 4;  // PFSTS
  }
  void begin_reset() {
    at(kMailbox) |= 1U << 6;  // RSTI
    knows_ = false;
  }
  void end_reset() { at(kMailbox) = (at(kMailbox) & ~(1U << 6)) | 1U << 7; }  // RSTD

  [[nodiscard]] std::uint64_t size() const noexcept override { return registers.size() * 4; }
  std::uint32_t read32(std::uint64_t offset) override {
    if (status == 0xFFFF'FFFF) return status;
    if (offset == 0x0008) return status;
    const std::uint32_t value = at(offset);
    if (offset == kMailbox) at(offset) &= ~0xB0U;  // PFSTS, PFACK and RSTD clear
    return value;
  }
  void write32(std::uint64_t offset, std::uint32_t value) override {
    if (offset == kMailbox) return write_mailbox(value);
    if (offset == 0x0000 && (value & 1U << 26) != 0) {  // CTRL.RST
      ++resets;
      knows_ = false;
      return;
    }
    if (offset == 0x1580) value = at(offset) & ~value;  // EICR
    at(offset) = value;
  }
  std::uint8_t read8(std::uint64_t) override { return 0; }
  std::uint16_t read16(std::uint64_t) override { return 0; }
  std::uint64_t read64(std::uint64_t) override { return 0; }
  void write8(std::uint64_t, std::uint8_t) override {}
  void write16(std::uint64_t, std::uint16_t) override {}
  void write64(std::uint64_t, std::uint64_t) override {}

 private:
  void write_mailbox(std::uint32_t value) {
    at(kMailbox) &= ~4U;
    if ((value & 4U) != 0 && !holds_buffer) at(kMailbox) |= 4U;  // VFU
    if ((value & 2U) != 0) ++acknowledged;
    if ((value & 1U) != 0) {
      before_reading();
      if (answers) serve();
    }
  }
  void serve() {
    Message message;
    for (std::uint64_t i = 0; i < 16; ++i) message.push_back(at(kBuffer + 4 * i));
    // Its own words are not a request.
    if ((message[0] & (kAck | kNack | kClearToSend)) != 0 || message[0] == kControl) return;
    at(kMailbox) |= 1U << 5;  // PFACK
    heard.push_back(message);
    const std::uint32_t command = message[0] & 0xFFFFU;
    if (command == 1) {
      knows_ = true;
      const bool has = (given[0] | given[1]) != 0;
      at(kBuffer + 4) = given[0];
      at(kBuffer + 8) = given[1];
      return say(command | (has && !refuses.contains(command) ? kAck : kNack));
    }
    if (!knows_) return;
    say(message[0] | kClearToSend | (refuses.contains(command) ? kNack : kAck));
  }

  bool knows_ = false;  ///< clear to send
};

}  // namespace spinring::test
