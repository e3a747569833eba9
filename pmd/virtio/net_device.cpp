#include "pmd/virtio/net_device.hpp"

#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/log.hpp"
#include "pmd/errors.hpp"
#include "pmd/virtio/wire.hpp"

namespace spinring::pmd::virtio {
namespace {

constexpr std::uint16_t kDefaultRingSize = 1024;
constexpr std::uint16_t kMinimumMtu = 68;  ///< 5.1.4.1: the device MUST set mtu to at least 68
constexpr std::uint16_t kDefaultMtu = 1500;
/// Of a device that names none: a frame's length, with its header and a VLAN tag, has 16 bits.
constexpr std::uint16_t kMostMtu = 0xFFFF - 18;
constexpr std::uint16_t kMostRssEntries = 512;  ///< so that the command fits its buffer

/// An address of our own for a device that has none: locally administered, unicast.
MacAddress random_mac() {
  MacAddress mac{};
  if (::getrandom(mac.data(), mac.size(), 0) != static_cast<ssize_t>(mac.size())) mac = {0, 0, 0, 0, 0, 1};
  mac[0] = static_cast<std::uint8_t>((mac[0] & 0xFCU) | 0x02U);
  return mac;
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
  if (auto ok = read_queue_pairs(); !ok) return ok;
  info_.max_mtu = kMostMtu;
  if (offered_.has(Feature::kMtu)) {
    info_.max_mtu = transport_->read_consistently([&] { return transport_->read_device16(kMtu); });
    if (info_.max_mtu < kMinimumMtu) {
      return fail(Errc::kBadDevice, fmt::format("virtio-net configuration: an MTU of {}", info_.max_mtu),
                  name());
    }
  }
  info_.offloads = offloads_of(offered_);
  read_hash_config();
  info_.max_rx_ring = std::bit_floor(transport_->max_queue_size(0));
  info_.max_tx_ring = std::bit_floor(transport_->max_queue_size(1));
  return {};
}

Result<void> NetDevice::read_queue_pairs() {
  std::uint16_t pairs = 1;
  const bool own_pairs = transport_->enables_pairs_itself();
  if (offered_.has(Feature::kMultiQueue) && (own_pairs || offered_.has(Feature::kControlQueue))) {
    pairs = transport_->read_consistently(
        [&] { return transport_->read_device16(net_config::kMaxVirtqueuePairs); });
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
  return {};
}

/// 5.1.4.1: a key of at least 40 bytes, some types, a table. RSS of a device that has less is not offered.
void NetDevice::read_hash_config() {
  using namespace net_config;
  const Offloads hashing = Offload::kRss | Offload::kRxHash;
  if ((info_.offloads & hashing).empty()) return;
  const std::uint8_t key_bytes = transport_->read_device8(kRssMaxKeySize);
  hash_types_ = transport_->read_consistently([&] { return transport_->read_device32(kHashTypes); });
  if (key_bytes < kRssKeyBytes || hash_types_ == 0) {
    log(LogLevel::kWarning, fmt::format("{}: RSS with a key of {} bytes and types {:#x} is not used", name(),
                                        key_bytes, hash_types_));
    info_.offloads = info_.offloads.without(hashing);
  }
  if (!info_.offloads.has(Offload::kRss)) return;
  const std::uint16_t entries =
      transport_->read_consistently([&] { return transport_->read_device16(kRssMaxTable); });
  info_.rss_table = std::min(std::bit_floor(entries), kMostRssEntries);
  if (info_.rss_table == 0) info_.offloads = info_.offloads.without(Offload::kRss);
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

Result<void> NetDevice::check_request(const StartRequest& request) const {
  if (const Offloads missing = request.offloads.without(info_.offloads); !missing.empty()) {
    return fail(
        Errc::kUnsupported, fmt::format("offloads: {}", pmd::to_string(missing)), name(), 0,
        fmt::format("The device offers: {}. In QEMU they need a netdev that knows them, such as tap with "
                    "vnet_hdr=on; rss=on and hash=on for RSS; mrg_rxbuf=on for rx-coalesce",
                    pmd::to_string(info_.offloads)));
  }
  if (request.mtu != 0 && (request.mtu < kMinimumMtu || request.mtu > info_.max_mtu)) {
    return fail(Errc::kBadArgument, fmt::format("an MTU of {}", request.mtu), name(), 0,
                fmt::format("The device takes {} to {}; in QEMU host_mtu= sets the latter", kMinimumMtu,
                            info_.max_mtu));
  }
  return request.offloads.has(Offload::kRss) ? check_rss(request.rss, request.queue_pairs) : Result<void>{};
}

std::uint16_t NetDevice::mtu(const StartRequest& request) const noexcept {
  if (request.mtu != 0) return request.mtu;
  return offered_.has(Feature::kMtu) ? info_.max_mtu : kDefaultMtu;
}

Result<void> NetDevice::check_queue_reset() const {
  if (negotiated_.has(Feature::kRingReset)) return {};
  return fail(Errc::kUnsupported, "resetting one queue: RING_RESET was not negotiated", name(), 0,
              "Stop and start the port; in QEMU queue_reset=on offers it");
}

Result<void> NetDevice::negotiate(const StartRequest& request) {
  if (auto reset = transport_->reset(); !reset) return reset;
  transport_->add_status(common::DeviceStatus::kAcknowledge(1));
  transport_->add_status(common::DeviceStatus::kDriver(1));
  offered_ = transport_->device_features();
  negotiated_ = virtio::negotiate(offered_, {.own_queue_pairs = transport_->enables_pairs_itself(),
                                             .vlan_filter = request.vlan_filter,
                                             .offloads = request.offloads,
                                             .whole_mtu = request.mtu == 0 || request.mtu == info_.max_mtu});
  if (!negotiated_.has(Feature::kVersion1))
    return fail(Errc::kFeature, "VIRTIO_F_VERSION_1 is no longer offered", name());
  if (request.queue_pairs > 1 && !negotiated_.has(Feature::kMultiQueue))
    return fail(Errc::kFeature, "VIRTIO_NET_F_MQ is no longer offered", name());
  if (const Offloads gone = request.offloads.without(offloads_of(negotiated_)); !gone.empty())
    return fail(Errc::kFeature, fmt::format("no longer offered: {}", pmd::to_string(gone)), name());
  if (auto ok = check_platform(negotiated_); !ok) return ok;
  if (auto accepted = transport_->accept_features(negotiated_); !accepted) return accepted;
  queue_pairs_ = request.queue_pairs;
  offloads_ = request.offloads;
  log(LogLevel::kDebug, fmt::format("{}: virtio features {}", name(), to_string(negotiated_)));
  return transport_->set_dma(true);
}

/// 2.8.10.1: a packed ring of a device need not be a power of two, and the driver may ask for less. Ours are:
/// a slot is then a mask of a free-running index, and the loops have no comparison for each descriptor.
std::uint16_t NetDevice::largest_ring(std::uint16_t index) {
  const std::uint16_t most = transport_->max_queue_size(index);
  return negotiated_.has(Feature::kRingPacked) ? std::bit_floor(most) : most;
}

Result<std::uint16_t> NetDevice::ring_size(std::uint16_t index, std::uint16_t wanted) {
  const std::uint16_t most = largest_ring(index);
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
  if (request.offloads.has(Offload::kRss)) {
    if (auto set = set_rss(request.rss); !set) return set;  // sets the number of queues too
  } else {
    if (auto set = set_queue_pairs(request.queue_pairs); !set) return set;
    if (auto set = request.offloads.has(Offload::kRxHash) ? set_hash(request.rss) : Result<void>{}; !set)
      return set;
  }
  if (negotiated_.has(Feature::kControlRx)) return set_promiscuous(request.promiscuous);
  return {};
}

/// 5.1.2: it comes after all queue pairs that the device could have.
std::uint16_t NetDevice::control_queue_index() const noexcept {
  const bool several = negotiated_.has(Feature::kMultiQueue) || negotiated_.has(Feature::kRss);
  return static_cast<std::uint16_t>(several ? 2 * info_.max_rx_queues : 2);
}

Result<void> NetDevice::enable_control_queue() {
  if (!negotiated_.has(Feature::kControlQueue)) return {};
  const std::uint16_t index = control_queue_index();
  const std::uint16_t size = std::min(largest_ring(index), ControlQueue::kMaxSize);
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

void NetDevice::stop() noexcept {
  running_ = false;
  auto reset = transport_->shut_down();
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

}  // namespace spinring::pmd::virtio
