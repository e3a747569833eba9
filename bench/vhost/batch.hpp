#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/vector_bits.hpp"
#include "bench/vhost/memory_table.hpp"
#include "bench/vhost/protocol.hpp"
#include "bench/vhost/violations.hpp"

namespace spinring::bench::vhost {

/// From the device's side: RX buffers are written, TX buffers are read.
enum class Direction : std::uint8_t { kDeviceWrites, kDeviceReads };

/// One stretch of a buffer, in this process.
struct Piece {
  std::byte* data = nullptr;
  std::uint32_t length = 0;
};

/// One buffer that the driver made available: like a descriptor in size and order, so that vectors can make
/// one of the other. Nearly always one piece in one descriptor.
struct Chain {
  std::byte* data =
      nullptr;  ///< of the first piece; null if the driver broke a rule: to be given back unused
  std::uint32_t length = 0;
  std::uint16_t id = 0;  ///< split: head; packed: buffer id
  std::uint16_t further =
      0;  ///< more than one descriptor or piece: its place in Batch::further, counted from 1

  [[nodiscard]] Piece first() const noexcept { return {data, length}; }
};
static_assert(sizeof(Chain) == sizeof(vring_desc));

/// What a chain of more than one descriptor or piece has besides.
struct Further {
  std::uint16_t slots = 1;  ///< descriptors of the ring that it takes
  std::uint16_t more_from = 0;
  std::uint16_t more_count = 0;
};

/// How the chains of a batch came to be.
enum class Taken : std::uint8_t {
  kSingly,  ///< one by one
  kRuns,    ///< of a split ring, by vectors
  kOneRun,  ///< the same, and the heads count up, from the table's last to its first
};

/// Buffers taken together, at most 32 as DPDK takes them.
struct Batch {
  static constexpr unsigned kMost = 32;
  static constexpr unsigned kVector = 8;  ///< chains that are written at once

  std::array<Chain, kMost + kVector> chains;  ///< what is behind kMost may be written and means nothing
  unsigned count = 0;
  bool alike = false;  ///< each is one piece in one descriptor, all of one length
  Taken taken = Taken::kSingly;
  std::vector<Further> further;
  std::vector<Piece> more;

  Batch() {
    further.reserve(kMost);
    more.reserve(std::size_t{kMost} * kMost);
  }

  void clear() noexcept {
    count = 0;
    alike = false;
    taken = Taken::kSingly;
    further.clear();
    more.clear();
  }
  [[nodiscard]] unsigned slots(const Chain& chain) const noexcept {
    return chain.further == 0 ? 1 : further[chain.further - 1U].slots;
  }
  [[nodiscard]] std::span<const Piece> rest(const Chain& chain) const noexcept {
    if (chain.further == 0) return {};
    const Further& has = further[chain.further - 1U];
    return {more.data() + has.more_from, has.more_count};
  }
  [[nodiscard]] std::uint64_t length(const Chain& chain) const noexcept {
    std::uint64_t sum = chain.length;
    for (const Piece& piece : rest(chain)) sum += piece.length;
    return sum;
  }
  Further& further_of(Chain& chain) noexcept {
    if (chain.further == 0) {
      further.push_back({});
      chain.further = static_cast<std::uint16_t>(further.size());
    }
    return further[chain.further - 1U];
  }
};

/// What complete() is to say was written to each buffer: the same number.
struct SameWritten {
  std::uint32_t bytes = 0;

  std::uint32_t operator[](unsigned /*buffer*/) const noexcept { return bytes; }
};

/// Where a ring lies and what was negotiated for it.
struct RingPlace {
  std::byte* descriptors = nullptr;
  std::byte* available = nullptr;  ///< packed: the driver's event suppression
  std::byte* used = nullptr;       ///< packed: the device's event suppression
  std::uint16_t size = 0;
  std::uint32_t base = 0;  ///< as SET_VRING_BASE gave it
  bool in_order = false;
  Direction direction = Direction::kDeviceWrites;
  /// IN_ORDER: give a batch of TX buffers back with one used entry (2.7.9, 2.8.11), as the specification
  /// allows.
  bool one_entry_per_batch = false;
  unsigned vectors = vector_bits();  ///< bits of those that it is worked on by

  /// Whether there are any that plain buffers are worked on by.
  [[nodiscard]] bool wide() const noexcept { return vectors >= 256; }
};

/// Bytes of each part of a split ring of this size.
constexpr std::size_t split_available_bytes(std::size_t size) { return sizeof(vring_avail) + 2 * (size + 1); }
constexpr std::size_t split_used_bytes(std::size_t size) {
  return sizeof(vring_used) + sizeof(vring_used_elem) * size + 2;
}

/// Checks what a descriptor points to and appends it to a chain.
class PieceCollector {
 public:
  PieceCollector(const MemoryTable& memory, Violations& violations, Direction direction) noexcept
      : memory_(&memory), violations_(&violations), direction_(direction) {}

  /// `flags` of either ring: VRING_DESC_F_WRITE is the same bit. False: the chain may not be touched.
  bool add(Batch& batch, Chain& chain, bool is_first, std::uint64_t address, std::uint32_t length,
           std::uint16_t flags) noexcept {
    std::byte* data = memory_->guest(address, length);
    const bool writable = (flags & VRING_DESC_F_WRITE) != 0;
    if (data == nullptr || length == 0 || writable != (direction_ == Direction::kDeviceWrites)) [[unlikely]] {
      refuse(data, address, length);
      return false;
    }
    if (is_first) [[likely]] {
      chain.data = data;
      chain.length = length;
    } else {
      Further& further = batch.further_of(chain);
      if (further.more_count == 0) further.more_from = static_cast<std::uint16_t>(batch.more.size());
      ++further.more_count;
      batch.more.push_back({data, length});
    }
    return true;
  }

  [[nodiscard]] const MemoryTable& memory() const noexcept { return *memory_; }
  [[nodiscard]] Violations& violations() const noexcept { return *violations_; }

 private:
  void refuse(const std::byte* data, std::uint64_t address, std::uint32_t length) const noexcept {
    const Violation what = length == 0       ? Violation::kEmptyBuffer
                           : data == nullptr ? Violation::kAddress
                                             : Violation::kDirection;
    violations_->note(what, address, length);
  }

  const MemoryTable* memory_;
  Violations* violations_;
  Direction direction_;
};

}  // namespace spinring::bench::vhost
