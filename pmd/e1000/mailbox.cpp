#include "pmd/e1000/mailbox.hpp"

#include <fmt/format.h>

#include "pmd/e1000/vf_registers.hpp"
#include "pmd/errors.hpp"

namespace spinring::pmd::e1000 {

using namespace std::chrono_literals;
using vf::Vfmb;
namespace message = vf::message;

namespace {

constexpr std::uint32_t kStatusEvent = Vfmb::kPfsts(1).raw;
constexpr std::uint32_t kAckEvent = Vfmb::kPfack(1).raw;
constexpr std::uint32_t kGone = 0xFFFF'FFFF;  // what a device that is not there reads as
constexpr auto kPause = 50us;
constexpr unsigned kAttempts = 3;

constexpr const char* kBringUp =
    "The driver of the physical function must run, and its interface be up: ip link set DEVICE up";

}  // namespace

std::string Mailbox::name_of(std::uint32_t head) {
  switch (head & message::kCommand) {
    case message::kReset:
      return "RESET";
    case message::kSetMac:
      return "SET_MAC_ADDR";
    case message::kSetMulticast:
      return "SET_MULTICAST";
    case message::kSetVlan:
      return "SET_VLAN";
    case message::kSetLpe:
      return "SET_LPE";
    case message::kSetPromiscuous:
      return "SET_PROMISC";
    default:
      return fmt::format("{:#x}", head);
  }
}

/// Reads the register, whose bits clear by that: nothing of it may be dropped.
void Mailbox::gather() {
  const Vfmb now = mmio::read<Vfmb>(registers_);
  if (now.raw == kGone) return;
  events_ |= now.raw & (kStatusEvent | kAckEvent);
  resetting_ = Vfmb::kRsti.get(now) != 0;
  lost_ = lost_ || resetting_ || Vfmb::kRstd.get(now) != 0;
}

/// Takes the buffer, unless the physical function has it.
bool Mailbox::lock() {
  mmio::write(registers_, Vfmb::kVfu(1));
  const Vfmb now = mmio::read<Vfmb>(registers_);
  if (now.raw == kGone) return false;
  events_ |= now.raw & (kStatusEvent | kAckEvent);
  lost_ = lost_ || Vfmb::kRsti.get(now) != 0 || Vfmb::kRstd.get(now) != 0;
  return Vfmb::kVfu.get(now) != 0;
}

/// The message that PFSTS has announced; nothing while the buffer is not to be had.
std::optional<Mailbox::Words> Mailbox::read() {
  if (!lock()) return std::nullopt;
  events_ &= ~kStatusEvent;
  Words words;
  for (std::size_t i = 0; i < words.size(); ++i) words[i] = mmio::read<vf::Vmbmem>(registers_, 4 * i).raw;
  mmio::write(registers_, Vfmb::kAck(1));
  return words;
}

/// What the physical function says by itself: that its link has changed, or that it goes down. Without
/// clear-to-send it has forgotten what it was told.
void Mailbox::note(std::uint32_t head) noexcept { lost_ = lost_ || (head & message::kClearToSend) == 0; }

void Mailbox::look() {
  gather();
  if ((events_ & kStatusEvent) == 0) return;
  if (const auto words = read()) note(words->front());
}

Result<void> Mailbox::begin() {
  const auto quiet = [this] {
    gather();
    return !resetting_;
  };
  if (!wait_until(quiet, Deadline(patience_.reset), 1ms)) {
    return fail(Errc::kTimeout, "waiting for the end of the physical function's reset (RSTI)", name_, 0,
                kBringUp);
  }
  events_ = 0;
  lost_ = false;
  return {};
}

Result<void> Mailbox::post(std::span<const std::uint32_t> message) {
  look();
  if (!wait_until([this] { return lock(); }, Deadline(patience_.buffer), kPause)) {
    return fail(Errc::kTimeout, "mailbox message " + name_of(message[0]), name_, 0,
                "The physical function keeps the mailbox's buffer (PFU): its driver hangs");
  }
  if ((events_ & kStatusEvent) != 0) note(mmio::read<vf::Vmbmem>(registers_).raw);
  events_ = 0;
  for (std::size_t i = 0; i < message.size(); ++i) {
    mmio::write(registers_, vf::Vmbmem{message[i]}, 4 * i);
  }
  mmio::write(registers_, Vfmb::kReq(1));
  return {};
}

Result<Mailbox::Reply> Mailbox::ask(std::span<const std::uint32_t> message) {
  const Deadline deadline(patience_.answer);
  const std::uint32_t command = message[0] & message::kCommand;
  // There is one buffer: what the physical function sends by itself overwrites a message that it has not
  // read, which is then sent again.
  for (unsigned attempt = 0; attempt < kAttempts; ++attempt) {
    if (auto posted = post(message); !posted) return fail(std::move(posted));
    std::optional<Reply> reply;
    const auto settled = [&] {
      gather();
      if (lost_) return true;
      if ((events_ & kStatusEvent) == 0) return false;
      const auto words = read();
      if (!words) return false;
      const std::uint32_t head = words->front();
      if ((head & message::kCommand) == command && (head & (message::kAck | message::kNack)) != 0) {
        reply = Reply{(head & message::kNack) == 0, *words};
        return true;
      }
      note(head);
      return lost_ || (events_ & kAckEvent) == 0;
    };
    if (!wait_until(settled, deadline, kPause)) break;
    if (reply) return *reply;
    if (lost_) {
      return fail(Errc::kDeviceFault, "mailbox message " + name_of(command), name_, 0,
                  "The physical function was reset and has forgotten this one: stop and start the port");
    }
  }
  return fail(Errc::kTimeout, "mailbox message " + name_of(command), name_, 0, kBringUp);
}

}  // namespace spinring::pmd::e1000
