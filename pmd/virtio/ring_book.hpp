#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>

#include "base/cpu.hpp"
#include "base/dma.hpp"
#include "base/ring_index.hpp"
#include "base/word_run.hpp"
#include "pmd/virtio/checks.hpp"

namespace spinring::pmd::virtio {

/// Copies a run of packets' addresses, as the vectors that they will be loaded as.
template <class Runs, std::size_t kCount, class Packet>
void copy_run(Packet** to, Packet* const* from) noexcept {
  Runs::template copy<kCount>(reinterpret_cast<RunWord*>(to), reinterpret_cast<const RunWord*>(from));
}
/// The same of their lengths, two of which are a word.
template <class Runs, std::size_t kCount>
void copy_run(std::uint32_t* to, const std::uint32_t* from) noexcept {
  static_assert(kCount % 2 == 0);
  Runs::template copy<kCount / 2>(reinterpret_cast<RunWord*>(to), reinterpret_cast<const RunWord*>(from));
}

/// What a ring is specialised by, beside its layout. A structural type.
struct RingFeatures {
  bool in_order =
      false;  ///< VIRTIO_F_IN_ORDER: the device uses buffers in the order in which they were made available
  bool chains = false;  ///< buffers may take several descriptors (TX, control); without, each takes one (RX)
  constexpr bool operator==(const RingFeatures&) const = default;
};

/// Where a buffer of one descriptor lies.
struct Extent {
  Iova address;
  std::uint32_t length;
};
/// A buffer of one descriptor that a queue offers.
template <class Packet>
struct Posting {
  Packet* packet;
  Extent extent;
};

/// `kCount` of them together.
template <class Packet, std::uint16_t kCount>
struct PostingRun {
  Packet* const* packets;
  alignas(kCacheLine) std::array<std::uint64_t, kCount> addresses;  ///< stored and loaded as whole vectors
  alignas(kCacheLine) std::array<std::uint64_t, kCount> lengths;

  /// `extent_of` is asked for each of them, in turn, or for all if it describes runs.
  template <class Runs, class ExtentOf>
  void describe(ExtentOf& extent_of) noexcept {
    if constexpr (requires { extent_of.template describe<Runs>(*this); }) {
      extent_of.template describe<Runs>(*this);
    } else {
      describe_singly<Runs>(extent_of);
    }
  }
  [[nodiscard]] Posting<Packet> at(std::size_t i) const noexcept {
    return {packets[i], {Iova{addresses[i]}, static_cast<std::uint32_t>(lengths[i])}};
  }

 private:
  template <class Runs, class ExtentOf>
  void describe_singly(ExtentOf& extent_of) noexcept {
    std::array<std::uint64_t, kCount> to;
    std::array<std::uint64_t, kCount> bytes;
#pragma GCC unroll 8
    for (std::size_t i = 0; i < kCount; ++i) {
      const Extent extent = extent_of(*packets[i]);
      to[i] = to_u64(extent.address);
      bytes[i] = whole_word(extent.length);
    }
    Runs::template store_words<kCount>(addresses.data(), to);
    Runs::template store_words<kCount>(lengths.data(), bytes);
  }
};

/// Packets that are all to be offered, as a list of post(). `ExtentOf` says where a packet's buffer lies.
template <class Packet, class ExtentOf>
struct Listed {
  Packet* const* at;
  ExtentOf& extent_of;

  template <class Runs, std::uint16_t kCount>
  [[nodiscard]] bool run(PostingRun<Packet, kCount>& run) noexcept {
    run.packets = at;
    run.template describe<Runs>(extent_of);
    at += kCount;
    return true;
  }
  [[nodiscard]] bool one(Posting<Packet>& buffer) noexcept {
    Packet* const packet = *at++;
    buffer = {packet, extent_of(*packet)};
    return true;
  }
};

/// What harvest() returns when the device has broken the ring's rules so that it cannot be followed.
inline constexpr std::uint16_t kBroken = 0xFFFF;

/// A part of a buffer: one descriptor. `flags`: kDescWrite or 0.
struct Piece {
  Iova address;
  std::uint32_t length;
  std::uint16_t flags;
};

/// Most pieces of one buffer.
inline constexpr std::uint16_t kMaxPieces = 256;

/// How a book counts the descriptors of a buffer that lie in a table of their own: one in the ring, and yet
/// no buffer of one piece.
inline constexpr std::uint16_t kInTable = 0x8001;
/// Descriptors in the ring.
[[nodiscard]] constexpr std::uint16_t ring_descriptors(std::uint16_t counted) noexcept {
  return counted & 0x7FFF;
}

/// What harvest() shows packets to when nobody wants to see them.
struct Unseen {
  template <class Packet>
  void operator()(Packet& /*packet*/) const noexcept {}
};

/// Who owns which buffer id: the packets that the device holds, by id. The one place where an id that the
/// device wrote becomes a packet. A loop works on a copy of the book in registers and puts it back: stores to
/// packets and rings could change a member, as far as the compiler knows.
/// Buffers of one descriptor come and go in runs of neighbouring ids, as a rule: a run is one or two vectors.
template <class Packet, RingFeatures F>
class RingBook {
 public:
  /// The longest run.
  static constexpr std::uint16_t kRun = 8;
  /// Descriptors that are written are fetched so far ahead: the next burst's, as a rule.
  static constexpr std::uint16_t kAhead = 24;
  /// Packets that are shown at a burst's end for the next one: a CPU can have some 16 lines on their way, and
  /// whoever asks for more waits.
  static constexpr std::uint16_t kShownAhead = 16;

  /// What a book of `size` ids is written in; outlives it.
  struct Pages {
    explicit Pages(std::uint16_t size)
        : packets(std::make_unique<Packet*[]>(size)),
          descriptors(F.chains ? std::make_unique<std::uint16_t[]>(size) : nullptr) {
      if constexpr (F.chains) std::fill_n(descriptors.get(), size, std::uint16_t{1});
    }
    std::unique_ptr<Packet*[]> packets;            ///< that the device holds under this id, or nullptr
    std::unique_ptr<std::uint16_t[]> descriptors;  ///< of its buffer; 0: a member of another's. Free ids: 1
  };
  RingBook(const Pages& pages, std::uint16_t size) noexcept
      : packets_(pages.packets.get()),
        descriptors_(pages.descriptors.get()),
        mask_(static_cast<std::uint16_t>(size - 1)),
        free_(size) {}
  /// Member by member, as is put_back(): loaded together they would wait for the stores of the loop before.
  RingBook(const RingBook& other) noexcept
      : packets_(other.packets_),
        descriptors_(other.descriptors_),
        mask_(other.mask_),
        cursor_(other.cursor_),
        free_(other.free_),
        held_(other.held_) {}
  RingBook& operator=(const RingBook&) = delete;
  ~RingBook() = default;
  /// Takes over what a loop has done to its copy.
  void put_back(const RingBook& copy) noexcept {
    cursor_ = copy.cursor_;
    free_ = copy.free_;
    held_ = copy.held_;
  }

  [[nodiscard]] std::uint16_t size() const noexcept { return static_cast<std::uint16_t>(mask_ + 1); }
  [[nodiscard]] std::uint16_t mask() const noexcept { return mask_; }
  /// Free descriptors.
  [[nodiscard]] std::uint16_t free() const noexcept { return free_; }
  /// Buffers that the device holds.
  [[nodiscard]] std::uint16_t held() const noexcept {
    if constexpr (F.chains) return held_;
    return static_cast<std::uint16_t>(size() - free_);
  }
  [[nodiscard]] bool is_free(std::uint16_t id) const noexcept { return packets_[id] == nullptr; }
  /// The packet behind an id, or nullptr; nothing is believed of the id but that it names a slot.
  [[nodiscard]] Packet* peek(std::uint32_t id) const noexcept { return packets_[id & mask_]; }
  /// Shows the packets behind kRun ids from `first` on; false: they do not lie in a row.
  template <class Show>
  [[nodiscard]] bool show_run(std::uint32_t first, Show& show) const noexcept {
    if (!is_run<kRun>(first)) return false;
    Packet* const* const run = packets_ + first;
#pragma GCC unroll 8
    for (std::uint32_t i = 0; i < kRun; ++i) {
      if (run[i] != nullptr) show(*run[i]);
    }
    return true;
  }
  /// Shows the packets behind `count` ids from `first` on, round the ring.
  template <class Show>
  void show_each(std::uint32_t first, std::uint32_t count, Show& show) const noexcept {
    for (std::uint32_t i = 0; i < count; ++i) {
      if (Packet* const packet = peek(first + i); packet != nullptr) show(*packet);
    }
  }
  /// The next free id, in the order of the table; there is one. In order (2.7.9) the next is always free.
  [[nodiscard]] std::uint16_t any_free() noexcept {
    if constexpr (!F.in_order) {
      while (!is_free(ring_slot(cursor_, mask_))) ++cursor_;
    }
    return ring_slot(cursor_++, mask_);
  }

  /// Whether the `kCount` ids from `first` on lie in a row.
  template <std::uint16_t kCount>
  [[nodiscard]] bool is_run(std::uint32_t first) const noexcept {
    return first + std::uint64_t{kCount} <= size();
  }
  /// `packet` is the device's from now on, as a buffer of one descriptor.
  void enter(std::uint16_t id, Packet* packet) noexcept {
    packets_[id] = packet;
    count_entered(1);
  }
  /// The same of several descriptors, or kInTable.
  void enter_chain(std::uint16_t id, Packet* packet, std::uint16_t descriptors) noexcept requires(F.chains) {
    packets_[id] = packet;
    descriptors_[id] = descriptors;
    free_ = static_cast<std::uint16_t>(free_ - ring_descriptors(descriptors));
    ++held_;
  }
  /// A further descriptor of a buffer: no id of its own. What the device may not name.
  void enter_member(std::uint16_t id, Packet* packet) noexcept requires(F.chains) {
    packets_[id] = packet;
    descriptors_[id] = 0;
  }
  void leave_member(std::uint16_t id) noexcept requires(F.chains) {
    packets_[id] = nullptr;
    descriptors_[id] = 1;
  }
  /// enter() for `kCount` packets (4 or 8) under the ids from `first` on; false: these do not lie in a row or
  /// are not all free, and nothing was done.
  template <class Runs, std::uint16_t kCount>
  [[nodiscard]] bool enter_run(std::uint32_t first, Packet* const* packets) noexcept {
    if (!is_run<kCount>(first) || !Runs::template fill_empty<kCount>(words(packets_ + first), words(packets)))
      return false;
    count_entered(kCount);
    return true;
  }

  /// enter_run() under the next ids of the table. The first of them; size(): they are not all free or do not
  /// lie in a row, and nothing was done.
  template <class Runs, std::uint16_t kCount>
  [[nodiscard]] std::uint32_t enter_next_run(Packet* const* packets) noexcept {
    const std::uint32_t first = ring_slot(cursor_, mask_);
    if (!enter_run<Runs, kCount>(first, packets)) [[unlikely]]
      return size();
    cursor_ = static_cast<std::uint16_t>(cursor_ + kCount);
    return first;
  }

  /// The packet behind an id that the device wrote, which is the caller's again; nullptr if it may not name
  /// that id now. `descriptors`: of its buffer.
  [[nodiscard]] Packet* claim(std::uint32_t id, std::uint16_t& descriptors) noexcept {
    if (refused(id > mask_)) [[unlikely]]
      return nullptr;
    if constexpr (F.chains) {
      if (refused(descriptors_[id] == 0)) [[unlikely]]
        return nullptr;
    }
    if (refused(packets_[id] == nullptr)) [[unlikely]]
      return nullptr;
    return leave(static_cast<std::uint16_t>(id), descriptors);
  }
  /// The same for an id that is known to be held (the next in order).
  [[nodiscard]] Packet* leave(std::uint16_t id, std::uint16_t& descriptors) noexcept {
    descriptors = this->descriptors(id);
    if constexpr (F.chains) {
      descriptors_[id] = 1;
      --held_;
    }
    free_ = static_cast<std::uint16_t>(free_ + ring_descriptors(descriptors));
    return std::exchange(packets_[id], nullptr);
  }
  [[nodiscard]] Packet* leave(std::uint16_t id) noexcept {
    std::uint16_t descriptors = 0;
    return leave(id, descriptors);
  }
  /// claim() for `kCount` ids (4 or 8) from `first` on; false: they do not lie in a row or do not all name a
  /// buffer of one descriptor, and nothing was done.
  template <class Runs, std::uint16_t kCount>
  [[nodiscard]] bool claim_run(std::uint32_t first, Packet** out) noexcept {
    if (!is_run<kCount>(first) || !are_single<kCount>(first) ||
        !Runs::template take_full<kCount>(words(packets_ + first), words(out))) [[unlikely]]
      return false;
    if constexpr (F.chains) held_ = static_cast<std::uint16_t>(held_ - kCount);
    free_ = static_cast<std::uint16_t>(free_ + kCount);
    return true;
  }
  /// Of a buffer that is held.
  [[nodiscard]] std::uint16_t descriptors(std::uint16_t id) const noexcept {
    if constexpr (F.chains) return descriptors_[id];
    return 1;
  }

  /// Hands every held packet to `take`. The device no longer uses the ring.
  template <class Take>
  void release_all(Take take) noexcept {
    for (std::uint32_t id = 0; id < size(); ++id) {
      const std::uint16_t descriptors = this->descriptors(static_cast<std::uint16_t>(id));
      if constexpr (F.chains) descriptors_[id] = 1;
      Packet* const packet = std::exchange(packets_[id], nullptr);
      if (packet != nullptr && descriptors != 0) take(packet);
    }
    held_ = 0;
    free_ = size();
  }

 private:
  /// Whether none of these ids is of a chain.
  template <std::uint16_t kCount>
  [[nodiscard]] bool are_single(std::uint32_t first) const noexcept {
    if constexpr (F.chains) {
      for (unsigned i = 0; i < kCount; i += 4) {
        std::uint64_t four = 0;
        std::memcpy(&four, descriptors_ + first + i, sizeof(four));
        if (four != 0x0001'0001'0001'0001U) [[unlikely]]
          return false;
      }
    }
    return true;
  }
  /// Pointers as words, for Runs: these may alias anything.
  [[nodiscard]] static RunWord* words(Packet** pointers) noexcept {
    static_assert(sizeof(Packet*) == sizeof(RunWord));
    return reinterpret_cast<RunWord*>(pointers);
  }
  [[nodiscard]] static const RunWord* words(Packet* const* pointers) noexcept {
    return reinterpret_cast<const RunWord*>(pointers);
  }
  void count_entered(std::uint16_t count) noexcept {
    free_ = static_cast<std::uint16_t>(free_ - count);
    if constexpr (F.chains) held_ = static_cast<std::uint16_t>(held_ + count);
  }

  Packet** packets_;
  std::uint16_t* descriptors_;  ///< with chains
  std::uint16_t mask_;
  std::uint16_t cursor_ = 0;  ///< free-running: the id that any_free() looks at first
  std::uint16_t free_;
  std::uint16_t held_ = 0;  ///< with chains; without, it follows from free_
};

}  // namespace spinring::pmd::virtio
