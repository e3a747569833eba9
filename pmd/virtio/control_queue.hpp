#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>

#include "base/mmio.hpp"
#include "base/result.hpp"
#include "mempool/memory.hpp"
#include "pmd/virtio/features.hpp"
#include "pmd/virtio/packed_ring.hpp"
#include "pmd/virtio/split_ring.hpp"
#include "pmd/virtio/wire.hpp"

namespace spinring::pmd::virtio {

/// What a ring of that kind takes of memory.
[[nodiscard]] constexpr std::size_t ring_bytes(FeatureSet negotiated, std::uint16_t size) noexcept {
  return negotiated.has(Feature::kRingPacked) ? PackedLayout::bytes(size) : SplitLayout::bytes(size);
}

/// The control virtqueue of a network device (virtio 1.2, 5.1.6.5): one command at a time, answered before
/// the call returns. Control thread only.
class ControlQueue {
 public:
  static constexpr std::uint16_t kMinSize = 4;  ///< a command takes up to four descriptors
  static constexpr std::uint16_t kMaxSize = 64;

  /// Memory for the ring and for one command; `size` as the device allows, kMinSize to kMaxSize. The ring is
  /// of the kind that was negotiated.
  [[nodiscard]] static Result<ControlQueue> create(mempool::Memory& memory, const DmaTable& table,
                                                   FeatureSet negotiated, std::string device,
                                                   std::uint16_t index, std::uint16_t size);

  [[nodiscard]] std::uint16_t index() const noexcept { return index_; }
  [[nodiscard]] std::uint16_t size() const noexcept {
    return std::visit([](const auto& ring) { return ring.size(); }, ring_);
  }
  [[nodiscard]] QueueAddresses addresses() const noexcept {
    return std::visit([&](const auto& ring) { return ring.addresses(*table_); }, ring_);
  }
  void set_doorbell(Doorbell doorbell) noexcept { doorbell_ = doorbell; }

  /// Sends one command with its data (at most kMaxData bytes) and waits for the answer. kRejected if the
  /// device answers with an error, kTimeout if not at all: the queue then takes no further command until the
  /// device was reset.
  /// `reply`: what the device writes behind its answer (command-specific-result, at most kMaxReply bytes);
  /// zeros where it writes nothing.
  [[nodiscard]] Result<void> command(ControlHeader header, std::span<const std::byte> data, const char* what,
                                     std::span<std::byte> reply = {});

  static constexpr std::size_t kMaxData = 2048;
  static constexpr std::size_t kMaxReply = 512;

 private:
  /// What stands in the ring's book: the command's memory.
  template <bool kInOrder>
  using Split = SplitRing<std::byte, RingFeatures{.in_order = kInOrder, .chains = true}>;
  template <bool kInOrder>
  using Packed = PackedRing<std::byte, RingFeatures{.in_order = kInOrder, .chains = true}>;
  using Ring = std::variant<Split<false>, Split<true>, Packed<false>, Packed<true>>;

  ControlQueue(Ring ring, mempool::DmaBlock buffer, const DmaTable& table, std::string device,
               std::uint16_t index)
      : ring_(std::move(ring)),
        buffer_(std::move(buffer)),
        table_(&table),
        device_(std::move(device)),
        index_(index) {}
  [[nodiscard]] static Ring make_ring(FeatureSet negotiated, mempool::DmaBlock block, std::uint16_t size);
  void post(std::size_t data_bytes, std::size_t reply_bytes);
  /// Waits for the command's return: 1, kBroken, or 0 when time ran out.
  [[nodiscard]] std::uint16_t await_answer();

  Ring ring_;
  mempool::DmaBlock buffer_;  ///< header, then answer, then data, then reply
  const DmaTable* table_;
  Doorbell doorbell_;
  std::string device_;
  std::uint16_t index_;
  bool stuck_ = false;
};

}  // namespace spinring::pmd::virtio
