// What commands beside the basic ones set up: RSS and hashes, guest offloads, coalescing, statistics.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "tests/sim/sim_virtio_net.hpp"

namespace spinring::sim {
namespace {

/// Takes little-endian values off the front of a command's data; `good` ends when there are too few bytes.
struct Reader {
  std::span<const std::uint8_t> rest;
  bool good = true;

  std::uint64_t take(std::size_t bytes) {
    if (rest.size() < bytes) {
      good = false;
      return 0;
    }
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < bytes; ++i) value |= std::uint64_t{rest[i]} << (8 * i);
    rest = rest.subspan(bytes);
    return value;
  }
  std::vector<std::uint8_t> take_key() {
    const std::size_t length = take(1);
    if (rest.size() < length) {
      good = false;
      return {};
    }
    const auto key = rest.first(length);
    rest = rest.subspan(length);
    return {key.begin(), key.end()};
  }
};

template <class Value>
void put(std::vector<std::uint8_t>& bytes, Value value) {
  for (std::size_t i = 0; i < sizeof(Value); ++i)
    bytes.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
}

/// The Toeplitz hash as its definition has it: a product of the key's Toeplitz matrix and the input, bit by
/// bit.
std::uint32_t toeplitz(const std::vector<std::uint8_t>& key, const std::vector<std::uint8_t>& input) {
  const auto bit = [](const std::vector<std::uint8_t>& bytes, std::size_t at) {
    return at / 8 < bytes.size() ? (bytes[at / 8] >> (7 - at % 8)) & 1U : 0U;
  };
  std::uint32_t hash = 0;
  for (std::size_t row = 0; row < 32; ++row) {
    unsigned sum = 0;
    for (std::size_t column = 0; column < 8 * input.size(); ++column) {
      sum ^= bit(key, row + column) & bit(input, column);
    }
    hash |= sum << (31 - row);
  }
  return hash;
}

/// What a frame may be hashed over: addresses, and ports where there are.
struct Flow {
  bool ipv6 = false;
  std::uint8_t protocol = 0;
  std::vector<std::uint8_t> addresses;
  std::vector<std::uint8_t> ports;
};

std::optional<Flow> flow_of(std::span<const std::byte> frame) {
  constexpr std::size_t kEthernet = 14;
  const auto at = [&](std::size_t i) { return std::to_integer<std::uint8_t>(frame[i]); };
  if (frame.size() < kEthernet + 40) return std::nullopt;
  Flow flow;
  const unsigned type = unsigned{at(12)} << 8U | at(13);
  if (type != 0x0800 && type != 0x86DD) return std::nullopt;
  flow.ipv6 = type == 0x86DD;
  const std::size_t from = kEthernet + (flow.ipv6 ? 8U : 12U);
  const std::size_t l4 = kEthernet + (flow.ipv6 ? 40U : (at(kEthernet) & 15U) * 4U);
  flow.protocol = at(kEthernet + (flow.ipv6 ? 6U : 9U));
  for (std::size_t i = 0; i < (flow.ipv6 ? 32U : 8U); ++i) flow.addresses.push_back(at(from + i));
  if (frame.size() >= l4 + 4 && (flow.protocol == 6 || flow.protocol == 17)) {
    for (std::size_t i = 0; i < 4; ++i) flow.ports.push_back(at(l4 + i));
  }
  return flow;
}

}  // namespace

std::uint8_t SimVirtioNet::set_hash(const Command& command) {
  const bool steers = command.number == VIRTIO_NET_CTRL_MQ_RSS_CONFIG;
  if (!steers && command.number != VIRTIO_NET_CTRL_MQ_HASH_CONFIG) return VIRTIO_NET_ERR;
  if (!negotiated(steers ? VIRTIO_NET_F_RSS : VIRTIO_NET_F_HASH_REPORT)) {
    violation(fmt::format("command {} of MQ without its feature", command.number));
    return VIRTIO_NET_ERR;
  }
  Reader data{command.data};
  HashState state{.steers = steers};
  state.types = static_cast<std::uint32_t>(data.take(4));
  if (steers) {
    const auto mask = static_cast<std::uint16_t>(data.take(2));
    state.unclassified = static_cast<std::uint16_t>(data.take(2));
    for (unsigned i = 0; data.good && i <= mask; ++i) {
      state.table.push_back(static_cast<std::uint16_t>(data.take(2)));
    }
    state.max_tx_vq = static_cast<std::uint16_t>(data.take(2));
    // virtio 1.2, 5.1.6.5.7.
    if ((mask & (mask + 1U)) != 0 || mask >= registers.rss_max_indirection_table_length) {
      violation(fmt::format("RSS_CONFIG with a table of {}", mask + 1U));
    }
    for (const std::uint16_t pair : state.table) {
      if (pair >= max_pairs_ || !queue(2U * pair).enabled)
        violation(fmt::format("RSS_CONFIG to pair {}", pair));
    }
    if (state.max_tx_vq < 1 || state.max_tx_vq > max_pairs_) violation("RSS_CONFIG with that max_tx_vq");
  } else if (data.take(8) != 0) {
    violation("HASH_CONFIG with something reserved");
  }
  state.key = data.take_key();
  if (!data.good || !data.rest.empty()) return VIRTIO_NET_ERR;
  if (state.key.size() > registers.rss_max_key_size) violation("a key longer than rss_max_key_size");
  if ((state.types & ~registers.supported_hash_types) != 0) violation("hash types that are not supported");
  if (steers) control_.active_pairs = state.max_tx_vq;
  control_.hash = std::move(state);
  return VIRTIO_NET_OK;
}

SimVirtioNet::Steering SimVirtioNet::steer(std::span<const std::byte> frame) const {
  if (!control_.hash) return {};
  const HashState& hash = *control_.hash;
  const Steering unclassified{.pair = hash.unclassified};
  const std::optional<Flow> flow = flow_of(frame);
  if (!flow) return unclassified;
  const unsigned family = flow->ipv6 ? 3 : 0;  // VIRTIO_NET_HASH_TYPE_*: IP, TCP, UDP of each, in this order
  const unsigned l4 = flow->ports.empty() ? 0 : flow->protocol == 6 ? 1 : 2;
  std::vector<std::uint8_t> input = flow->addresses;
  unsigned type = family + l4;
  if (l4 != 0 && ((hash.types >> type) & 1U) != 0) {
    input.insert(input.end(), flow->ports.begin(), flow->ports.end());
  } else {
    type = family;
  }
  if (((hash.types >> type) & 1U) == 0) return unclassified;
  const std::uint32_t value = toeplitz(hash.key, input);
  const unsigned pair = hash.steers ? hash.table[value & (hash.table.size() - 1)] : 0U;
  return {pair, value, static_cast<std::uint16_t>(type + 1)};
}

bool SimVirtioNet::deliver_steered(std::span<const std::byte> frame) {
  const Lock lock(mutex_);
  const Steering to = steer(frame);
  return deliver(frame, to.pair, {.hash_value = to.hash, .hash_report = to.report});
}

std::uint8_t SimVirtioNet::set_guest_offloads(const Command& command) {
  if (!negotiated(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS)) violation("GUEST_OFFLOADS_SET without its feature");
  Reader data{command.data};
  const std::uint64_t offloads = data.take(8);
  if (command.number != VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET || !data.good || !data.rest.empty()) {
    return VIRTIO_NET_ERR;
  }
  constexpr std::uint64_t kGuest = feature(VIRTIO_NET_F_GUEST_CSUM) | feature(VIRTIO_NET_F_GUEST_TSO4) |
                                   feature(VIRTIO_NET_F_GUEST_TSO6) | feature(VIRTIO_NET_F_GUEST_ECN) |
                                   feature(VIRTIO_NET_F_GUEST_UFO) | feature(VIRTIO_NET_F_GUEST_USO4) |
                                   feature(VIRTIO_NET_F_GUEST_USO6);
  // virtio 1.2, 5.1.6.5.8.2: a driver must not enable what was not negotiated.
  if ((offloads & ~(accepted() & kGuest)) != 0) violation(fmt::format("GUEST_OFFLOADS_SET {:#x}", offloads));
  control_.guest_offloads = offloads;
  return VIRTIO_NET_OK;
}

std::uint8_t SimVirtioNet::set_coalescing(Command& command) {
  if (command.number == VIRTIO_NET_CTRL_NOTF_COAL_VQ_SET ||
      command.number == VIRTIO_NET_CTRL_NOTF_COAL_VQ_GET) {
    return queue_coalescing(command);
  }
  if (!negotiated(VIRTIO_NET_F_NOTF_COAL)) violation("NOTF_COAL without its feature");
  if (command.number > VIRTIO_NET_CTRL_NOTF_COAL_RX_SET || command.data.size() != 8) return VIRTIO_NET_ERR;
  Reader data{command.data};
  const auto packets = static_cast<std::uint32_t>(data.take(4));
  const auto usecs = static_cast<std::uint32_t>(data.take(4));
  const unsigned first = command.number == VIRTIO_NET_CTRL_NOTF_COAL_RX_SET ? 0 : 1;
  for (unsigned pair = 0; pair < max_pairs_; ++pair) control_.coalescing[2 * pair + first] = {packets, usecs};
  return VIRTIO_NET_OK;
}

std::uint8_t SimVirtioNet::queue_coalescing(Command& command) {
  if (!negotiated(VIRTIO_NET_F_VQ_NOTF_COAL)) violation("VQ_NOTF_COAL without its feature");
  Reader data{command.data};
  const auto index = static_cast<unsigned>(data.take(2));
  if (data.take(2) != 0) violation("VQ_NOTF_COAL with something reserved");
  const auto packets = static_cast<std::uint32_t>(data.take(4));
  const auto usecs = static_cast<std::uint32_t>(data.take(4));
  if (!data.good || !data.rest.empty() || index >= 2U * max_pairs_) return VIRTIO_NET_ERR;
  if (command.number == VIRTIO_NET_CTRL_NOTF_COAL_VQ_SET) {
    control_.coalescing[index] = {packets, usecs};
  } else {
    put(command.reply, control_.coalescing[index].first);
    put(command.reply, control_.coalescing[index].second);
  }
  return VIRTIO_NET_OK;
}

// --- statistics (virtio 1.4, 5.1.6.5.9) ---

std::uint64_t SimVirtioNet::stats_types() const {
  return VIRTIO_NET_STATS_TYPE_RX_BASIC | VIRTIO_NET_STATS_TYPE_RX_CSUM | VIRTIO_NET_STATS_TYPE_RX_GSO |
         VIRTIO_NET_STATS_TYPE_TX_BASIC | VIRTIO_NET_STATS_TYPE_TX_CSUM | VIRTIO_NET_STATS_TYPE_TX_GSO |
         VIRTIO_NET_STATS_TYPE_TX_SPEED | VIRTIO_NET_STATS_TYPE_CVQ;
}

std::uint8_t SimVirtioNet::statistics(Command& command) {
  if (!negotiated(VIRTIO_NET_F_DEVICE_STATS)) violation("statistics without DEVICE_STATS");
  if (command.number == VIRTIO_NET_CTRL_STATS_QUERY) {
    if (!command.data.empty()) return VIRTIO_NET_ERR;
    put(command.reply, stats_types());
    return VIRTIO_NET_OK;
  }
  Reader data{command.data};
  const auto index = static_cast<std::uint16_t>(data.take(2));
  if (data.take(6) != 0) violation("STATS_GET with something reserved");
  const std::uint64_t types = data.take(8);
  if (command.number != VIRTIO_NET_CTRL_STATS_GET || !data.good || !data.rest.empty()) return VIRTIO_NET_ERR;
  const std::uint64_t of_queue = index == control_queue()
                                     ? VIRTIO_NET_STATS_TYPE_CVQ
                                     : std::uint64_t{index % 2U == 0 ? 0xFFFFU : 0xFFFF0000U};
  if ((types & ~(stats_types() & of_queue)) != 0) {
    violation(fmt::format("STATS_GET of types {:#x} for queue {}", types, index));
  }
  if (stats_answer) {
    command.reply = *stats_answer;
    return VIRTIO_NET_OK;
  }
  constexpr std::array<std::pair<unsigned, unsigned>, 9> kCounters{
      {{0, 6}, {1, 4}, {2, 4}, {3, 2}, {16, 6}, {17, 2}, {18, 6}, {19, 2}, {32, 2}}};
  for (const auto& [type, counters] : kCounters) {
    if (((types >> type) & 1U) == 0) continue;
    const virtio_net_stats_reply_hdr head{static_cast<std::uint8_t>(type), 0, index, 0,
                                          static_cast<std::uint16_t>(sizeof head + 8 * counters)};
    const auto* const bytes = reinterpret_cast<const std::uint8_t*>(&head);
    command.reply.insert(command.reply.end(), bytes, bytes + sizeof head);
    for (unsigned i = 0; i < counters; ++i) put(command.reply, stats_value(index, type, i));
  }
  return VIRTIO_NET_OK;
}

}  // namespace spinring::sim
