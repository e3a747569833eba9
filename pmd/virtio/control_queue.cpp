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
/// 5.1.6.5: VIRTIO_NET_OK is 0, VIRTIO_NET_ERR is 1; this is what stands there until the device has answered.
constexpr std::byte kNoAnswer{0xFF};

}  // namespace

Result<ControlQueue> ControlQueue::create(mempool::Memory& memory, const DmaTable& table, std::string device,
                                          std::uint16_t index, std::uint16_t size) {
  auto ring = memory.allocate(SplitRing::bytes(size), kCacheLine);
  if (!ring) return fail(std::move(ring));
  auto buffer = memory.allocate(kDataOffset + kMaxData, kCacheLine);
  if (!buffer) return fail(std::move(buffer));
  return ControlQueue(std::move(*ring), std::move(*buffer), table, std::move(device), index, size);
}

Result<void> ControlQueue::command(ControlHeader header, std::span<const std::byte> data, const char* what) {
  if (stuck_)
    return fail(Errc::kTimeout, std::string(what) + ": the control queue is stuck", device_, 0,
                "Restart the port");
  if (data.size() > kMaxData)
    return fail(Errc::kBadArgument, std::string(what) + ": too many addresses", device_);
  std::memcpy(buffer_.data(), &header, sizeof(header));
  buffer_.data()[kAnswerOffset] = kNoAnswer;
  std::copy(data.begin(), data.end(), buffer_.data() + kDataOffset);
  std::array<std::uint16_t, 3> ids{};
  const std::span chain = std::span(ids).first(data.empty() ? 2 : 3);
  for (std::uint16_t& id : chain) id = ring_.take_id();
  post(chain, data.size());

  const bool answered = wait_until([&] { return ring_.completed() != 0; }, Deadline(kAnswerTimeout));
  if (!answered || ring_.completed() != 1) {
    stuck_ = true;
    return fail(Errc::kTimeout, std::string(what) + ": no answer on the control queue", device_);
  }
  if (ring_.completion(0).id != chain.front()) {
    stuck_ = true;
    return fail(Errc::kDeviceFault, std::string(what) + ": the control queue answered another command",
                device_, 0, "Restart the port");
  }
  ring_.consume(1);
  for (const std::uint16_t id : chain) ring_.release_id(id);
  if (std::to_integer<std::uint8_t>(buffer_.data()[kAnswerOffset]) != control::kOk) {
    return fail(Errc::kRejected, what, device_);
  }
  return {};
}

/// Header and data for the device to read, then one byte for it to write.
void ControlQueue::post(std::span<const std::uint16_t> chain, std::size_t data_bytes) {
  const Iova start = buffer_.iova(*table_);
  ring_.describe(chain.front(), start, sizeof(ControlHeader), kDescNext, chain[1]);
  if (data_bytes != 0) {
    ring_.describe(chain[1], start + kDataOffset, static_cast<std::uint32_t>(data_bytes), kDescNext,
                   chain.back());
  }
  ring_.describe(chain.back(), start + kAnswerOffset, 1, kDescWrite, 0);
  ring_.offer(chain.front());
  if (ring_.publish()) doorbell_.ring(index_);
}

}  // namespace spinring::pmd::virtio
