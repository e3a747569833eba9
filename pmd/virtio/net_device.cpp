#include "pmd/virtio/net_device.hpp"

#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "base/log.hpp"
#include "pmd/errors.hpp"
#include "pmd/virtio/wire.hpp"

namespace spinring::pmd::virtio {
namespace {

constexpr std::uint16_t kDefaultRingSize = 1024;
constexpr std::uint16_t kMinimumMtu = 68;  ///< 5.1.4.1: the device MUST set mtu to at least 68
constexpr std::uint16_t kDefaultMtu = 1500;

/// An address of our own for a device that has none: locally administered, unicast.
MacAddress random_mac() {
  MacAddress mac{};
  if (::getrandom(mac.data(), mac.size(), 0) != static_cast<ssize_t>(mac.size())) mac = {0, 0, 0, 0, 0, 1};
  mac[0] = static_cast<std::uint8_t>((mac[0] & 0xFCU) | 0x02U);
  return mac;
}

std::span<const std::byte> as_data(const void* data, std::size_t bytes) {
  return {static_cast<const std::byte*>(data), bytes};
}

}  // namespace

Result<NetDevice> NetDevice::open(std::unique_ptr<Transport> transport, mempool::Memory& memory) {
  NetDevice device(std::move(transport), memory);
  if (auto identified = device.identify(); !identified) return fail(std::move(identified));
  return device;
}

Result<void> NetDevice::identify() {
  if (auto reset = transport_->reset(); !reset) return reset;
  transport_->add_status(common::DeviceStatus::kAcknowledge(1));
  transport_->add_status(common::DeviceStatus::kDriver(1));
  offered_ = transport_->device_features();
  if (!offered_.has(Feature::kVersion1)) {
    return fail(Errc::kFeature, "virtio feature negotiation: VIRTIO_F_VERSION_1 is not offered", name(), 0,
                "In QEMU start the device with disable-legacy=on");
  }
  if (auto ok = check_platform(offered_); !ok) return ok;
  info_.name = name();
  info_.driver = "virtio-net";
  info_.iommu_group = transport_->iommu_group();
  info_.numa_node = transport_->numa_node();
  // QUIRK(QEMU): num_queues counts the queues of further pairs only once MQ was accepted. So accept, read,
  // and start over.
  const Wishes wishes{.own_queue_pairs = transport_->enables_pairs_itself()};
  if (auto ok = transport_->accept_features(virtio::negotiate(offered_, wishes)); !ok) return ok;
  if (auto read = read_config(); !read) return read;
  return transport_->reset();
}

/// Without ACCESS_PLATFORM a device goes around the IOMMU and takes IOVAs for physical addresses (section 6):
/// it would write into memory that is not ours.
Result<void> NetDevice::check_platform(FeatureSet offered) const {
  if (transport_->iommu_group() < 0 || offered.has(Feature::kAccessPlatform)) return {};
  return fail(Errc::kFeature,
              "virtio feature negotiation: the device does not offer VIRTIO_F_ACCESS_PLATFORM", name(), 0,
              "It would bypass the IOMMU. In QEMU start it with iommu_platform=on");
}

Result<void> NetDevice::read_config() {
  using namespace net_config;
  info_.mac = random_mac();
  if (offered_.has(Feature::kMac)) {
    info_.mac = transport_->read_consistently([&] {
      MacAddress mac{};
      for (std::size_t i = 0; i < mac.size(); ++i) mac[i] = transport_->read_device8(kMac + i);
      return mac;
    });
    // No address of a NIC: all zeros, or a group's.
    if ((info_.mac[0] & 1U) != 0 || info_.mac == MacAddress{}) info_.mac = random_mac();
  }
  std::uint16_t pairs = 1;
  const bool own_pairs = transport_->enables_pairs_itself();
  if (offered_.has(Feature::kMultiQueue) && (own_pairs || offered_.has(Feature::kControlQueue))) {
    pairs = transport_->read_consistently([&] { return transport_->read_device16(kMaxVirtqueuePairs); });
    if (pairs == 0 || pairs > kMaxQueuePairs ||
        2U * pairs + (own_pairs ? 0U : 1U) > transport_->queue_count()) {
      return fail(Errc::kBadDevice,
                  fmt::format("virtio-net configuration: max_virtqueue_pairs {} with {} queues", pairs,
                              transport_->queue_count()),
                  name());
    }
  }
  if (transport_->queue_count() < 2) {
    return fail(Errc::kBadDevice,
                fmt::format("virtio-net configuration: {} queues", transport_->queue_count()), name());
  }
  info_.max_rx_queues = pairs;
  info_.max_tx_queues = pairs;
  info_.max_mtu = kDefaultMtu;
  if (offered_.has(Feature::kMtu)) {
    info_.max_mtu = transport_->read_consistently([&] { return transport_->read_device16(kMtu); });
    if (info_.max_mtu < kMinimumMtu) {
      return fail(Errc::kBadDevice, fmt::format("virtio-net configuration: an MTU of {}", info_.max_mtu),
                  name());
    }
  }
  info_.offloads = offloads_of(offered_);
  info_.max_rx_ring = transport_->max_queue_size(0);
  info_.max_tx_ring = transport_->max_queue_size(1);
  return {};
}

Result<void> NetDevice::check_queue_counts(std::size_t rx, std::size_t tx) const {
  const auto refuse = [&](const char* cure) {
    return fail(Errc::kBadArgument,
                fmt::format("{} rx and {} tx queues; the device has {} of each", rx, tx, info_.max_rx_queues),
                name(), 0, cure);
  };
  if (rx == 0 || tx == 0) return refuse("Ask for at least one of each");
  if (rx > info_.max_rx_queues || tx > info_.max_tx_queues) {
    return refuse("Ask for fewer, or in QEMU start the device with mq=on and a netdev of more queues");
  }
  // The device receives on as many queues as there are pairs: one without buffers would lose frames.
  if (tx > rx) return refuse("virtio-net has queues in pairs: ask for as many rx queues as tx queues");
  return {};
}

Result<void> NetDevice::check_offloads(Offloads asked) const {
  const Offloads missing = asked.without(info_.offloads);
  if (missing.empty()) return {};
  return fail(
      Errc::kUnsupported, fmt::format("offloads: {}", pmd::to_string(missing)), name(), 0,
      fmt::format("The device offers: {}. In QEMU they need a netdev that knows them, such as tap with "
                  "vnet_hdr=on, rss=on and hash=on; rx-coalesce needs mrg_rxbuf=on",
                  pmd::to_string(info_.offloads)));
}

Result<void> NetDevice::negotiate(const StartRequest& request) {
  if (auto reset = transport_->reset(); !reset) return reset;
  transport_->add_status(common::DeviceStatus::kAcknowledge(1));
  transport_->add_status(common::DeviceStatus::kDriver(1));
  offered_ = transport_->device_features();
  negotiated_ = virtio::negotiate(offered_, {.own_queue_pairs = transport_->enables_pairs_itself(),
                                             .vlan_filter = request.vlan_filter,
                                             .offloads = request.offloads});
  if (!negotiated_.has(Feature::kVersion1))
    return fail(Errc::kFeature, "VIRTIO_F_VERSION_1 is no longer offered", name());
  if (request.queue_pairs > 1 && !negotiated_.has(Feature::kMultiQueue))
    return fail(Errc::kFeature, "VIRTIO_NET_F_MQ is no longer offered", name());
  if (const Offloads gone = request.offloads.without(offloads_of(negotiated_)); !gone.empty())
    return fail(Errc::kFeature, fmt::format("no longer offered: {}", pmd::to_string(gone)), name());
  if (auto ok = check_platform(negotiated_); !ok) return ok;
  if (auto accepted = transport_->accept_features(negotiated_); !accepted) return accepted;
  queue_pairs_ = request.queue_pairs;
  log(LogLevel::kDebug, fmt::format("{}: virtio features {}", name(), to_string(negotiated_)));
  return transport_->set_dma(true);
}

Result<std::uint16_t> NetDevice::ring_size(std::uint16_t index, std::uint16_t wanted) {
  const std::uint16_t most = transport_->max_queue_size(index);
  if (!is_ring_size(most) || most > kMaxQueueSize) {
    return fail(Errc::kBadDevice, fmt::format("queue {}: a size of {}", index, most), name());
  }
  if (wanted == 0) return std::min(most, kDefaultRingSize);
  if (!is_ring_size(wanted) || wanted > most) {
    return fail(Errc::kBadArgument, fmt::format("queue {}: a ring of {} entries", index, wanted), name(), 0,
                fmt::format("The ring size must be a power of two up to {}{}", most,
                            wanted > most ? "; in QEMU rx_queue_size= and tx_queue_size= raise that" : ""));
  }
  return wanted;
}

Result<Doorbell> NetDevice::enable_queue(std::uint16_t index, std::uint16_t size,
                                         const QueueAddresses& addresses) {
  return transport_->enable_queue(index, size, addresses);
}

Result<void> NetDevice::run(const StartRequest& request) {
  if (negotiated_.has(Feature::kStatus)) {
    auto armed = transport_->arm_config_event();
    if (!armed) return fail(std::move(armed));
  }
  if (auto enabled = enable_control_queue(); !enabled) return enabled;
  transport_->add_status(common::DeviceStatus::kDriverOk(1));
  running_ = true;
  if (auto ok = check(); !ok) return ok;
  if (auto set = set_queue_pairs(request.queue_pairs); !set) return set;
  if (negotiated_.has(Feature::kControlRx)) return set_promiscuous(request.promiscuous);
  return {};
}

Result<void> NetDevice::enable_control_queue() {
  if (!negotiated_.has(Feature::kControlQueue)) return {};
  // 5.1.2: it comes after all queue pairs that the device could have.
  const auto index =
      static_cast<std::uint16_t>(negotiated_.has(Feature::kMultiQueue) ? 2 * info_.max_rx_queues : 2);
  const std::uint16_t size = std::min(transport_->max_queue_size(index), ControlQueue::kMaxSize);
  if (!is_ring_size(size) || size < ControlQueue::kMinSize) {
    return fail(Errc::kBadDevice, fmt::format("control queue {}: a size of {}", index, size), name());
  }
  auto queue = ControlQueue::create(*memory_, dma(), negotiated_, name(), index, size);
  if (!queue) return fail(std::move(queue));
  control_.emplace(std::move(*queue));
  auto doorbell = transport_->enable_queue(index, size, control_->addresses());
  if (!doorbell) return fail(std::move(doorbell));
  control_->set_doorbell(*doorbell);
  return {};
}

Result<void> NetDevice::set_queue_pairs(std::uint16_t pairs) {
  if (pairs == 1 || transport_->enables_pairs_itself()) return {};
  const Le16 data = pairs;
  return control(Feature::kMultiQueue, control::kQueuePairs, as_data(&data, sizeof(data)),
                 "setting the number of queue pairs");
}

void NetDevice::stop() noexcept {
  running_ = false;
  auto reset = transport_->reset();
  if (!reset) log(LogLevel::kWarning, reset.error().message());
  auto off = transport_->set_dma(false);
  if (!off) log(LogLevel::kWarning, off.error().message());
  control_.reset();
}

Result<void> NetDevice::check() const {
  const common::DeviceStatus status = transport_->status();
  if (status.raw == 0xFF) return fail(Errc::kRemoved, "device status: all ones", name());
  if (!running_) return {};
  if (common::DeviceStatus::kNeedsReset.get(status) != 0) {
    return fail(Errc::kDeviceFault, "device status: DEVICE_NEEDS_RESET", name(), 0, "Restart the port");
  }
  if (common::DeviceStatus::kDriverOk.get(status) == 0) {
    return fail(Errc::kDeviceFault,
                fmt::format("device status {:#x}: it has been reset by somebody else", status.raw), name(), 0,
                "Restart the port");
  }
  return {};
}

LinkState NetDevice::link() const {
  using namespace net_config;
  LinkState state{.up = true};
  if (offered_.has(Feature::kStatus)) {
    state.up = (transport_->read_consistently([&] { return transport_->read_device16(kStatus); }) &
                kStatusLinkUp) != 0;
  }
  if (offered_.has(Feature::kSpeedDuplex)) {
    const std::uint32_t speed =
        transport_->read_consistently([&] { return transport_->read_device32(kSpeed); });
    if (speed != kSpeedUnknown) state.speed_mbps = speed;
    state.full_duplex = transport_->read_device8(kDuplex) != 0;
  }
  return state;
}

Result<void> NetDevice::control(Feature needed, ControlHeader header, std::span<const std::byte> data,
                                const char* what) {
  if (!running_) return fail(Errc::kBadState, what, name(), 0, "Start the port first");
  if (!control_ || !negotiated_.has(needed)) {
    return fail(Errc::kUnsupported,
                fmt::format("{}: {} was not negotiated", what, to_string(FeatureSet().with(needed))), name());
  }
  return control_->command(header, data, what);
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

}  // namespace spinring::pmd::virtio
