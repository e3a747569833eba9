#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace spinring::bench::vhost {

inline constexpr std::size_t kLeastFrame = 60;  ///< 64 on the wire, without the FCS
inline constexpr std::size_t kMostFrame = 9000;

/// A UDP packet, the same for every frame but for 10 bytes: the stream (queue pair) and its sequence number.
class FrameTemplate {
 public:
  static constexpr std::size_t kAddresses = 12;  ///< what a forwarder may rewrite: both MAC addresses
  static constexpr std::size_t kStream = 42;     ///< the first byte after Ethernet, IPv4 and UDP
  static constexpr std::size_t kSequence = 44;
  static constexpr std::size_t kSequenceEnd = 52;

  explicit FrameTemplate(std::size_t size);

  [[nodiscard]] std::size_t size() const noexcept { return bytes_.size(); }

  /// Writes the whole frame.
  void write(std::byte* to) const noexcept {
    // The constant size becomes a few vector stores.
    if (bytes_.size() == kLeastFrame) {
      std::memcpy(to, bytes_.data(), kLeastFrame);
    } else {
      std::memcpy(to, bytes_.data(), bytes_.size());
    }
  }
  static void stamp(std::byte* frame, std::uint16_t stream, std::uint64_t sequence) noexcept {
    std::memcpy(frame + kStream, &stream, sizeof(stream));
    std::memcpy(frame + kSequence, &sequence, sizeof(sequence));
  }
  /// Whether all but addresses, stream and sequence number is as it was written.
  [[nodiscard]] bool intact(std::span<const std::byte> frame) const noexcept;

 private:
  std::vector<std::byte> bytes_;
};

/// What is known of one stream of sequence numbers. Plain data: it may lie in a file that outlives the
/// process (--ledger).
struct StreamRecord {
  static constexpr std::uint64_t kWindow = 1U << 17U;  ///< more than all rings and caches of a driver hold

  std::uint64_t filled = 0;  ///< numbers below this may have been given to the driver
  std::uint64_t given = 0;   ///< numbers below this were
  std::uint64_t next = 0;
  std::uint64_t verified = 0;
  std::uint64_t lost = 0;
  std::uint64_t reordered = 0;
  std::uint64_t duplicated = 0;
  std::uint64_t corrupt = 0;
  std::array<std::uint64_t, kWindow / 64> seen{};  ///< a bit for each of the last kWindow numbers
};

/// Sequence numbers of one stream as they come back: gaps, late ones, doubles.
class SequenceChecker {
 public:
  /// `record` outlives the checker.
  explicit SequenceChecker(StreamRecord& record) : record_(&record) {}

  void see(std::uint64_t sequence) noexcept;

  [[nodiscard]] std::uint64_t verified() const noexcept { return record_->verified; }
  /// Numbers below the highest that never came.
  [[nodiscard]] std::uint64_t lost() const noexcept { return record_->lost; }
  [[nodiscard]] std::uint64_t reordered() const noexcept { return record_->reordered; }
  [[nodiscard]] std::uint64_t duplicated() const noexcept { return record_->duplicated; }
  [[nodiscard]] std::uint64_t next() const noexcept { return record_->next; }

 private:
  static constexpr std::uint64_t kWindow = StreamRecord::kWindow;

  [[nodiscard]] std::uint64_t& word(std::uint64_t sequence) noexcept {
    return record_->seen[sequence % kWindow / 64];
  }
  static std::uint64_t mask(std::uint64_t sequence) noexcept { return std::uint64_t{1} << (sequence % 64); }

  StreamRecord* record_;
};

}  // namespace spinring::bench::vhost
