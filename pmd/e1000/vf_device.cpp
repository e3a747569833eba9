#include "pmd/e1000/vf_device.hpp"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <random>
#include <thread>

#include "base/log.hpp"
#include "pmd/e1000/addresses.hpp"
#include "pmd/e1000/vf_registers.hpp"
#include "pmd/errors.hpp"

namespace spinring::pmd::e1000 {

using namespace std::chrono_literals;

namespace {

constexpr unsigned kVectors = 2;
constexpr auto kBetweenCollections = 1s;

/// Locally administered: IEEE 802, clause 8.2.2.
MacAddress random_address() {
  MacAddress mac{};
  std::random_device source;
  for (std::uint8_t& byte : mac) byte = static_cast<std::uint8_t>(source());
  mac[0] = static_cast<std::uint8_t>((mac[0] & 0xFCU) | 2U);
  return mac;
}

MacAddress address_in(const Mailbox::Words& words) noexcept {
  MacAddress mac{};
  for (std::size_t i = 0; i < mac.size(); ++i) {
    mac[i] = static_cast<std::uint8_t>(words[1 + i / 4] >> 8 * (i % 4));
  }
  return mac;
}

}  // namespace

Result<std::unique_ptr<Device>> VfDevice::open(std::unique_ptr<PciFunction> function, const Model& model) {
  auto registers = take(*function, model);
  if (!registers) return fail(std::move(registers));
  std::unique_ptr<VfDevice> device(new VfDevice(std::move(function), model, **registers));
  if (auto there = device->check_there(); !there) return fail(std::move(there));
  device->reset_function();
  if (auto done = device->introduce(); !done) return fail(std::move(done));
  device->describe();
  return device;
}

/// [82576] 4.2.1.5: CTRL.RST of a virtual function resets its queues and interrupts, and tells the physical
/// function, whose driver forgets what it was told.
void VfDevice::reset_function() {
  mmio::write(*registers_, vf::Eimc{(1U << kVectors) - 1});
  for (std::uint16_t index = 0; index < family().queues; ++index) {
    mmio::write(*registers_, queue::Dctl{}, rx_block(index));
    mmio::write(*registers_, queue::Dctl{}, tx_block(index));
  }
  mmio::write(*registers_, Ctrl::kRst(1));
  // The driver of the physical function is to see the reset before the next message.
  std::this_thread::sleep_for(10ms);
}

/// The first words with the physical function, which then lets this one receive and send.
Result<void> VfDevice::introduce() {
  if (auto there = check_there(); !there) return there;
  if (auto ready = mailbox_.begin(); !ready) return ready;
  const std::array message{vf::message::kReset};
  auto reply = mailbox_.ask(message);
  if (!reply) return fail(std::move(reply));
  unicast_filters_ = false;
  // A refusal says that this function has no address.
  const MacAddress given = reply->accepted ? address_in(reply->words) : MacAddress{};
  if (reply->accepted && !is_unicast(given)) {
    return fail(
        Errc::kBadDevice, "reading the MAC address", name(), 0,
        fmt::format("The physical function gives {}, which cannot be one: ip link set DEVICE vf N mac "
                    "ADDRESS gives another",
                    to_string(given)));
  }
  return take_address(given);
}

/// The port's address stays what it was at open.
Result<void> VfDevice::take_address(const MacAddress& given) {
  if (info_.mac == MacAddress{}) {
    if (given != MacAddress{}) {
      info_.mac = given;
      return {};
    }
    info_.mac = random_address();
    log(LogLevel::kInfo,
        fmt::format("{}: no MAC address from the physical function, so {} by chance; ip link set "
                    "DEVICE vf N mac ADDRESS gives it one",
                    name(), to_string(info_.mac)));
  }
  if (given == info_.mac) return {};
  return tell_address(0, info_.mac,
                      "The physical function has given this one another address since: open the port again");
}

Result<void> VfDevice::prepare(const StartRequest& request) {
  if (auto ok = check_request(request); !ok) return ok;
  // Linux's igb strips the tags of the VLANs that a virtual function has asked for.
  if (request.vlan_filter && !request.offloads.has(Offload::kRxVlanStrip)) {
    return fail(Errc::kUnsupported, "a VLAN filter without rx-vlan-strip", name(), 0,
                "The physical function strips the tags of a virtual function's VLANs: ask for both");
  }
  if (auto there = check_there(); !there) return there;
  reset_function();
  if (auto done = introduce(); !done) return done;
  running_ = true;
  promiscuous_ = false;
  all_multicast_ = false;
  vlan_filter_ = request.vlan_filter;
  if (auto done = function_->set_bus_master(true); !done) return done;
  constexpr std::uint32_t kFcs = 4;
  const std::uint32_t longest = longest_frame(request.mtu == 0 ? kStandardMtu : request.mtu) + kFcs;
  if (auto done =
          tell({vf::message::kSetLpe, longest}, "The physical function takes no frames of that length");
      !done)
    return done;
  if (request.promiscuous) {
    log(LogLevel::kInfo, name() +
                             ": a virtual function is not promiscuous: it receives frames for its own "
                             "addresses, broadcast and multicast");
    if (auto done = set_all_multicast(true); !done) log(LogLevel::kWarning, done.error().message());
  }
  statistics_.restart(*registers_);
  collected_ = Clock::now();
  return {};
}

/// The queues work from their ENABLE on: there is no RCTL and no TCTL.
Result<void> VfDevice::run() { return arm_mailbox_event(); }

void VfDevice::stop() noexcept {
  if (!std::exchange(running_, false)) return;
  mailbox_.look();
  collect();
  reset_function();
  if (auto done = function_->set_bus_master(false); !done) log(LogLevel::kWarning, done.error().message());
}

/// A reset of the physical function clears the counters as well.
void VfDevice::collect() {
  if (mailbox_.lost()) return;
  statistics_.collect(*registers_);
  collected_ = Clock::now();
}

Result<void> VfDevice::check() {
  if (auto there = check_there(); !there) return there;
  if (!running_) return {};
  mailbox_.look();
  if (Clock::now() - collected_ >= kBetweenCollections) collect();
  if (!mailbox_.lost() || mailbox_.resetting()) return {};
  return fail(Errc::kDeviceFault, "looking at the mailbox", name(), 0,
              "The physical function was reset and has forgotten this one: stop and start the port");
}

LinkState VfDevice::link() {
  mailbox_.look();
  if (mailbox_.lost()) return {};
  return Device::link();
}

std::vector<NamedStat> VfDevice::extended_stats() {
  if (running_) {
    mailbox_.look();
    collect();
  }
  return statistics_.report();
}

/// The mailbox's interrupt: the physical function's driver tells of a change of its link, and of its resets.
Result<void> VfDevice::arm_mailbox_event() {
  if (vectors_ == 0) {
    auto vectors = function_->enable_interrupts(kVectors);
    if (!vectors) return fail(std::move(vectors));
    Fd events(::epoll_create1(EPOLL_CLOEXEC));
    for (unsigned vector = 0; vector < *vectors; ++vector) {
      epoll_event readable{.events = EPOLLIN, .data = {}};
      if (::epoll_ctl(events.get(), EPOLL_CTL_ADD, function_->interrupt_fd(vector), &readable) != 0) {
        return fail(Errc::kUnsupported, "epoll_ctl", name(), errno);
      }
    }
    events_ = std::move(events);
    vectors_ = *vectors;
  }
  if (vectors_ == 0) return {};
  // QUIRK(QEMU): igb takes the vector for a bit mask, so vector 1 fires vector 0; hence both are listened to.
  mmio::write(*registers_, vf::IvarMisc::kVector(vectors_ - 1) | vf::IvarMisc::kValid(1));
  mmio::write(*registers_, Eims{(1U << vectors_) - 1});
  return {};
}

int VfDevice::link_event_fd() const noexcept { return vectors_ == 0 ? -1 : events_.get(); }

void VfDevice::acknowledge_link_event() noexcept {
  bool fired = false;
  for (unsigned vector = 0; vector < vectors_; ++vector) {
    std::uint64_t count = 0;
    fired |= ::read(function_->interrupt_fd(vector), &count, sizeof(count)) > 0;
  }
  if (!fired) return;
  // First the cause, so that what comes from here on fires again.
  mmio::write(*registers_, Eicr{(1U << vectors_) - 1});
  mailbox_.look();
}

}  // namespace spinring::pmd::e1000
