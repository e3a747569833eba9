#pragma once

#include <algorithm>
#include <cstdint>

namespace spinring::bench::vhost {

/// Frames at even distances in time, whatever became of those before. Times are ticks of the time-stamp
/// counter.
class Pace {
 public:
  /// `ticks`: from one frame to the next. `patience`: one that is so late is not sent any more, nor are those
  /// before.
  Pace(double ticks, std::uint64_t patience) noexcept
      : ticks_(ticks), patience_(static_cast<double>(patience)) {}

  /// Frames that are due by `now`, up to `most`.
  [[nodiscard]] unsigned due(std::uint64_t now, unsigned most) noexcept {
    const auto at = static_cast<double>(now);
    if (next_ == 0) next_ = at;
    if (at < next_) return 0;
    if (at - next_ > patience_) {
      skipped_ += static_cast<std::uint64_t>((at - next_) / ticks_);
      next_ = at;
    }
    return static_cast<unsigned>(std::min((at - next_) / ticks_ + 1, static_cast<double>(most)));
  }
  /// When the frame `ahead` of the next was to go.
  [[nodiscard]] std::uint64_t time_of(unsigned ahead) const noexcept {
    return static_cast<std::uint64_t>(next_ + ahead * ticks_);
  }
  void sent(unsigned frames) noexcept { next_ += frames * ticks_; }
  [[nodiscard]] std::uint64_t skipped() const noexcept { return skipped_; }

 private:
  double ticks_;
  double patience_;
  double next_ = 0;
  std::uint64_t skipped_ = 0;
};

}  // namespace spinring::bench::vhost
