#include "pmd/virtio/vhost_user/transport.hpp"

#include <fmt/format.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <chrono>
#include <utility>

#include "base/log.hpp"
#include "pmd/errors.hpp"
#include "pmd/virtio/wire.hpp"

namespace spinring::pmd::virtio::vhost_user {
namespace {

using namespace std::chrono_literals;

constexpr auto kConnectTimeout = 10s;

/// What a switch does for the data path (virtio 1.2, 5.1.3 and section 6). The rest of what it offers belongs
/// to the front end or to an emulated device.
constexpr FeatureSet from_back_end() {
  std::uint64_t bits = FeatureSet()
                           .with(Feature::kMergeableRx)
                           .with(Feature::kMultiQueue)
                           .with(Feature::kVersion1)
                           .with(Feature::kOrderPlatform)
                           .with(Feature::kRingPacked)
                           .with(Feature::kInOrder)
                           .bits();
  // CSUM, GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, HOST_TSO4, HOST_TSO6, INDIRECT_DESC, EVENT_IDX,
  // GUEST_USO4, GUEST_USO6, HOST_USO.
  for (const unsigned bit : {0U, 1U, 7U, 8U, 11U, 12U, 28U, 29U, 54U, 55U, 56U}) bits |= 1ULL << bit;
  return FeatureSet(bits);
}
constexpr FeatureSet kFromBackEnd = from_back_end();

/// SET_VRING_BASE of a packed ring at its start.
constexpr std::uint32_t kPackedBase = 0x8000'8000;

/// The doorbell of a queue whose device is another process. A kick that cannot be written means that the
/// counter is full: the switch has been told.
void kick(void* context, std::uint32_t /*queue*/) {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(*static_cast<int*>(context), &one, sizeof(one));
}

}  // namespace

Result<std::unique_ptr<Transport>> VhostUserTransport::create(const Config& config, mempool::Memory& memory) {
  if (!is_ring_size(config.queue_size) || config.queue_size > kMaxQueueSize) {
    return fail(Errc::kBadArgument, fmt::format("queue_size={}", config.queue_size), config.name, 0,
                fmt::format("It must be a power of two up to {}", kMaxQueueSize));
  }
  std::unique_ptr<VhostUserTransport> transport(new VhostUserTransport(config));
  auto attachment = memory.attach(transport->memory_table_);
  if (!attachment) return fail(std::move(attachment));
  transport->attachment_ = std::move(*attachment);
  if (auto ok = transport->attach_channel(); !ok) return fail(std::move(ok));
  return transport;
}

VhostUserTransport::~VhostUserTransport() {
  if (listener_) ::unlink(config_.path.c_str());
}

Result<Channel> VhostUserTransport::open_channel(Deadline deadline) {
  if (!config_.server) return Channel::connect(config_.path, deadline);
  if (!listener_) {
    auto listener = Channel::listen(config_.path);
    if (!listener) return fail(std::move(listener));
    listener_ = std::move(*listener);
  }
  // Switches that came and went while nobody looked wait in the line as well.
  auto channel = Channel::accept(listener_.get(), config_.path, deadline);
  while (channel && !channel->connected()) channel = Channel::accept(listener_.get(), config_.path, deadline);
  return channel;
}

/// Waits for the first connection alone; later ones are there or not, and the port's owner tries again.
Result<void> VhostUserTransport::attach_channel() {
  if (!arrived_) {
    auto channel = open_channel(Deadline(connections_ == 0 ? Clock::duration(kConnectTimeout) : 0s));
    if (!channel) return fail(std::move(channel));
    arrived_.emplace(std::move(*channel));
  }
  channel_ = std::exchange(arrived_, std::nullopt);
  auto learned = learn_features();
  if (learned) {
    ++connections_;
  } else {
    channel_.reset();
  }
  return learned;
}

bool VhostUserTransport::may_reset() {
  if (connected()) return true;
  if (arrived_ && !arrived_->connected()) arrived_.reset();
  if (!arrived_) {
    if (auto channel = open_channel(Deadline(0s))) arrived_.emplace(std::move(*channel));
  }
  return arrived_.has_value();
}

Result<void> VhostUserTransport::learn_features() {
  const auto ask = [&](Request request, std::uint64_t& value) {
    return channel_->ask(request, {}, std::as_writable_bytes(std::span(&value, 1)));
  };
  if (auto ok = ask(Request::kGetFeatures, back_end_features_); !ok) return ok;
  protocol_features_ = 0;
  std::uint64_t pairs = 1;
  if ((back_end_features_ & kProtocolFeaturesBit) != 0) {
    if (auto ok = ask(Request::kGetProtocolFeatures, protocol_features_); !ok) return ok;
    protocol_features_ &= kProtocolMultiQueue | kProtocolReplyAck;
    if (auto ok = channel_->send(Request::kSetProtocolFeatures, protocol_features_, false); !ok) return ok;
    if ((protocol_features_ & kProtocolMultiQueue) != 0) {
      if (auto ok = ask(Request::kGetQueueNum, pairs); !ok) return ok;
    }
  }
  if (auto ok = channel_->send(Request::kSetOwner, {}, {}, false); !ok) return ok;
  if (config_.queue_pairs > pairs) {
    return fail(Errc::kBadArgument, fmt::format("queues={}: the back end has {}", config_.queue_pairs, pairs),
                name(), 0, "Ask for fewer, or configure more in the switch");
  }
  const FeatureSet wanted(kFromBackEnd.bits() & ~config_.unwanted().bits());
  offered_ = FeatureSet(back_end_features_).common(wanted).with(Feature::kStatus);
  if (config_.mac) offered_ = offered_.with(Feature::kMac);
  return {};
}

Result<void> VhostUserTransport::reset() {
  if (auto down = shut_down(); !down) return down;
  return channel_ ? Result<void>{} : attach_channel();
}

Result<void> VhostUserTransport::shut_down() {
  status_ = {};
  failed_ = false;
  if (!connected()) channel_.reset();
  // "GET_VRING_BASE stops the ring": once it is answered, the switch does not touch the queue any more.
  for (const auto& vring : vrings_) {
    if (!channel_) break;
    VringState state{vring->index, 0};
    auto stopped = channel_->ask(Request::kGetVringBase, std::as_bytes(std::span(&state, 1)),
                                 std::as_writable_bytes(std::span(&state, 1)));
    // A switch that does not stop in order is cut off: closing the socket stops it.
    if (!stopped) channel_.reset();
  }
  vrings_.clear();
  return {};
}

common::DeviceStatus VhostUserTransport::status() const {
  const bool running = common::DeviceStatus::kDriverOk.get(status_) != 0;
  if (running && (failed_ || !connected())) return status_ | common::DeviceStatus::kNeedsReset(1);
  return status_;
}

void VhostUserTransport::add_status(common::DeviceStatus bits) {
  status_ = status_ | bits;
  if (common::DeviceStatus::kDriverOk.get(bits) == 0) return;
  auto started = start_vrings();
  failed_ = !started;
  if (!started) log(LogLevel::kWarning, started.error().message());
}

Result<void> VhostUserTransport::accept_features(FeatureSet features) {
  accepted_ = features;
  status_ = status_ | common::DeviceStatus::kFeaturesOk(1);
  return {};
}

Result<Doorbell> VhostUserTransport::enable_queue(std::uint16_t index, std::uint16_t size,
                                                  const QueueAddresses& addresses) {
  Fd kick_fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  Fd call_fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!kick_fd || !call_fd) return fail(Errc::kUnsupported, "creating an eventfd", name(), errno);
  vrings_.push_back(
      std::make_unique<Vring>(Vring{index, size, addresses, std::move(kick_fd), std::move(call_fd)}));
  return Doorbell::call(kick, vrings_.back()->kick.address());
}

Result<void> VhostUserTransport::share_memory() {
  MemoryTable table{};
  std::vector<int> fds;
  for (const MemoryRegion& region : memory_table_.regions()) {
    table.regions[table.count++] = {to_u64(dma().iova(region.va, region.id)), region.length,
                                    reinterpret_cast<std::uint64_t>(region.va), region.fd_offset};
    fds.push_back(region.fd);
  }
  const std::size_t bytes = offsetof(MemoryTable, regions) + table.count * sizeof(MemoryRegionMessage);
  return channel_->send(Request::kSetMemTable, std::as_bytes(std::span(&table, 1)).first(bytes), fds,
                        acknowledges());
}

Result<void> VhostUserTransport::start_vrings() {
  const std::uint64_t of_device = accepted_.common(kFromBackEnd).bits() & back_end_features_;
  const std::uint64_t features = of_device | (back_end_features_ & kProtocolFeaturesBit);
  if (auto ok = channel_->send(Request::kSetFeatures, features, acknowledges()); !ok) return ok;
  if (auto ok = share_memory(); !ok) return ok;
  for (const auto& vring : vrings_) {
    if (auto ok = start_vring(*vring); !ok) return ok;
  }
  if ((back_end_features_ & kProtocolFeaturesBit) == 0) return {};  // rings are enabled from the start
  for (const auto& vring : vrings_) {
    const VringState enable{vring->index, 1};
    if (auto ok = channel_->send(Request::kSetVringEnable, enable, acknowledges()); !ok) return ok;
  }
  return {};
}

Result<void> VhostUserTransport::start_vring(const Vring& vring) {
  const bool acknowledged = acknowledges();
  const std::uint64_t index = vring.index;
  const int call = vring.call.get();
  const int kick_fd = vring.kick.get();
  // The call descriptor first: back ends make a ring known by it. Then the base that the ring starts at: 0;
  // of a packed ring with the wrap counters of both sides, which start at 1, above the two indexes.
  if (auto ok = channel_->send(Request::kSetVringCall, index, acknowledged, {&call, 1}); !ok) return ok;
  const VringState size{vring.index, vring.size};
  if (auto ok = channel_->send(Request::kSetVringNum, size, acknowledged); !ok) return ok;
  const VringState base{vring.index, accepted_.has(Feature::kRingPacked) ? kPackedBase : 0};
  if (auto ok = channel_->send(Request::kSetVringBase, base, acknowledged); !ok) return ok;
  const VringAddress address{.index = vring.index,
                             .flags = 0,
                             .descriptor = to_u64(vring.addresses.descriptor),
                             .used = to_u64(vring.addresses.device),
                             .available = to_u64(vring.addresses.driver),
                             .log = 0};
  if (auto ok = channel_->send(Request::kSetVringAddr, address, acknowledged); !ok) return ok;
  return channel_->send(Request::kSetVringKick, index, acknowledged, {&kick_fd, 1});
}

std::uint8_t VhostUserTransport::read_device8(std::uint64_t offset) const {
  if (config_.mac && offset < config_.mac->size()) return (*config_.mac)[offset];
  return 0xFF;
}

std::uint16_t VhostUserTransport::read_device16(std::uint64_t offset) const {
  if (offset == net_config::kStatus) return connected() ? net_config::kStatusLinkUp : std::uint16_t{0};
  if (offset == net_config::kMaxVirtqueuePairs) return config_.queue_pairs;
  return 0xFFFF;
}

}  // namespace spinring::pmd::virtio::vhost_user
