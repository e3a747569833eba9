// Which frames the device receives: addresses, multicast table, VLAN table, promiscuity.

#include <fmt/format.h>

#include "pmd/e1000/addresses.hpp"
#include "pmd/e1000/device.hpp"
#include "pmd/e1000/registers.hpp"
#include "pmd/errors.hpp"

namespace spinring::pmd::e1000 {

Result<void> Device::check_running(const char* what) const {
  if (running_) return {};
  return fail(Errc::kBadState, what, name(), 0, "Start the port first");
}

void Device::write_address(std::uint64_t index, const MacAddress& mac, bool valid) {
  const std::uint64_t base = index * kReceiveAddressStride;
  std::uint32_t low = 0;
  for (unsigned i = 0; i < 4; ++i) low |= std::uint32_t{mac[i]} << 8 * i;
  // [8254x] 13.5.3: invalid while it changes.
  mmio::write(*registers_, Rah{}, base);
  mmio::write(*registers_, Ral{low}, base);
  mmio::write(*registers_,
              Rah::kAddress(mac[4] | static_cast<std::uint32_t>(mac[5]) << 8) | Rah::kAv(valid ? 1 : 0),
              base);
}

void Device::clear_filters() {
  for (std::uint64_t i = 1; i < family().receive_addresses; ++i) write_address(i, {}, false);
  for (std::uint64_t i = 0; i < kMtaRegisters; ++i) mmio::write(*registers_, Mta{}, 4 * i);
  for (std::uint64_t i = 0; i < kVftaRegisters; ++i) mmio::write(*registers_, Vfta{}, 4 * i);
}

void Device::apply_promiscuity() {
  Rctl rctl = mmio::read<Rctl>(*registers_);
  rctl = Rctl::kUpe.with(rctl, promiscuous_ ? 1 : 0);
  rctl = Rctl::kMpe.with(rctl, promiscuous_ || all_multicast_ ? 1 : 0);
  mmio::write(*registers_, rctl);
}

Result<void> Device::set_promiscuous(bool on) {
  if (auto ok = check_running("set promiscuous mode"); !ok) return ok;
  promiscuous_ = on;
  apply_promiscuity();
  return {};
}

Result<void> Device::set_all_multicast(bool on) {
  if (auto ok = check_running("set all-multicast mode"); !ok) return ok;
  all_multicast_ = on;
  apply_promiscuity();
  return {};
}

Result<void> Device::set_mac(const MacAddress& mac) {
  if (auto ok = check_running("set the MAC address"); !ok) return ok;
  if (!is_unicast(mac)) {
    return fail(Errc::kBadArgument, "set the MAC address to " + to_string(mac), name(), 0,
                "A port's address is a unicast one");
  }
  write_address(0, mac, true);
  return {};
}

Result<void> Device::set_mac_filter(std::span<const MacAddress> addresses) {
  if (auto ok = check_running("set the MAC filter"); !ok) return ok;
  const std::uint64_t most = family().receive_addresses - 1U;  // the first is the port's own
  std::uint64_t unicast = 0;
  for (const MacAddress& mac : addresses) unicast += is_multicast(mac) ? 0U : 1U;
  if (unicast > most) {
    return fail(Errc::kBadArgument, fmt::format("a MAC filter of {} unicast addresses", unicast), name(), 0,
                fmt::format("The device takes {}; promiscuous mode takes any", most));
  }
  std::array<std::uint32_t, kMtaRegisters> table{};
  std::uint64_t index = 1;
  for (const MacAddress& mac : addresses) {
    if (is_multicast(mac)) {
      const std::uint32_t hash = multicast_hash(mac);
      table[hash >> 5] |= 1U << (hash & 31U);
    } else {
      write_address(index++, mac, true);
    }
  }
  for (; index <= most; ++index) write_address(index, {}, false);
  for (std::uint64_t i = 0; i < kMtaRegisters; ++i) mmio::write(*registers_, Mta{table[i]}, 4 * i);
  return {};
}

Result<void> Device::check_vlan(std::uint16_t vlan_id) const {
  constexpr std::uint16_t kMaxVlan = 4095;
  if (vlan_id > kMaxVlan) return fail(Errc::kBadArgument, fmt::format("VLAN {}", vlan_id), name());
  if (!vlan_filter_) {
    return fail(Errc::kBadState, "set the VLAN filter", name(), 0,
                "The port was started without a VLAN filter (PortConfig::vlan_filter)");
  }
  return {};
}

Result<void> Device::set_vlan_filter(std::uint16_t vlan_id, bool on) {
  if (auto ok = check_running("set the VLAN filter"); !ok) return ok;
  if (auto ok = check_vlan(vlan_id); !ok) return ok;
  const std::uint64_t base = std::uint64_t{vlan_id} / 32 * 4;
  const std::uint32_t bit = 1U << vlan_id % 32;
  const std::uint32_t word = mmio::read<Vfta>(*registers_, base).raw;
  mmio::write(*registers_, Vfta{on ? word | bit : word & ~bit}, base);
  return {};
}

}  // namespace spinring::pmd::e1000
