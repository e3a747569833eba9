// What a virtual function asks of the physical one: addresses, VLANs, the longest frame.

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "pmd/e1000/addresses.hpp"
#include "pmd/e1000/vf_device.hpp"
#include "pmd/e1000/vf_registers.hpp"
#include "pmd/errors.hpp"

namespace spinring::pmd::e1000 {

namespace message = vf::message;

Result<void> VfDevice::tell(std::span<const std::uint32_t> message, const char* cure) {
  auto reply = mailbox_.ask(message);
  if (!reply) {
    if (auto there = check_there(); !there) return there;
    return fail(std::move(reply));
  }
  if (reply->accepted) return {};
  return fail(Errc::kRejected, "mailbox message " + Mailbox::name_of(message[0]), name(), 0, cure);
}

Result<void> VfDevice::tell_address(std::uint32_t information, const MacAddress& mac, const char* cure) {
  std::array<std::uint32_t, 3> words{message::kSetMac | information << message::kInformationShift};
  for (std::size_t i = 0; i < mac.size(); ++i) words[1 + i / 4] |= std::uint32_t{mac[i]} << 8 * (i % 4);
  return tell(words, cure);
}

Result<void> VfDevice::tell_multicast(std::span<const MacAddress> addresses) {
  std::array<std::uint32_t, vf::kVmbmemRegisters> words{};
  std::uint32_t count = 0;
  for (const MacAddress& mac : addresses) {
    if (!is_multicast(mac)) continue;
    words[1 + count / 2] |= multicast_hash(mac) << 16 * (count % 2);
    ++count;
  }
  words[0] = message::kSetMulticast | count << message::kInformationShift;
  return tell(words, "The physical function takes no multicast addresses for this one");
}

Result<void> VfDevice::set_promiscuous(bool on) {
  if (auto ok = check_running("set promiscuous mode"); !ok) return ok;
  if (!on) return set_all_multicast(all_multicast_);
  return fail(Errc::kUnsupported, "set promiscuous mode", name(), 0,
              "A virtual function receives what is for its own addresses: use the physical function, or a "
              "filter of MAC addresses");
}

Result<void> VfDevice::set_all_multicast(bool on) {
  if (auto ok = check_running("set all-multicast mode"); !ok) return ok;
  const std::uint32_t information = on ? message::kAllMulticast : 0;
  auto done =
      tell({message::kSetPromiscuous | information << message::kInformationShift},
           "The physical function lets this one not receive all multicast: list the addresses instead");
  if (done) all_multicast_ = on;
  return done;
}

Result<void> VfDevice::set_mac(const MacAddress& mac) {
  if (auto ok = check_running("set the MAC address"); !ok) return ok;
  if (!is_unicast(mac)) {
    return fail(Errc::kBadArgument, "set the MAC address to " + to_string(mac), name(), 0,
                "A port's address is a unicast one");
  }
  return tell_address(
      0, mac,
      "The administrator of the physical function has given this one its address: ip link set "
      "DEVICE vf N trust on lets it choose");
}

Result<void> VfDevice::set_mac_filter(std::span<const MacAddress> addresses) {
  if (auto ok = check_running("set the MAC filter"); !ok) return ok;
  const auto groups =
      static_cast<std::uint64_t>(std::count_if(addresses.begin(), addresses.end(), is_multicast));
  if (groups > message::kMostHashes) {
    return fail(Errc::kBadArgument, fmt::format("a MAC filter of {} multicast addresses", groups), name(), 0,
                fmt::format("A virtual function's message holds {}; all-multicast mode takes any",
                            message::kMostHashes));
  }
  constexpr const char* kCure =
      "The physical function has no room for them, or its administrator lets this one have no further "
      "address: "
      "ip link set DEVICE vf N trust on";
  if (unicast_filters_) {
    if (auto done = tell_address(message::kClearUnicast, info_.mac, kCure); !done) return done;
    unicast_filters_ = false;
  }
  for (const MacAddress& mac : addresses) {
    if (is_multicast(mac)) continue;
    unicast_filters_ = true;
    if (auto done = tell_address(message::kAddUnicast, mac, kCure); !done) return done;
  }
  return tell_multicast(addresses);
}

Result<void> VfDevice::set_vlan_filter(std::uint16_t vlan_id, bool on) {
  if (auto ok = check_running("set the VLAN filter"); !ok) return ok;
  if (auto ok = check_vlan(vlan_id); !ok) return ok;
  return tell({message::kSetVlan | (on ? 1U : 0U) << message::kInformationShift, vlan_id},
              "The administrator of the physical function has put this one into a VLAN, or all 32 VLANs are "
              "taken");
}

}  // namespace spinring::pmd::e1000
