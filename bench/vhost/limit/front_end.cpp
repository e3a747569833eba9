#include "bench/vhost/limit/front_end.hpp"

#include "bench/vhost/errors.hpp"
#include "mempool/scattered.hpp"
#include "pmd/virtio/features.hpp"
#include "pmd/virtio/packed_ring.hpp"
#include "pmd/virtio/split_ring.hpp"
#include "pmd/virtio/vhost_user/transport.hpp"

namespace spinring::bench::limit {
namespace {

using namespace pmd::virtio;
using common::DeviceStatus;

constexpr std::size_t kMemory = 16UL << 20;

}  // namespace

Result<FrontEnd> FrontEnd::open(const vhost_user::Config& config, std::uint16_t buffers) {
  FrontEnd made;
  auto memory = mempool::Memory::create({.bytes = kMemory});
  if (!memory) return fail(std::move(memory));
  made.memory_ = std::move(*memory);
  auto transport = vhost_user::VhostUserTransport::create(config, *made.memory_);
  if (!transport) return fail(std::move(transport));
  made.transport_ = std::move(*transport);
  auto storage = made.memory_->allocate(buffers * Buffers::kStride, kCacheLine);
  if (!storage) return fail(std::move(storage));
  made.storage_ = std::move(*storage);
  made.places_ = mempool::scattered(buffers);
  made.buffers_ = {made.storage_.data(), to_u64(made.storage_.iova(made.transport_->dma())), buffers,
                   made.places_.data()};
  if (auto ok = made.negotiate(config); !ok) return fail(std::move(ok));
  if (auto ok = made.add_queue(0, config.queue_size, config.packed, made.rx_); !ok)
    return fail(std::move(ok));
  if (auto ok = made.add_queue(1, config.queue_size, config.packed, made.tx_); !ok)
    return fail(std::move(ok));
  return made;
}

Result<void> FrontEnd::negotiate(const vhost_user::Config& config) {
  if (auto reset = transport_->reset(); !reset) return reset;
  transport_->add_status(DeviceStatus::kAcknowledge(1));
  transport_->add_status(DeviceStatus::kDriver(1));
  FeatureSet wanted = FeatureSet().with(Feature::kVersion1);
  if (config.mergeable) wanted = wanted.with(Feature::kMergeableRx);
  if (config.in_order) wanted = wanted.with(Feature::kInOrder);
  if (config.packed) wanted = wanted.with(Feature::kRingPacked);
  if (transport_->device_features().common(wanted) != wanted) {
    return fail(vhost::Errc::kBadArgument, "features: the back end lacks some of " + to_string(wanted),
                config.path, 0, "Ask for fewer");
  }
  return transport_->accept_features(wanted);
}

Result<void> FrontEnd::add_queue(std::uint16_t index, std::uint16_t size, bool packed,
                                 mempool::DmaBlock& ring) {
  auto block = memory_->allocate(packed ? PackedLayout::bytes(size) : SplitLayout::bytes(size), kCacheLine);
  if (!block) return fail(std::move(block));
  ring = std::move(*block);
  const Iova start = ring.iova(transport_->dma());
  const QueueAddresses addresses =
      packed ? QueueAddresses{start, start + PackedLayout::driver(size), start + PackedLayout::device(size)}
             : QueueAddresses{start, start + SplitLayout::avail(size), start + SplitLayout::used(size)};
  auto doorbell = transport_->enable_queue(index, size, addresses);
  if (!doorbell) return fail(std::move(doorbell));
  if (index == 0) receive_doorbell_ = *doorbell;
  return {};
}

Result<void> FrontEnd::start() {
  transport_->add_status(DeviceStatus::kDriverOk(1));
  if (!alive()) return fail(vhost::Errc::kDisconnected, "starting the queues", transport_->name());
  receive_doorbell_.ring(0);
  return {};
}

bool FrontEnd::alive() const { return DeviceStatus::kNeedsReset.get(transport_->status()) == 0; }

}  // namespace spinring::bench::limit
