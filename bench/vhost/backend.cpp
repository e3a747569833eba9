#include "bench/vhost/backend.hpp"

#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <type_traits>
#include <utility>

#include "base/ring_index.hpp"
#include "bench/vhost/errors.hpp"

namespace spinring::bench::vhost {
namespace {

constexpr std::uint32_t kMostRing = 32768;

std::string name_of(const Message& message) {
  return "request " + std::to_string(static_cast<std::uint32_t>(message.request));
}

tl::unexpected<Error> malformed(const Message& message, const char* what) {
  return fail(Errc::kProtocol, what, name_of(message));
}

std::uint64_t offer(const BackendOptions& options) {
  std::uint64_t features = bit(VIRTIO_F_VERSION_1) | bit(VIRTIO_NET_F_MRG_RXBUF) | bit(kFeatureInOrder) |
                           bit(VIRTIO_F_RING_PACKED) | bit(VIRTIO_RING_F_INDIRECT_DESC) |
                           bit(VIRTIO_NET_F_STATUS) | bit(VIRTIO_NET_F_CTRL_VQ) | bit(VIRTIO_NET_F_MQ) |
                           bit(kFeatureProtocol);
  // num_buffers must be written for each frame of a mergeable queue, and kNone writes nothing.
  if (options.traffic.touch == Touch::kNone && options.traffic.content == Content::kNull) {
    features &= ~bit(VIRTIO_NET_F_MRG_RXBUF);
  }
  return features & ~options.withheld;
}

}  // namespace

Backend::Backend(const BackendOptions& options) : Backend(options, std::make_shared<Shared>(options), 0) {}

Backend::Backend(const Backend& first, unsigned number) : Backend(first.options_, first.shared_, number) {}

Backend::Backend(const BackendOptions& options, std::shared_ptr<Shared> shared, unsigned number)
    : options_(options),
      offered_(offer(options)),
      shared_(std::move(shared)),
      violations_(shared_->violations),
      traffic_(shared_->traffic),
      first_stream_(number * options.pairs),
      queues_(std::size_t{options.pairs} * 2) {}

std::uint64_t Backend::offered_protocol() noexcept {
  return bit(kProtocolMq) | bit(kProtocolReplyAck) | bit(kProtocolResetDevice) | bit(kProtocolStatus);
}

Result<std::optional<Message>> Backend::handle(Message message) {
  Message reply;
  reply.request = message.request;
  reply.flags = kFlagVersion1 | kFlagReply;
  if (message.request == Request::kGetVringBase) {
    auto base = vring_base(message);
    if (!base) return fail(std::move(base));
    return std::optional(std::move(*base));
  }
  auto value = answer(message);
  if (!value) return fail(std::move(value));
  if (*value) {
    reply.set(**value);
    return std::optional(std::move(reply));
  }
  auto done = apply(message);
  const bool wants_reply =
      (message.flags & kFlagNeedReply) != 0 && (negotiated_.protocol & bit(kProtocolReplyAck)) != 0;
  if (!wants_reply) {
    if (!done) return fail(std::move(done));
    return std::optional<Message>();
  }
  reply.set(std::uint64_t{done ? 0U : 1U});  // REPLY_ACK: the front end decides what a refusal means
  return std::optional(std::move(reply));
}

Result<std::optional<std::uint64_t>> Backend::answer(const Message& message) {
  switch (message.request) {
    case Request::kGetFeatures:
      return std::optional(offered_);
    case Request::kGetProtocolFeatures:
      return std::optional(offered_protocol());
    case Request::kGetQueueNum:
      return std::optional<std::uint64_t>(options_.pairs);
    case Request::kGetStatus:
      return std::optional(status_);
    default:
      return std::optional<std::uint64_t>();
  }
}

Result<void> Backend::apply(Message& message) {
  switch (message.request) {
    case Request::kSetOwner:
      return {};
    case Request::kResetOwner:
    case Request::kResetDevice:
      for (Queue& queue : queues_) stop(queue);
      recount();
      return {};
    case Request::kSetFeatures:
    case Request::kSetProtocolFeatures:
    case Request::kSetStatus:
      return set_features(message);
    case Request::kSetMemTable:
      return set_memory(message);
    case Request::kSetVringNum:
    case Request::kSetVringBase:
    case Request::kSetVringEnable:
      return set_vring(message);
    case Request::kSetVringAddr:
      return set_vring_address(message);
    case Request::kSetVringKick:
    case Request::kSetVringCall:
    case Request::kSetVringErr:
      return set_vring_fd(message);
    default:
      ++unknown_requests_;
      return malformed(message, "a request that this back end does not know");
  }
}

Result<void> Backend::set_features(const Message& message) {
  const auto value = message.as<std::uint64_t>();
  if (!value) return malformed(message, "payload of 8 bytes");
  if (message.request == Request::kSetStatus) {
    status_ = *value;
    return {};
  }
  const bool protocol = message.request == Request::kSetProtocolFeatures;
  if ((*value & ~(protocol ? offered_protocol() : offered_)) != 0) {
    return malformed(message, "a feature that was not offered");
  }
  (protocol ? negotiated_.protocol : negotiated_.features) = *value;
  return {};
}

Result<void> Backend::set_memory(Message& message) {
  const auto header = message.as<MemoryTableHeader>();
  if (!header || header->regions > kMostRegions) return malformed(message, "number of regions");
  std::vector<MemoryRegion> regions;
  for (std::size_t i = 0; i < header->regions; ++i) {
    const auto region = message.as<MemoryRegion>(sizeof(MemoryTableHeader) + i * sizeof(MemoryRegion));
    if (!region) return malformed(message, "memory region");
    regions.push_back(*region);
  }
  auto table = MemoryTable::map(regions, std::move(message.fds));
  if (!table) return fail(std::move(table));
  std::vector<std::size_t> again;
  for (std::size_t i = 0; i < queues_.size(); ++i) {
    if (queues_[i].ring.index() == 0) continue;
    again.push_back(i);
    stop(queues_[i]);
  }
  memory_ = std::move(*table);
  for (const std::size_t index : again) {
    queues_[index].started = true;
    if (auto started = start(index); !started) return started;
  }
  return {};
}

Result<Backend::Queue*> Backend::queue_of(const Message& message, std::uint64_t index) {
  if (index >= queues_.size()) {
    return fail(Errc::kProtocol, "queue " + std::to_string(index), name_of(message), 0,
                "Start the back end with more --queues.");
  }
  return &queues_[index];
}

Result<void> Backend::set_vring(const Message& message) {
  const auto state = message.as<VringState>();
  if (!state) return malformed(message, "vring state");
  auto queue = queue_of(message, state->index);
  if (!queue) return fail(std::move(queue));
  if (message.request == Request::kSetVringEnable) {
    (*queue)->enabled = state->number != 0;
    recount();
    return {};
  }
  if ((*queue)->ring.index() != 0) return malformed(message, "a change to a ring that runs");
  if (message.request == Request::kSetVringBase) {
    (*queue)->base = state->number;
    return {};
  }
  // Split rings are powers of two (2.7); packed ones need not be (2.8), and here as there have 32768 at most.
  if (state->number == 0 || state->number > kMostRing) return malformed(message, "ring size");
  (*queue)->size = state->number;
  return {};
}

Result<void> Backend::set_vring_address(const Message& message) {
  const auto address = message.as<VringAddress>();
  if (!address) return malformed(message, "vring address");
  auto queue = queue_of(message, address->index);
  if (!queue) return fail(std::move(queue));
  if ((*queue)->ring.index() != 0) return malformed(message, "a change to a ring that runs");
  (*queue)->address = *address;
  return {};
}

Result<void> Backend::set_vring_fd(Message& message) {
  const auto value = message.as<std::uint64_t>();
  if (!value) return malformed(message, "payload of 8 bytes");
  const std::uint64_t index = *value & kVringIndexMask;
  auto queue = queue_of(message, index);
  if (!queue) return fail(std::move(queue));
  const bool without = (*value & kVringNoFd) != 0;
  if (!without && message.fds.size() != 1) return malformed(message, "one descriptor");
  Fd fd = without ? Fd() : std::move(message.fds.front());
  if (message.request == Request::kSetVringErr) return {};
  if (message.request == Request::kSetVringCall) {
    (*queue)->call = std::move(fd);
    return {};
  }
  (*queue)->kick = std::move(fd);
  (*queue)->started = true;
  // Without protocol features a ring is enabled as soon as it starts.
  if (!negotiated_.has(kFeatureProtocol)) (*queue)->enabled = true;
  return (*queue)->ring.index() == 0 ? start(index) : Result<void>();
}

Result<void> Backend::start(std::size_t index) {
  Queue& queue = queues_[index];
  const std::string subject = "queue " + std::to_string(index);
  if (!queue.address || queue.size == 0)
    return fail(Errc::kProtocol, "start: no address or size yet", subject);
  const bool packed = negotiated_.has(VIRTIO_F_RING_PACKED);
  if (!packed && !is_ring_size(queue.size))
    return fail(Errc::kProtocol, "start: size is no power of two", subject);
  const auto [descriptors, available, used] = ring_areas(index);
  RingPlace place;
  place.descriptors = memory_.user(descriptors.start, descriptors.bytes);
  place.available = memory_.user(available.start, available.bytes);
  place.used = memory_.user(used.start, used.bytes);
  if (place.descriptors == nullptr || place.available == nullptr || place.used == nullptr) {
    return fail(Errc::kMemory, "start: the ring", subject);
  }
  place.size = static_cast<std::uint16_t>(queue.size);
  place.base = queue.base;
  place.in_order = negotiated_.has(kFeatureInOrder);
  place.direction = index % 2 == 0 ? Direction::kDeviceWrites : Direction::kDeviceReads;
  // Buffers that the device writes must say how much was written, each by itself.
  place.one_entry_per_batch =
      place.in_order && options_.batch_in_order && place.direction == Direction::kDeviceReads;
  if (packed) {
    queue.ring.emplace<PackedRing>(place, memory_, violations_);
  } else {
    queue.ring.emplace<SplitRing>(place, memory_, violations_);
  }
  ring_size_ = place.size;
  recount();
  return {};
}

std::array<Backend::Area, 3> Backend::ring_areas(std::size_t index) const noexcept {
  const Queue& queue = queues_[index];
  if (!queue.address) return {};
  const bool packed = negotiated_.has(VIRTIO_F_RING_PACKED);
  const std::uint64_t event = sizeof(vring_packed_desc_event);
  return {{{queue.address->descriptors, sizeof(vring_desc) * queue.size},
           {queue.address->available, packed ? event : split_available_bytes(queue.size)},
           {queue.address->used, packed ? event : split_used_bytes(queue.size)}}};
}

void Backend::stop(Queue& queue) noexcept {
  if (const auto* split = std::get_if<SplitRing>(&queue.ring)) queue.base = split->base();
  if (const auto* packed = std::get_if<PackedRing>(&queue.ring)) queue.base = packed->base();
  queue.ring.emplace<std::monostate>();
  queue.started = false;
}

Result<Message> Backend::vring_base(const Message& message) {
  const auto state = message.as<VringState>();
  if (!state) return malformed(message, "vring state");
  auto queue = queue_of(message, state->index);
  if (!queue) return fail(std::move(queue));
  stop(**queue);
  (*queue)->kick.reset();
  recount();
  Message reply;
  reply.request = message.request;
  reply.flags = kFlagVersion1 | kFlagReply;
  reply.set(VringState{state->index, (*queue)->base});
  return reply;
}

void Backend::recount() noexcept {
  running_ = static_cast<unsigned>(std::ranges::count_if(queues_, &Queue::runs));
  most_running_ = std::max(most_running_, running_);
}

void Backend::disconnect() noexcept {
  for (Queue& queue : queues_) queue = Queue{};
  memory_ = MemoryTable();
  negotiated_ = {};
  status_ = 0;
  recount();
}

template <class R>
void Backend::interrupt(const R& ring, const Queue& queue) noexcept {
  if (!queue.call || !ring.wants_interrupt()) [[likely]]
    return;
  ::eventfd_write(queue.call.get(), 1);
  ++interrupts_;
}

bool Backend::serve_pair(unsigned pair, std::uint64_t now) noexcept {
  Queue& receive = queues_[std::size_t{pair} * 2];
  Queue& transmit = queues_[std::size_t{pair} * 2 + 1];
  const bool mergeable = negotiated_.has(VIRTIO_NET_F_MRG_RXBUF);
  bool moved = false;
  const auto run = [&](auto kind) {
    using R = typename decltype(kind)::type;
    R* rx = receive.enabled ? std::get_if<R>(&receive.ring) : nullptr;
    R* tx = transmit.enabled ? std::get_if<R>(&transmit.ring) : nullptr;
    if (rx != nullptr) traffic_.begin_giving(*rx, now);
    if (tx != nullptr) traffic_.begin_collecting(*tx);
    if (rx != nullptr && traffic_.finish_giving(*rx, first_stream_ + pair, mergeable)) {
      moved = true;
      interrupt(*rx, receive);
    }
    if (tx != nullptr && traffic_.finish_collecting(*tx)) {
      moved = true;
      interrupt(*tx, transmit);
    }
  };
  if (negotiated_.has(VIRTIO_F_RING_PACKED)) {
    run(std::type_identity<PackedRing>());
  } else {
    run(std::type_identity<SplitRing>());
  }
  return moved;
}

bool Backend::pass(std::uint64_t now) noexcept {
  bool moved = false;
  for (unsigned pair = 0; pair < options_.pairs; ++pair) moved |= serve_pair(pair, now);
  return moved;
}

}  // namespace spinring::bench::vhost
