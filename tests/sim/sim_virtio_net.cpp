#include "tests/sim/sim_virtio_net.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace spinring::sim {

const std::uint64_t SimNetConfig::kUsualFeatures =
    feature(VIRTIO_F_VERSION_1) | feature(VIRTIO_F_ACCESS_PLATFORM) | feature(VIRTIO_NET_F_MAC) |
    feature(VIRTIO_NET_F_STATUS) | feature(VIRTIO_NET_F_MTU) | feature(VIRTIO_NET_F_MRG_RXBUF) |
    feature(VIRTIO_NET_F_CTRL_VQ) | feature(VIRTIO_NET_F_CTRL_RX) | feature(VIRTIO_NET_F_CTRL_VLAN) |
    feature(VIRTIO_NET_F_CTRL_MAC_ADDR) | feature(VIRTIO_NET_F_MQ);

virtio_net_config SimNetConfig::usual_registers() {
  virtio_net_config registers{};
  const Mac mac{0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
  std::ranges::copy(mac, registers.mac);
  registers.status = VIRTIO_NET_S_LINK_UP;
  registers.mtu = 1500;
  registers.speed = 10000;
  registers.duplex = 1;
  registers.rss_max_key_size = 40;
  registers.rss_max_indirection_table_length = 128;
  registers.supported_hash_types = VIRTIO_NET_RSS_HASH_TYPE_IPv4 | VIRTIO_NET_RSS_HASH_TYPE_TCPv4 |
                                   VIRTIO_NET_RSS_HASH_TYPE_UDPv4 | VIRTIO_NET_RSS_HASH_TYPE_IPv6 |
                                   VIRTIO_NET_RSS_HASH_TYPE_TCPv6 | VIRTIO_NET_RSS_HASH_TYPE_UDPv6;
  return registers;
}

SimVirtioNet::SimVirtioNet(const SimNetConfig& config)
    : SimVirtioDevice(config.identity, config.layout, config.features, config.interrupt_vectors),
      registers(config.registers),
      max_pairs_(config.max_pairs) {
  if (registers.max_virtqueue_pairs == 0) registers.max_virtqueue_pairs = config.max_pairs;
}

unsigned SimVirtioNet::queue_count() const {
  return 2U * max_pairs_ + ((offered() & feature(VIRTIO_NET_F_CTRL_VQ)) != 0 ? 1U : 0U);
}

unsigned SimVirtioNet::control_queue() const {
  // virtio 1.2, 5.1.2: after the pairs that there are with the features that were negotiated.
  return negotiated(VIRTIO_NET_F_MQ) || negotiated(VIRTIO_NET_F_RSS) ? 2U * max_pairs_ : 2U;
}

void SimVirtioNet::device_reset() { control_ = ControlState{}; }

// --- device configuration (virtio 1.2, 5.1.4) ---

namespace {

struct ConfigField {
  std::size_t offset;
  unsigned width;
  std::size_t count;
  std::uint64_t features;  // one of these must be offered for the field to be there
};

constexpr std::array<ConfigField, 9> kConfigFields{{
    {offsetof(virtio_net_config, mac), 1, 6, feature(VIRTIO_NET_F_MAC)},
    {offsetof(virtio_net_config, status), 2, 1, feature(VIRTIO_NET_F_STATUS)},
    {offsetof(virtio_net_config, max_virtqueue_pairs), 2, 1,
     feature(VIRTIO_NET_F_MQ) | feature(VIRTIO_NET_F_RSS)},
    {offsetof(virtio_net_config, mtu), 2, 1, feature(VIRTIO_NET_F_MTU)},
    {offsetof(virtio_net_config, speed), 4, 1, feature(VIRTIO_NET_F_SPEED_DUPLEX)},
    {offsetof(virtio_net_config, duplex), 1, 1, feature(VIRTIO_NET_F_SPEED_DUPLEX)},
    {offsetof(virtio_net_config, rss_max_key_size), 1, 1,
     feature(VIRTIO_NET_F_RSS) | feature(VIRTIO_NET_F_HASH_REPORT)},
    {offsetof(virtio_net_config, rss_max_indirection_table_length), 2, 1, feature(VIRTIO_NET_F_RSS)},
    {offsetof(virtio_net_config, supported_hash_types), 4, 1,
     feature(VIRTIO_NET_F_RSS) | feature(VIRTIO_NET_F_HASH_REPORT)},
}};

}  // namespace

std::uint64_t SimVirtioNet::read_device_config(std::uint64_t offset, unsigned width) {
  const auto* const field = std::ranges::find_if(kConfigFields, [&](const ConfigField& candidate) {
    return offset >= candidate.offset && offset < candidate.offset + candidate.width * candidate.count;
  });
  if (field == kConfigFields.end()) {
    violation(fmt::format("device configuration: no field at {:#x}", offset));
    return 0;
  }
  // virtio 1.2, 4.1.3.1: as wide as the field and aligned to it.
  if (width != field->width || (offset - field->offset) % field->width != 0) {
    violation(
        fmt::format("device configuration: {} bytes at {:#x}, a field of {}", width, offset, field->width));
    return 0;
  }
  if ((field->features & offered()) == 0) {  // virtio 1.2, 2.5.1
    violation(fmt::format("device configuration: field {:#x} read without its feature", offset));
  }
  std::uint64_t value = 0;
  std::memcpy(&value, reinterpret_cast<const std::byte*>(&registers) + offset, width);
  return value;
}

void SimVirtioNet::write_device_config(std::uint64_t offset, unsigned, std::uint64_t) {
  // virtio 1.2, 5.1.4: every field is read-only for a driver that accepted VERSION_1.
  violation(fmt::format("device configuration: write to {:#x}", offset));
}

bool SimVirtioNet::features_fit() {
  struct Needs {
    unsigned bit;
    std::uint64_t one_of;
  };
  // virtio 1.2, 5.1.3.1.
  const std::array<Needs, 24> rules{{
      {VIRTIO_NET_F_GUEST_TSO4, feature(VIRTIO_NET_F_GUEST_CSUM)},
      {VIRTIO_NET_F_GUEST_TSO6, feature(VIRTIO_NET_F_GUEST_CSUM)},
      {VIRTIO_NET_F_GUEST_ECN, feature(VIRTIO_NET_F_GUEST_TSO4) | feature(VIRTIO_NET_F_GUEST_TSO6)},
      {VIRTIO_NET_F_GUEST_UFO, feature(VIRTIO_NET_F_GUEST_CSUM)},
      {VIRTIO_NET_F_HOST_TSO4, feature(VIRTIO_NET_F_CSUM)},
      {VIRTIO_NET_F_HOST_TSO6, feature(VIRTIO_NET_F_CSUM)},
      {VIRTIO_NET_F_HOST_ECN, feature(VIRTIO_NET_F_HOST_TSO4) | feature(VIRTIO_NET_F_HOST_TSO6)},
      {VIRTIO_NET_F_HOST_UFO, feature(VIRTIO_NET_F_CSUM)},
      {VIRTIO_NET_F_CTRL_RX, feature(VIRTIO_NET_F_CTRL_VQ)},
      {VIRTIO_NET_F_CTRL_VLAN, feature(VIRTIO_NET_F_CTRL_VQ)},
      {VIRTIO_NET_F_CTRL_RX_EXTRA, feature(VIRTIO_NET_F_CTRL_RX)},
      {VIRTIO_NET_F_GUEST_ANNOUNCE, feature(VIRTIO_NET_F_CTRL_VQ)},
      {VIRTIO_NET_F_MQ, feature(VIRTIO_NET_F_CTRL_VQ)},
      {VIRTIO_NET_F_CTRL_MAC_ADDR, feature(VIRTIO_NET_F_CTRL_VQ)},
      {VIRTIO_NET_F_RSS, feature(VIRTIO_NET_F_CTRL_VQ)},
      {VIRTIO_NET_F_NOTF_COAL, feature(VIRTIO_NET_F_CTRL_VQ)},
      {VIRTIO_NET_F_RSC_EXT, feature(VIRTIO_NET_F_HOST_TSO4) | feature(VIRTIO_NET_F_HOST_TSO6)},
      {VIRTIO_NET_F_GUEST_USO4, feature(VIRTIO_NET_F_GUEST_CSUM)},
      {VIRTIO_NET_F_GUEST_USO6, feature(VIRTIO_NET_F_GUEST_CSUM)},
      {VIRTIO_NET_F_HOST_USO, feature(VIRTIO_NET_F_CSUM)},
      {VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, feature(VIRTIO_NET_F_CTRL_VQ)},
      {VIRTIO_NET_F_HASH_REPORT, feature(VIRTIO_NET_F_CTRL_VQ)},
      {VIRTIO_NET_F_VQ_NOTF_COAL, feature(VIRTIO_NET_F_CTRL_VQ)},
      {VIRTIO_NET_F_DEVICE_STATS, feature(VIRTIO_NET_F_CTRL_VQ)},
  }};
  for (const Needs& rule : rules) {
    if (negotiated(rule.bit) && (accepted() & rule.one_of) == 0) {
      violation(fmt::format("feature {} accepted without the one that it needs", rule.bit));
      return false;
    }
  }
  // A modern device refuses a driver that does not know the specification (virtio 1.2, 6.1), and one that
  // would bypass the IOMMU.
  const std::uint64_t required =
      offered() & (feature(VIRTIO_F_VERSION_1) | feature(VIRTIO_F_ACCESS_PLATFORM));
  return (accepted() & required) == required;
}

void SimVirtioNet::set_link(bool up) {
  const Lock lock(mutex_);
  const auto others = static_cast<std::uint16_t>(registers.status & ~VIRTIO_NET_S_LINK_UP);
  registers.status = static_cast<std::uint16_t>(others | (up ? VIRTIO_NET_S_LINK_UP : 0));
  configuration_changed();
}

void SimVirtioNet::ask_for_announcement() {
  const Lock lock(mutex_);
  registers.status |= VIRTIO_NET_S_ANNOUNCE;
  configuration_changed();
}

// --- the wire ---

SimQueue* SimVirtioNet::live_queue(unsigned index) {
  if (!running() || index >= queue_count()) return nullptr;
  SimQueue& found = queue(index);
  return found.enabled && !found.ring->broken() ? &found : nullptr;
}

std::uint16_t SimVirtioNet::rx_buffers(unsigned pair) {
  const Lock lock(mutex_);
  SimQueue* const rx = live_queue(2 * pair);
  return rx == nullptr ? std::uint16_t{0} : rx->ring->waiting();
}

std::uint16_t SimVirtioNet::tx_waiting(unsigned pair) {
  const Lock lock(mutex_);
  SimQueue* const tx = live_queue(2 * pair + 1);
  return tx == nullptr ? std::uint16_t{0} : tx->ring->waiting();
}

bool SimVirtioNet::copy_in(const SimChain& chain, std::span<const std::byte> bytes) {
  for (const SimSegment& segment : chain.segments) {
    const std::size_t part = std::min<std::size_t>(segment.length, bytes.size());
    if (part == 0) continue;
    std::byte* const to = iommu_.translate(segment.iova, part, true);
    if (to == nullptr) {
      ask_for_reset();
      return false;
    }
    std::memcpy(to, bytes.data(), part);
    bytes = bytes.subspan(part);
  }
  return bytes.empty();
}

std::optional<std::vector<std::byte>> SimVirtioNet::copy_out(const SimChain& chain) {
  std::vector<std::byte> out;
  for (const SimSegment& segment : chain.segments) {
    if (segment.device_writes) continue;
    const std::byte* const from = iommu_.translate(segment.iova, segment.length, false);
    if (from == nullptr) {
      ask_for_reset();
      return std::nullopt;
    }
    out.insert(out.end(), from, from + segment.length);
  }
  return out;
}

void SimVirtioNet::check_rx_chain(const SimChain& chain) {
  if (chain.readable() != 0) violation("RX chain with a device-readable buffer");
  // virtio 1.2, 5.1.6.3.1.
  const bool merged = negotiated(VIRTIO_NET_F_MRG_RXBUF);
  const bool long_frames = negotiated(VIRTIO_NET_F_GUEST_TSO4) || negotiated(VIRTIO_NET_F_GUEST_TSO6) ||
                           negotiated(VIRTIO_NET_F_GUEST_UFO) || negotiated(VIRTIO_NET_F_GUEST_USO4) ||
                           negotiated(VIRTIO_NET_F_GUEST_USO6);
  const std::uint64_t least = header_bytes() + (merged ? 0 : long_frames ? 65550 : 1514);
  if (chain.writable() < least) {
    violation(fmt::format("RX chain of {} bytes, at least {} needed", chain.writable(), least));
  }
}

std::vector<SimChain> SimVirtioNet::take_rx_chains(SimQueue& queue, std::size_t bytes) {
  std::vector<SimChain> chains;
  std::uint64_t room = 0;
  while (room < bytes) {
    std::optional<SimChain> chain = queue.ring->pop();
    if (!chain) break;
    check_rx_chain(*chain);
    room += chain->writable();
    chains.push_back(std::move(*chain));
    if (!negotiated(VIRTIO_NET_F_MRG_RXBUF)) break;
  }
  if (room >= bytes) return chains;
  for (auto chain = chains.rbegin(); chain != chains.rend(); ++chain) queue.ring->unpop(*chain);
  return {};
}

bool SimVirtioNet::deliver(std::span<const std::byte> frame, unsigned pair, const DeliverOptions& options) {
  const Lock lock(mutex_);
  SimQueue* const rx = live_queue(2 * pair);
  if (rx == nullptr) return false;
  const std::vector<SimChain> chains = take_rx_chains(*rx, header_bytes() + frame.size());
  note_breakage(*rx);
  if (chains.empty()) return false;

  virtio_net_hdr_v1_hash header{options.header, options.hash_value, options.hash_report, 0};
  header.hdr.num_buffers = options.num_buffers.value_or(static_cast<std::uint16_t>(chains.size()));
  std::vector<std::byte> bytes(header_bytes());
  std::memcpy(bytes.data(), &header, bytes.size());
  bytes.insert(bytes.end(), frame.begin(), frame.end());

  std::span<const std::byte> rest = bytes;
  std::uint32_t pushed = 0;
  for (const SimChain& chain : chains) {
    const auto part = static_cast<std::uint32_t>(std::min<std::uint64_t>(chain.writable(), rest.size()));
    if (!copy_in(chain, rest.first(part))) return false;
    rest = rest.subspan(part);
    if (pushed++ >= options.buffers_pushed.value_or(~0U)) continue;
    const bool first = pushed == 1;
    const std::uint32_t length = first ? options.used_length.value_or(part) : part;
    if (first && options.used_id) {
      rx->ring->push_raw(*options.used_id, length, chain.descriptors);
    } else {
      rx->ring->push(chain, length);
    }
  }
  if (options.publish) publish(*rx);
  return true;
}

bool SimVirtioNet::may_segment(std::uint8_t gso_type) const {
  switch (gso_type) {
    case VIRTIO_NET_HDR_GSO_TCPV4:
      return negotiated(VIRTIO_NET_F_HOST_TSO4);
    case VIRTIO_NET_HDR_GSO_TCPV6:
      return negotiated(VIRTIO_NET_F_HOST_TSO6);
    case VIRTIO_NET_HDR_GSO_UDP_L4:
      return negotiated(VIRTIO_NET_F_HOST_USO);
    default:
      return gso_type == VIRTIO_NET_HDR_GSO_NONE;
  }
}

void SimVirtioNet::check_tx_header(const virtio_net_hdr_v1& header, std::size_t frame) {
  // virtio 1.2, 5.1.6.2.1.
  if (header.num_buffers != 0) violation("TX header with num_buffers");
  if (!negotiated(VIRTIO_NET_F_CSUM) && header.flags != 0) violation("TX header with flags, without CSUM");
  if ((header.flags & ~VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0) violation("TX header with unknown flags");
  const bool fills = (header.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) != 0;
  if (fills && std::size_t{header.csum_start} + header.csum_offset + 2 > frame) {
    violation("TX header with a checksum outside the frame");
  }
  if (!may_segment(header.gso_type)) violation(fmt::format("TX header with gso_type {}", header.gso_type));
  if (header.gso_type == VIRTIO_NET_HDR_GSO_NONE) return;
  if (!fills) violation("TX header with gso_type, without NEEDS_CSUM");
  if (header.gso_size == 0) violation("TX header with gso_type, without gso_size");
}

std::optional<SentFrame> SimVirtioNet::fetch(unsigned pair) {
  const Lock lock(mutex_);
  SimQueue* const tx = live_queue(2 * pair + 1);
  if (tx == nullptr) return std::nullopt;
  std::optional<SimChain> chain = tx->ring->pop();
  note_breakage(*tx);
  if (!chain) return std::nullopt;
  if (pair >= control_.active_pairs) violation(fmt::format("frame on TX queue of inactive pair {}", pair));
  if (chain->writable() != 0) violation("TX chain with a device-writable buffer");
  std::optional<std::vector<std::byte>> bytes = copy_out(*chain);
  if (!bytes) return std::nullopt;
  if (bytes->size() <= header_bytes()) {
    violation(fmt::format("TX chain of {} bytes: no frame behind the header", bytes->size()));
    ask_for_reset();  // as QEMU does: "virtio-net header not in first element"
    return std::nullopt;
  }
  SentFrame sent;
  std::memcpy(&sent.header, bytes->data(), sizeof sent.header);
  sent.bytes.assign(bytes->begin() + static_cast<std::ptrdiff_t>(header_bytes()), bytes->end());
  check_tx_header(sent.header, sent.bytes.size());
  sent.segments = chain->segments.size();
  sent.chain = std::move(*chain);
  return sent;
}

void SimVirtioNet::complete(const SentFrame& frame, unsigned pair, std::uint32_t used_length,
                            bool publish_now) {
  const Lock lock(mutex_);
  SimQueue* const tx = live_queue(2 * pair + 1);
  if (tx == nullptr) return;
  tx->ring->push(frame.chain, used_length);
  if (publish_now) publish(*tx);
}

std::vector<SentFrame> SimVirtioNet::collect(unsigned pair, std::size_t limit) {
  const Lock lock(mutex_);
  std::vector<SentFrame> frames;
  while (frames.size() < limit) {
    std::optional<SentFrame> frame = fetch(pair);
    if (!frame) break;
    complete(*frame, pair, 0, false);
    frames.push_back(std::move(*frame));
  }
  if (SimQueue* const tx = live_queue(2 * pair + 1); tx != nullptr && !frames.empty()) publish(*tx);
  return frames;
}

}  // namespace spinring::sim
