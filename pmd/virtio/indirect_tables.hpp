#pragma once

#include <cstdint>
#include <span>
#include <utility>

#include "base/dma.hpp"
#include "mempool/memory.hpp"
#include "pmd/virtio/ring_book.hpp"
#include "pmd/virtio/wire.hpp"

namespace spinring::pmd::virtio {

/// Tables of descriptors in memory of their own (virtio 1.2, 2.7.5.3 and 2.8.7), one for each id of a ring:
/// with VIRTIO_F_INDIRECT_DESC a frame of a few pieces takes one place in the ring.
class IndirectTables {
 public:
  /// Pieces that a table holds: two cache lines. A frame of more is a chain in the ring.
  static constexpr std::uint16_t kPieces = 8;
  static constexpr std::size_t bytes(std::uint16_t ring_size) noexcept {
    return std::size_t{ring_size} * kPieces * sizeof(Descriptor);
  }

  /// None: the feature was not negotiated.
  IndirectTables() = default;
  /// `memory` holds bytes(size of the ring).
  IndirectTables(mempool::DmaBlock memory, const DmaTable& table)
      : memory_(std::move(memory)), start_(memory_.iova(table)) {}

  [[nodiscard]] bool hold(std::size_t pieces) const noexcept {
    return pieces > 1 && pieces <= kPieces && memory_.data() != nullptr;
  }
  /// Places in the ring that a frame of `pieces` takes.
  [[nodiscard]] std::uint16_t places(std::uint16_t pieces) const noexcept {
    return hold(pieces) ? std::uint16_t{1} : pieces;
  }
  /// Fills in the table of `id`, which the device does not have, with pieces that a table holds; returns
  /// where it lies.
  template <bool kPacked>
  [[nodiscard]] Extent write(std::uint16_t id, std::span<const Piece> pieces) noexcept {
    const std::size_t offset = std::size_t{id} * kPieces * sizeof(Descriptor);
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      const Piece& piece = pieces[i];
      if constexpr (kPacked) {
        // 2.8.7: in their order, without links.
        reinterpret_cast<PackedDescriptor*>(memory_.data() + offset)[i] = {
            to_u64(piece.address), PackedTail{piece.length, 0, piece.flags}.pack()};
      } else {
        const bool last = i + 1 == pieces.size();
        reinterpret_cast<Descriptor*>(memory_.data() + offset)[i] = {
            to_u64(piece.address), piece.length,
            static_cast<std::uint16_t>(piece.flags | (last ? 0 : kDescNext)),
            static_cast<std::uint16_t>(last ? 0 : i + 1)};
      }
    }
    return {start_ + offset, static_cast<std::uint32_t>(pieces.size() * sizeof(Descriptor))};
  }

 private:
  mempool::DmaBlock memory_;
  Iova start_{};
};

}  // namespace spinring::pmd::virtio
