#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace spinring::bench::vhost {

/// Counts of values in buckets that are never wider than 1/64 of what they hold. Values below 2^40.
class Histogram {
 public:
  void add(std::uint64_t value) noexcept { ++counts_[bucket_of(value)]; }
  [[nodiscard]] std::uint64_t total() const noexcept;
  /// The least value that `share` (0 to 1) of all are not above, up to the bucket's width; 0 without values.
  [[nodiscard]] std::uint64_t quantile(double share) const noexcept;

 private:
  static constexpr unsigned kFine = 7;  ///< a power of two is 2^(kFine - 1) buckets
  static constexpr unsigned kMostBits = 40;
  static constexpr std::size_t kBuckets = std::size_t{kMostBits - kFine + 2} << (kFine - 1);

  static std::size_t bucket_of(std::uint64_t value) noexcept;
  static std::uint64_t top_of(std::size_t bucket) noexcept;

  std::array<std::uint64_t, kBuckets> counts_{};
};

/// Frames whose time from the back end through the driver and back is taken. A frame carries its probe's
/// number; when it was due stays here. What a slice of the run has seen counts only if neither side was off
/// its CPU in it.
class Probes {
 public:
  /// Stands in a frame in place of its stream (FrameTemplate::kStream).
  static constexpr std::uint16_t kStream = 0xffff;

  struct Counts {
    std::uint64_t sent = 0;
    std::uint64_t returned = 0;
    std::uint64_t unknown = 0;    ///< came back twice, or were never sent
    std::uint64_t discarded = 0;  ///< of those that returned: warm-up, or a slice that does not count
  };

  /// A frame goes out that was to go at `due`; returns what it is to carry.
  [[nodiscard]] std::uint64_t send(std::uint64_t due) noexcept {
    const std::uint64_t number = ++counts_.sent;
    out_[number % kOut] = {number, due};
    return number;
  }
  /// It has come back at `now`.
  void see(std::uint64_t number, std::uint64_t now) {
    Out& out = out_[number % kOut];
    if (number == 0 || out.number != number) {
      ++counts_.unknown;
      return;
    }
    out.number = 0;
    ++counts_.returned;
    seen_.push_back(now - out.due);
  }
  /// Whether what was seen since the last call counts.
  void end_slice(bool counts) noexcept;

  [[nodiscard]] const Counts& counts() const noexcept { return counts_; }
  [[nodiscard]] const Histogram& histogram() const noexcept { return histogram_; }

 private:
  static constexpr std::size_t kOut = 1U << 14U;  ///< more than all rings of a pair hold

  struct Out {
    std::uint64_t number = 0;
    std::uint64_t due = 0;
  };
  std::array<Out, kOut> out_{};
  std::vector<std::uint64_t> seen_;  ///< in this slice, in ticks
  Counts counts_;
  Histogram histogram_;  ///< ticks
};

}  // namespace spinring::bench::vhost
