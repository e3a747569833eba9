#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/cpu.hpp"
#include "base/ring_index.hpp"
#include "base/word_run.hpp"
#include "pmd/virtio/ring_book.hpp"
#include "pmd/virtio/ring_layout.hpp"
#include "pmd/virtio/wire.hpp"

namespace spinring::pmd::virtio {

/// What the driver writes of a split virtqueue: the descriptor table (virtio 1.2, 2.7.5) and the entries of
/// the available ring (2.7.6). A line that stays as it is stays in the device's cache as well: so it keeps
/// private copies of what it has written, and writes what is to change. These copies are also what it
/// believes: the ring is the device's to write. A descriptor goes by its key, which is the buffer's address,
/// or without chains the packet's (whose buffer is always described alike). One lcore at a time.
template <RingFeatures F>
class SplitTable {
  static constexpr bool kKeepsRests = F.chains || F.in_order;  ///< links, or a length, may be asked for

 public:
  /// In `block`, which SplitLayout describes; zeroed.
  SplitTable(std::byte* block, std::uint16_t size)
      : descriptors_(reinterpret_cast<Descriptor*>(block)),
        available_(reinterpret_cast<Le16*>(block + SplitLayout::avail(size) + sizeof(AvailHead))),
        keys_(std::make_unique<std::uint64_t[]>(size)),
        rests_(kKeepsRests ? std::make_unique<std::uint64_t[]>(size) : nullptr),
        offered_(std::make_unique<std::uint16_t[]>(size)),
        mask_(static_cast<std::uint16_t>(size - 1)) {}

  [[nodiscard]] bool names(std::uint16_t id, std::uint64_t key) const noexcept requires(!F.chains) {
    return keys_[id] == key;
  }
  [[nodiscard]] bool names(std::uint16_t id, std::uint64_t key, std::uint64_t rest) const noexcept
      requires(F.chains) {
    return keys_[id] == key && rests_[id] == rest;
  }
  /// The same of `kCount` neighbours; `rests` with chains.
  template <class Runs, std::uint16_t kCount>
  [[nodiscard]] bool names_run(std::uint32_t first, const RunWord* keys,
                               const RunWord* rests) const noexcept {
    if constexpr (F.chains) {
      if (!Runs::template same<kCount>(&rests_[first], rests)) return false;
    }
    return Runs::template same<kCount>(&keys_[first], keys);
  }
  void describe(std::uint16_t id, std::uint64_t key, const Extent& extent, std::uint16_t flags,
                std::uint16_t next = 0) noexcept {
    keys_[id] = key;
    if constexpr (kKeepsRests) rests_[id] = rest(extent.length, flags, next);
    descriptors_[id] = {to_u64(extent.address), extent.length, flags, next};
  }
  /// describe() of `kCount` neighbours, each the last of its chain, with the same flags.
  template <class Runs, std::uint16_t kCount>
  void describe_run(std::uint32_t first, const RunWord* keys, const RunWord* addresses,
                    const RunWord* lengths, std::uint16_t flags) noexcept {
    const std::uint64_t same = rest(0, flags, 0);
    Runs::template copy<kCount>(&keys_[first], keys);
    if constexpr (kKeepsRests)
      std::transform(lengths, lengths + kCount, &rests_[first],
                     [same](RunWord length) { return length | same; });
    Runs::template write_pairs<kCount>(reinterpret_cast<RunWord*>(descriptors_ + first), addresses, lengths,
                                       {.base = same});
  }

  /// The distance back from the buffer offered at this index to where it was offered before. 0: it was not,
  /// it is new here, or as many go round as the ring has entries, or more. Looks at the whole table.
  [[nodiscard]] [[gnu::noinline]] std::uint16_t round(std::uint16_t index) const noexcept
      requires(!F.chains) {
    const auto key = [this](std::uint16_t at) {
      const std::uint16_t slot = ring_slot(at, mask_);
      return keys_[F.in_order ? slot : offered_[slot]];
    };
    for (std::uint16_t back = 1; back <= mask_; ++back) {
      if (key(static_cast<std::uint16_t>(index - back)) == key(index)) return back;
    }
    return 0;
  }
  /// Has the lines of 8 descriptors on their way that are written soon.
  void fetch_run(std::uint32_t first) const noexcept {
    constexpr unsigned kOfLine = kCacheLine / sizeof(Descriptor);
    for (unsigned i = 0; i < 8; i += kOfLine) prefetch_write(&descriptors_[(first + i) & mask_]);
  }
  /// What the driver has written of a descriptor.
  [[nodiscard]] std::uint32_t length(std::uint16_t id) const noexcept requires(kKeepsRests) {
    return static_cast<std::uint32_t>(rests_[id]);
  }
  [[nodiscard]] std::uint16_t next(std::uint16_t id) const noexcept requires(kKeepsRests) {
    return static_cast<std::uint16_t>(rests_[id] >> kNextShift);
  }

  /// Writes the available ring's entry at a free-running index.
  void offer(std::uint16_t index, std::uint16_t id) noexcept {
    const std::uint16_t slot = ring_slot(index, mask_);
    if (offered_[slot] == id) [[likely]]
      return;
    offered_[slot] = id;
    available_[slot] = id;
  }
  /// The same of 8 entries, for the ids from `first` on.
  void offer_run(std::uint16_t index, std::uint16_t first) noexcept {
    const std::uint16_t slot = ring_slot(index, mask_);
    if (slot + 8U > mask_ + 1U) [[unlikely]] {
      for (unsigned i = 0; i < 8; ++i)
        offer(static_cast<std::uint16_t>(index + i), static_cast<std::uint16_t>(first + i));
      return;
    }
    const WordPair ids = counting_8(first);
    if (!any_bit(load_pair(&offered_[slot]) ^ ids)) [[likely]]
      return;
    store_pair(&offered_[slot], ids);
    store_pair(available_ + slot, ids);
  }
  [[nodiscard]] std::uint16_t offered(std::uint16_t index) const noexcept {
    return offered_[ring_slot(index, mask_)];
  }

  /// For a ring that is not used any more: marks a descriptor with an index.
  void mark(std::uint16_t id, std::uint16_t index) noexcept requires(kKeepsRests) {
    rests_[id] = kMark | index;
  }
  [[nodiscard]] bool marked(std::uint16_t id) const noexcept requires(kKeepsRests) {
    return (rests_[id] & kMark) == kMark;
  }
  [[nodiscard]] bool marked(std::uint16_t id, std::uint16_t index) const noexcept requires(kKeepsRests) {
    return rests_[id] == (kMark | index);
  }

 private:
  static constexpr unsigned kFlagsShift = 32;
  static constexpr unsigned kNextShift = 48;
  static constexpr std::uint64_t kMark = ~std::uint64_t{0xFFFF};  ///< above an index: what no descriptor says

  /// A descriptor's second half.
  [[nodiscard]] static std::uint64_t rest(std::uint32_t length, std::uint16_t flags,
                                          std::uint16_t next) noexcept {
    return length | std::uint64_t{flags} << kFlagsShift | std::uint64_t{next} << kNextShift;
  }

  Descriptor* descriptors_;
  Le16* available_;
  std::unique_ptr<std::uint64_t[]> keys_;
  std::unique_ptr<std::uint64_t[]> rests_;    ///< if kept
  std::unique_ptr<std::uint16_t[]> offered_;  ///< by slot: the available ring's entry, zero at first
  std::uint16_t mask_;
};

}  // namespace spinring::pmd::virtio
