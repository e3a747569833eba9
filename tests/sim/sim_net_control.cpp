// The control virtqueue (virtio 1.2, 5.1.6.5).

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "tests/sim/sim_virtio_net.hpp"

namespace spinring::sim {
namespace {

std::uint16_t to_u16(std::span<const std::uint8_t> bytes) {
  return static_cast<std::uint16_t>(bytes[0] | (bytes[1] << 8));
}

/// One of the two tables of MAC_TABLE_SET: a count and as many addresses. Advances `data` past it.
std::optional<std::vector<Mac>> take_table(std::span<const std::uint8_t>& data) {
  std::uint32_t entries = 0;
  if (data.size() < sizeof entries) return std::nullopt;
  std::memcpy(&entries, data.data(), sizeof entries);
  data = data.subspan(sizeof entries);
  if (entries > data.size() / sizeof(Mac)) return std::nullopt;
  std::vector<Mac> table(entries);
  for (Mac& mac : table) {
    std::ranges::copy(data.first(mac.size()), mac.begin());
    data = data.subspan(mac.size());
  }
  return table;
}

}  // namespace

void SimVirtioNet::notified(unsigned index) {
  if (negotiated(VIRTIO_NET_F_CTRL_VQ) && index == control_queue()) serve_control();
}

void SimVirtioNet::serve_control() {
  SimQueue* const control = live_queue(control_queue());
  if (control == nullptr || !knobs.answers_control) return;
  while (const std::optional<SimChain> chain = control->ring->pop()) answer(*control, *chain);
  note_breakage(*control);
}

void SimVirtioNet::answer(SimQueue& control, const SimChain& chain) {
  const std::optional<std::vector<std::byte>> out = copy_out(chain);
  if (!out) return;
  if (out->size() < sizeof(virtio_net_ctrl_hdr) || chain.writable() < sizeof(virtio_net_ctrl_ack)) {
    violation(
        fmt::format("control command of {} bytes with {} for the answer", out->size(), chain.writable()));
    return ask_for_reset();
  }
  Command command;
  command.klass = std::to_integer<std::uint8_t>((*out)[0]);
  command.number = std::to_integer<std::uint8_t>((*out)[1]);
  for (std::size_t i = sizeof(virtio_net_ctrl_hdr); i < out->size(); ++i) {
    command.data.push_back(std::to_integer<std::uint8_t>((*out)[i]));
  }
  ++control_.commands;
  std::uint8_t ack = knobs.control_ack;
  // A device that refuses does not act on the command either.
  if (ack == VIRTIO_NET_OK) ack = execute(command);
  if (ack != VIRTIO_NET_OK) ++control_.refused;

  SimChain writable = chain;
  std::erase_if(writable.segments, [](const SimSegment& segment) { return !segment.device_writes; });
  std::vector<std::uint8_t> answered{ack};
  if (ack == VIRTIO_NET_OK) answered.insert(answered.end(), command.reply.begin(), command.reply.end());
  if (answered.size() > writable.writable()) {
    violation(fmt::format("{} bytes for an answer of {}", writable.writable(), answered.size()));
    answered.resize(writable.writable());
  }
  if (!copy_in(writable, std::as_bytes(std::span(answered)))) return;
  if (knobs.control_wrong_id) {
    control.ring->push_raw(chain.id + 1U, knobs.control_used_length, chain.descriptors);
  } else {
    control.ring->push(chain, knobs.control_used_length);
  }
  publish(control);
}

std::uint8_t SimVirtioNet::execute(Command& command) {
  switch (command.klass) {
    case VIRTIO_NET_CTRL_RX:
      return set_rx_mode(command);
    case VIRTIO_NET_CTRL_MAC:
      return set_mac(command);
    case VIRTIO_NET_CTRL_VLAN:
      return set_vlan(command);
    case VIRTIO_NET_CTRL_MQ:
      if (command.number != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET) return set_hash(command);
      return set_pairs(command);
    case VIRTIO_NET_CTRL_GUEST_OFFLOADS:
      return set_guest_offloads(command);
    case VIRTIO_NET_CTRL_NOTF_COAL:
      return set_coalescing(command);
    case VIRTIO_NET_CTRL_STATS:
      return statistics(command);
    case VIRTIO_NET_CTRL_ANNOUNCE:
      if (!negotiated(VIRTIO_NET_F_GUEST_ANNOUNCE)) violation("ANNOUNCE_ACK without GUEST_ANNOUNCE");
      registers.status = static_cast<std::uint16_t>(registers.status & ~VIRTIO_NET_S_ANNOUNCE);
      ++control_.announce_acks;
      return VIRTIO_NET_OK;
    default:
      return VIRTIO_NET_ERR;
  }
}

std::uint8_t SimVirtioNet::set_rx_mode(const Command& command) {
  const bool extra = command.number > VIRTIO_NET_CTRL_RX_ALLMULTI;
  if (!negotiated(extra ? VIRTIO_NET_F_CTRL_RX_EXTRA : VIRTIO_NET_F_CTRL_RX)) {
    violation(fmt::format("RX mode {} without its feature", command.number));
    return VIRTIO_NET_ERR;
  }
  if (command.number >= control_.rx_modes.size() || command.data.size() != 1) return VIRTIO_NET_ERR;
  const bool on = command.data[0] != 0;
  control_.rx_modes[command.number] = on;
  if (command.number == VIRTIO_NET_CTRL_RX_PROMISC) control_.promiscuous = on;
  if (command.number == VIRTIO_NET_CTRL_RX_ALLMULTI) control_.all_multicast = on;
  return VIRTIO_NET_OK;
}

std::uint8_t SimVirtioNet::set_mac(const Command& command) {
  if (command.number == VIRTIO_NET_CTRL_MAC_TABLE_SET) return set_mac_table(command);
  if (command.number != VIRTIO_NET_CTRL_MAC_ADDR_SET || command.data.size() != sizeof(Mac)) {
    return VIRTIO_NET_ERR;
  }
  if (!negotiated(VIRTIO_NET_F_CTRL_MAC_ADDR)) {
    violation("MAC_ADDR_SET without CTRL_MAC_ADDR");
    return VIRTIO_NET_ERR;
  }
  Mac mac{};
  std::ranges::copy(command.data, mac.begin());
  control_.mac = mac;
  std::ranges::copy(mac, registers.mac);
  return VIRTIO_NET_OK;
}

std::uint8_t SimVirtioNet::set_mac_table(const Command& command) {
  if (!negotiated(VIRTIO_NET_F_CTRL_RX)) {
    violation("MAC_TABLE_SET without CTRL_RX");
    return VIRTIO_NET_ERR;
  }
  std::span<const std::uint8_t> data = command.data;
  std::optional<std::vector<Mac>> unicast = take_table(data);
  std::optional<std::vector<Mac>> multicast = take_table(data);
  if (!unicast || !multicast || !data.empty()) return VIRTIO_NET_ERR;
  const auto is_group = [](const Mac& mac) { return (mac[0] & 1) != 0; };
  if (std::ranges::any_of(*unicast, is_group) || !std::ranges::all_of(*multicast, is_group)) {
    violation("MAC_TABLE_SET with an address in the wrong table");
  }
  control_.unicast = std::move(*unicast);
  control_.multicast = std::move(*multicast);
  return VIRTIO_NET_OK;
}

std::uint8_t SimVirtioNet::set_vlan(const Command& command) {
  if (!negotiated(VIRTIO_NET_F_CTRL_VLAN)) {
    violation("VLAN command without CTRL_VLAN");
    return VIRTIO_NET_ERR;
  }
  if (command.data.size() != 2) return VIRTIO_NET_ERR;
  const std::uint16_t id = to_u16(command.data);
  if (id > 4095) return VIRTIO_NET_ERR;
  switch (command.number) {
    case VIRTIO_NET_CTRL_VLAN_ADD:
      control_.vlans.insert(id);
      return VIRTIO_NET_OK;
    case VIRTIO_NET_CTRL_VLAN_DEL:
      return control_.vlans.erase(id) == 1 ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
    default:
      return VIRTIO_NET_ERR;
  }
}

std::uint8_t SimVirtioNet::set_pairs(const Command& command) {
  if (!negotiated(VIRTIO_NET_F_MQ)) {
    violation("VQ_PAIRS_SET without MQ");
    return VIRTIO_NET_ERR;
  }
  if (command.data.size() != 2) return VIRTIO_NET_ERR;
  const std::uint16_t pairs = to_u16(command.data);
  if (pairs < VIRTIO_NET_CTRL_MQ_VQ_PAIRS_MIN || pairs > max_pairs_) {  // virtio 1.2, 5.1.6.5.6.1
    violation(fmt::format("VQ_PAIRS_SET {} of at most {}", pairs, max_pairs_));
    return VIRTIO_NET_ERR;
  }
  for (unsigned i = 0; i < 2U * pairs; ++i) {
    if (!queue(i).enabled) violation(fmt::format("VQ_PAIRS_SET {} while queue {} is not enabled", pairs, i));
  }
  control_.active_pairs = pairs;
  return VIRTIO_NET_OK;
}

}  // namespace spinring::sim
