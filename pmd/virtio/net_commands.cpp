// Commands of a running network device: virtio 1.2, 5.1.6.5.

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <vector>

#include "base/log.hpp"
#include "pmd/errors.hpp"
#include "pmd/virtio/net_device.hpp"
#include "pmd/virtio/wire.hpp"

namespace spinring::pmd::virtio {
namespace {

std::span<const std::byte> as_data(const void* data, std::size_t bytes) {
  return {static_cast<const std::byte*>(data), bytes};
}

/// Appends a value as it lies on the wire.
template <class Value>
void append(std::vector<std::byte>& data, const Value& value) {
  const auto bytes = as_data(&value, sizeof(value));
  data.insert(data.end(), bytes.begin(), bytes.end());
}

/// The end of both hash commands: hash_key_length, hash_key_data.
void append_key(std::vector<std::byte>& data, const RssConfig& rss) {
  append(data, static_cast<std::uint8_t>(rss.key.size()));
  append(data, rss.key);
}

CoalescingData on_wire(Coalescing wanted) { return {wanted.max_packets, wanted.max_usecs}; }

}  // namespace

Result<void> NetDevice::control(Feature needed, ControlHeader header, std::span<const std::byte> data,
                                const char* what, std::span<std::byte> reply) {
  if (!running_) return fail(Errc::kBadState, what, name(), 0, "Start the port first");
  if (!control_ || !negotiated_.has(needed)) {
    return fail(Errc::kUnsupported,
                fmt::format("{}: {} was not negotiated", what, to_string(FeatureSet().with(needed))), name());
  }
  return control_->command(header, data, what, reply);
}

Result<void> NetDevice::set_promiscuous(bool on) {
  const std::uint8_t data = on ? 1 : 0;
  return control(Feature::kControlRx, control::kPromiscuous, as_data(&data, 1), "setting promiscuous mode");
}

Result<void> NetDevice::set_all_multicast(bool on) {
  const std::uint8_t data = on ? 1 : 0;
  return control(Feature::kControlRx, control::kAllMulticast, as_data(&data, 1),
                 "setting all-multicast mode");
}

Result<void> NetDevice::set_mac(const MacAddress& mac) {
  if ((mac[0] & 1U) != 0)
    return fail(Errc::kBadArgument,
                fmt::format("setting the address {}: it is a multicast address", pmd::to_string(mac)),
                name());
  return control(Feature::kControlMac, control::kMacAddress, as_data(mac.data(), mac.size()),
                 "setting the MAC address");
}

/// 5.1.6.5.2: two tables, unicast then multicast, each a count and its addresses.
Result<void> NetDevice::set_mac_filter(std::span<const MacAddress> addresses) {
  std::vector<std::byte> data;
  for (const unsigned multicast : {0U, 1U}) {
    const auto matches = [&](const MacAddress& mac) { return (mac[0] & 1U) == multicast; };
    const Le32 count = static_cast<std::uint32_t>(std::count_if(addresses.begin(), addresses.end(), matches));
    const auto bytes = as_data(&count, sizeof(count));
    data.insert(data.end(), bytes.begin(), bytes.end());
    for (const MacAddress& mac : addresses) {
      const auto address = as_data(mac.data(), mac.size());
      if (matches(mac)) data.insert(data.end(), address.begin(), address.end());
    }
  }
  if (data.size() > ControlQueue::kMaxData)
    return fail(Errc::kBadArgument, "setting the MAC filter: too many addresses", name());
  return control(Feature::kControlRx, control::kMacTable, data, "setting the MAC filter");
}

Result<void> NetDevice::set_vlan_filter(std::uint16_t vlan_id, bool on) {
  if (vlan_id > 4095)
    return fail(Errc::kBadArgument, fmt::format("VLAN filter: VLAN {}", vlan_id), name(), 0,
                "A VLAN id is 0 to 4095");
  const Le16 data = vlan_id;
  return control(Feature::kControlVlan, on ? control::kVlanAdd : control::kVlanDelete,
                 as_data(&data, sizeof(data)), "setting the VLAN filter");
}

Result<void> NetDevice::set_queue_pairs(std::uint16_t pairs) {
  if (pairs == 1 || transport_->enables_pairs_itself()) return {};
  const Le16 data = pairs;
  return control(Feature::kMultiQueue, control::kQueuePairs, as_data(&data, sizeof(data)),
                 "setting the number of queue pairs");
}

LinkState NetDevice::link() {
  using namespace net_config;
  LinkState state{.up = true};
  if (offered_.has(Feature::kStatus)) {
    const std::uint16_t status =
        transport_->read_consistently([&] { return transport_->read_device16(kStatus); });
    state.up = (status & kStatusLinkUp) != 0;
    if (running_ && negotiated_.has(Feature::kGuestAnnounce) && (status & kStatusAnnounce) != 0)
      answer_announcement();
  }
  if (offered_.has(Feature::kSpeedDuplex)) {
    const std::uint32_t speed =
        transport_->read_consistently([&] { return transport_->read_device32(kSpeed); });
    if (speed != kSpeedUnknown) state.speed_mbps = speed;
    state.full_duplex = transport_->read_device8(kDuplex) != 0;
  }
  return state;
}

/// 5.1.6.5.4.
void NetDevice::answer_announcement() {
  const auto answered = control(Feature::kGuestAnnounce, control::kAnnounceAck, {}, "answering ANNOUNCE");
  if (answered) {
    ++announcements_;
  } else {
    log(LogLevel::kWarning, answered.error().message());
  }
}

/// 5.1.6.5.8: the bits are those of the features.
Result<void> NetDevice::set_rx_offloads(Offloads on) {
  const Offloads received =
      offloads_ & (Offload::kRxChecksum | Offload::kRxCoalesce | Offload::kRxCoalesceUdp);
  if (const Offloads others = on.without(received); !others.empty()) {
    return fail(Errc::kBadArgument, fmt::format("changing offloads: {}", pmd::to_string(others)), name(), 0,
                fmt::format("The port was started with: {}", pmd::to_string(received)));
  }
  const Le64 data = features_for(on).common(negotiated_).bits();
  return control(Feature::kControlGuestOffloads, control::kGuestOffloads, as_data(&data, sizeof(data)),
                 "changing offloads");
}

Result<void> NetDevice::check_rss(const RssConfig& rss, std::uint16_t queues) const {
  if ((rss.types & hash_types_) == 0) {
    return fail(Errc::kUnsupported, fmt::format("RSS over types {:#x}", rss.types), name(), 0,
                fmt::format("The device knows {:#x}", hash_types_));
  }
  if (rss.table.empty()) return {};
  if (rss.table.size() > info_.rss_table || !std::has_single_bit(rss.table.size())) {
    return fail(Errc::kBadArgument, fmt::format("an RSS table of {} entries", rss.table.size()), name(), 0,
                fmt::format("A power of two up to {}", info_.rss_table));
  }
  const auto outside = [&](std::uint16_t queue) { return queue >= queues; };
  if (const auto bad = std::find_if(rss.table.begin(), rss.table.end(), outside); bad != rss.table.end()) {
    return fail(Errc::kBadArgument, fmt::format("an RSS table with queue {}", *bad), name(), 0,
                fmt::format("The port has {} rx queues", queues));
  }
  return {};
}

/// 5.1.6.5.7.1 (VIRTIO_NET_CTRL_MQ_RSS_CONFIG): types, table, number of queues, key. What cannot be hashed
/// goes to queue 0.
Result<void> NetDevice::set_rss(const RssConfig& rss) {
  if (auto ok = check_rss(rss, queue_pairs_); !ok) return ok;
  std::vector<std::uint16_t> table = rss.table;
  if (table.empty()) {
    constexpr std::uint16_t kUsualEntries = 128;
    const std::uint16_t least = std::bit_ceil(queue_pairs_);
    table.resize(std::min<std::uint16_t>(info_.rss_table, std::max(least, kUsualEntries)));
    for (std::size_t i = 0; i < table.size(); ++i) table[i] = static_cast<std::uint16_t>(i % queue_pairs_);
  }
  std::vector<std::byte> data;
  append(data, Le32(rss.types & hash_types_));
  append(data, Le16(static_cast<std::uint16_t>(table.size() - 1)));
  append(data, Le16(0));
  for (const std::uint16_t queue : table) append(data, Le16(queue));
  append(data, Le16(queue_pairs_));
  append_key(data, rss);
  return control(Feature::kRss, control::kRssConfig, data, "setting RSS");
}

/// 5.1.6.5.6.4 (VIRTIO_NET_CTRL_MQ_HASH_CONFIG): hashes are reported and steer nothing.
Result<void> NetDevice::set_hash(const RssConfig& rss) {
  std::vector<std::byte> data;
  append(data, Le32(rss.types & hash_types_));
  append(data, Le64(0));  // reserved
  append_key(data, rss);
  return control(Feature::kHashReport, control::kHashConfig, data, "setting the hash");
}

Result<void> NetDevice::set_coalescing(Direction direction, Coalescing wanted) {
  const CoalescingData data = on_wire(wanted);
  const bool rx = direction == Direction::kRx;
  return control(Feature::kNotifyCoalescing, rx ? control::kCoalesceRx : control::kCoalesceTx,
                 as_data(&data, sizeof(data)), "setting notification coalescing");
}

Result<void> NetDevice::set_queue_coalescing(std::uint16_t index, Coalescing wanted) {
  const QueueCoalescingData data{index, 0, on_wire(wanted)};
  return control(Feature::kQueueCoalescing, control::kCoalesceQueueSet, as_data(&data, sizeof(data)),
                 "setting notification coalescing of one queue");
}

Result<Coalescing> NetDevice::queue_coalescing(std::uint16_t index) {
  const QueueCoalescingData data{index, 0, {}};
  CoalescingData now{};
  auto answered = control(Feature::kQueueCoalescing, control::kCoalesceQueueGet, as_data(&data, sizeof(data)),
                          "reading notification coalescing", std::as_writable_bytes(std::span(&now, 1)));
  if (!answered) return fail(std::move(answered));
  return Coalescing{now.max_packets, now.max_usecs};
}

}  // namespace spinring::pmd::virtio
