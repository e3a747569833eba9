#pragma once

#include <cstdint>
#include <vector>

namespace spinring::bench::vhost {

/// Least, quartiles and most of some values.
struct Spread {
  double least = 0;
  double lower = 0;
  double median = 0;
  double upper = 0;
  double most = 0;
};
Spread spread_of(std::vector<double> values);

/// What the slices say in the end.
struct SliceReport {
  Spread transmitted;  ///< M frames/s of the slices that count
  Spread received;
  double idle = 0;  ///< share of this side's time spent in passes that moved nothing
  double seconds = 0;
  double mean_transmitted = 0;  ///< over everything, pre-empted or not
  double mean_received = 0;
  std::uint64_t kept = 0;
  std::uint64_t preempted_here = 0;   ///< this thread was away for longer than the gap
  std::uint64_t preempted_there = 0;  ///< the driver did nothing for longer than the gap
};

/// A timer interrupt takes a few microseconds on a machine and up to 60 in a virtual one, a thousand times a
/// second, on both sides alike; a thread that is switched out is away for longer than this.
inline constexpr double kGapSeconds = 100e-6;

/// Counts frames in slices of 1 ms. A slice in which either side was off its CPU is left out: seen as a gap
/// in this thread's passes, or as a gap in the driver's progress.
class SliceRecorder {
 public:
  SliceRecorder(std::uint64_t tsc_hz, double warm_up_seconds, double seconds,
                double gap_seconds = kGapSeconds);

  /// Forgets all slices: others are to come, after another warm-up. The totals go on.
  void begin(double warm_up_seconds, double seconds);
  /// Starts counting, or goes on after time that does not count (messages, a system call).
  void resume(std::uint64_t now) noexcept;
  /// After each pass: its end, and the totals so far. True: a slice has ended here.
  bool pass(std::uint64_t now, std::uint64_t received, std::uint64_t transmitted) noexcept;
  /// Whether the slice that has ended last is among those that count.
  [[nodiscard]] bool last_counts() const noexcept { return last_counts_; }
  [[nodiscard]] bool full() const noexcept { return slices_.size() >= wanted_; }
  [[nodiscard]] SliceReport report() const;

 private:
  struct Slice {
    std::uint64_t ticks;
    std::uint64_t idle;
    std::uint32_t received;
    std::uint32_t transmitted;
    bool here;   ///< this thread was away
    bool there;  ///< the driver was
  };

  void open(std::uint64_t now) noexcept;

  std::uint64_t hz_;
  std::uint64_t slice_ticks_;
  std::uint64_t gap_ticks_;
  std::uint64_t warm_up_ = 0;  ///< slices yet to be thrown away
  std::size_t wanted_ = 0;
  std::vector<Slice> slices_;
  Slice current_{};
  bool last_counts_ = false;
  std::uint64_t slice_start_ = 0;
  std::uint64_t last_pass_ = 0;
  std::uint64_t last_progress_ = 0;
  std::uint64_t received_ = 0;  ///< totals at the slice's start
  std::uint64_t transmitted_ = 0;
  std::uint64_t seen_ = 0;  ///< frames, both ways, at the last progress
};

}  // namespace spinring::bench::vhost
