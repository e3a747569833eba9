#include "pmd/virtio/control_queue.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>

#include "base/time.hpp"
#include "pmd/errors.hpp"

namespace spinring::pmd::virtio {
namespace {

using namespace std::chrono_literals;

constexpr auto kAnswerTimeout = 1s;
constexpr std::size_t kAnswerOffset = 8;
constexpr std::size_t kDataOffset = 16;
constexpr std::size_t kReplyOffset = kDataOffset + ControlQueue::kMaxData;
/// 5.1.6.5: VIRTIO_NET_OK is 0, VIRTIO_NET_ERR is 1; this is what stands there until the device has answered.
constexpr std::byte kNoAnswer{0xFF};

}  // namespace

ControlQueue::Ring ControlQueue::make_ring(FeatureSet negotiated, mempool::DmaBlock block,
                                           std::uint16_t size) {
  const bool in_order = negotiated.has(Feature::kInOrder);
  const NotifyRules notify = notify_rules(negotiated);
  if (negotiated.has(Feature::kRingPacked)) {
    if (in_order) return Packed<true>(std::move(block), size, notify);
    return Packed<false>(std::move(block), size, notify);
  }
  if (in_order) return Split<true>(std::move(block), size, notify);
  return Split<false>(std::move(block), size, notify);
}

Result<ControlQueue> ControlQueue::create(mempool::Memory& memory, const DmaTable& table,
                                          FeatureSet negotiated, std::string device, std::uint16_t index,
                                          std::uint16_t size) {
  auto ring = memory.allocate(ring_bytes(negotiated, size), kCacheLine);
  if (!ring) return fail(std::move(ring));
  auto buffer = memory.allocate(kReplyOffset + kMaxReply, kCacheLine);
  if (!buffer) return fail(std::move(buffer));
  return ControlQueue(make_ring(negotiated, std::move(*ring), size), std::move(*buffer), table,
                      std::move(device), index);
}

Result<void> ControlQueue::command(ControlHeader header, std::span<const std::byte> data, const char* what,
                                   std::span<std::byte> reply) {
  if (stuck_)
    return fail(Errc::kTimeout, std::string(what) + ": the control queue is stuck", device_, 0,
                "Restart the port");
  if (data.size() > kMaxData || reply.size() > kMaxReply)
    return fail(Errc::kBadArgument, std::string(what) + ": too much data for one command", device_);
  std::memcpy(buffer_.data(), &header, sizeof(header));
  buffer_.data()[kAnswerOffset] = kNoAnswer;
  std::copy(data.begin(), data.end(), buffer_.data() + kDataOffset);
  std::memset(buffer_.data() + kReplyOffset, 0, reply.size());
  post(data.size(), reply.size());

  const std::uint16_t answers = await_answer();
  if (answers == kBroken) {
    stuck_ = true;
    return fail(Errc::kDeviceFault, std::string(what) + ": the control queue answered another command",
                device_, 0, "Restart the port");
  }
  if (answers == 0) {
    stuck_ = true;
    return fail(Errc::kTimeout, std::string(what) + ": no answer on the control queue", device_);
  }
  if (std::to_integer<std::uint8_t>(buffer_.data()[kAnswerOffset]) != control::kOk) {
    return fail(Errc::kRejected, what, device_);
  }
  std::copy_n(buffer_.data() + kReplyOffset, reply.size(), reply.begin());
  return {};
}

/// Header and data for the device to read, then one byte and its reply for it to write.
void ControlQueue::post(std::size_t data_bytes, std::size_t reply_bytes) {
  const Iova start = buffer_.iova(*table_);
  std::array<Piece, 4> pieces{};
  std::size_t used = 0;
  pieces[used++] = {start, sizeof(ControlHeader), 0};
  if (data_bytes != 0) pieces[used++] = {start + kDataOffset, static_cast<std::uint32_t>(data_bytes), 0};
  pieces[used++] = {start + kAnswerOffset, 1, kDescWrite};
  if (reply_bytes != 0)
    pieces[used++] = {start + kReplyOffset, static_cast<std::uint32_t>(reply_bytes), kDescWrite};
  std::visit(
      [&](auto& ring) {
        ring.post_chain(*buffer_.data(), std::span<const Piece>(pieces).first(used));
        ring.publish();
        if (ring.must_notify()) doorbell_.ring(ring.doorbell(index_));
      },
      ring_);
}

std::uint16_t ControlQueue::await_answer() {
  std::uint16_t answers = 0;
  (void)wait_until(
      [&] {
        answers = std::visit(
            [](auto& ring) {
              const std::uint16_t found = ring.harvest(1, Unseen{}, [](auto&&...) {});
              return ring.bad_completions() != 0 ? kBroken : found;
            },
            ring_);
        return answers != 0;
      },
      Deadline(kAnswerTimeout));
  return answers;
}

}  // namespace spinring::pmd::virtio
