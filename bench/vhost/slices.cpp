#include "bench/vhost/slices.hpp"

#include <algorithm>
#include <cmath>

namespace spinring::bench::vhost {
namespace {

constexpr double kSliceSeconds = 1e-3;

}  // namespace

Spread spread_of(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const auto at = [&](double fraction) {
    const double place = fraction * static_cast<double>(values.size() - 1);
    const auto below = static_cast<std::size_t>(place);
    const std::size_t above = std::min(below + 1, values.size() - 1);
    return values[below] + (values[above] - values[below]) * (place - std::floor(place));
  };
  return {values.front(), at(0.25), at(0.5), at(0.75), values.back()};
}

SliceRecorder::SliceRecorder(std::uint64_t tsc_hz, double warm_up_seconds, double seconds, double gap_seconds)
    : hz_(tsc_hz),
      slice_ticks_(static_cast<std::uint64_t>(static_cast<double>(tsc_hz) * kSliceSeconds)),
      gap_ticks_(static_cast<std::uint64_t>(static_cast<double>(tsc_hz) * gap_seconds)) {
  begin(warm_up_seconds, seconds);
}

void SliceRecorder::begin(double warm_up_seconds, double seconds) {
  warm_up_ = static_cast<std::uint64_t>(warm_up_seconds / kSliceSeconds);
  wanted_ = static_cast<std::size_t>(std::max(1.0, seconds / kSliceSeconds));
  slices_.clear();
  slices_.reserve(wanted_);
}

void SliceRecorder::open(std::uint64_t now) noexcept {
  current_ = {};
  slice_start_ = now;
}

void SliceRecorder::resume(std::uint64_t now) noexcept {
  open(now);
  last_pass_ = now;
  last_progress_ = now;
}

bool SliceRecorder::pass(std::uint64_t now, std::uint64_t received, std::uint64_t transmitted) noexcept {
  const std::uint64_t took = now - last_pass_;
  last_pass_ = now;
  if (took > gap_ticks_) current_.here = true;
  if (received + transmitted == seen_) {
    current_.idle += took;
    if (now - last_progress_ > gap_ticks_ && took <= gap_ticks_) current_.there = true;
  } else {
    seen_ = received + transmitted;
    last_progress_ = now;
  }
  if (now - slice_start_ < slice_ticks_) return false;
  current_.ticks = now - slice_start_;
  current_.received = static_cast<std::uint32_t>(received - received_);
  current_.transmitted = static_cast<std::uint32_t>(transmitted - transmitted_);
  received_ = received;
  transmitted_ = transmitted;
  last_counts_ = warm_up_ == 0 && !full() && !current_.here && !current_.there;
  if (warm_up_ > 0) {
    --warm_up_;
  } else if (!full()) {
    slices_.push_back(current_);
  }
  open(now);
  return true;
}

SliceReport SliceRecorder::report() const {
  SliceReport report;
  std::vector<double> received;
  std::vector<double> transmitted;
  double ticks = 0;
  double kept_ticks = 0;
  double idle = 0;
  double all_received = 0;
  double all_transmitted = 0;
  for (const Slice& slice : slices_) {
    const auto length = static_cast<double>(slice.ticks);
    ticks += length;
    all_received += slice.received;
    all_transmitted += slice.transmitted;
    report.preempted_here += slice.here;
    report.preempted_there += slice.there && !slice.here;
    if (slice.here || slice.there) continue;
    const double microseconds = length / static_cast<double>(hz_) * 1e6;
    received.push_back(slice.received / microseconds);
    transmitted.push_back(slice.transmitted / microseconds);
    kept_ticks += length;
    idle += static_cast<double>(slice.idle);
  }
  report.kept = received.size();
  report.seconds = ticks / static_cast<double>(hz_);
  if (ticks > 0) {
    report.mean_received = all_received / report.seconds / 1e6;
    report.mean_transmitted = all_transmitted / report.seconds / 1e6;
  }
  if (kept_ticks > 0) report.idle = idle / kept_ticks;
  report.received = spread_of(std::move(received));
  report.transmitted = spread_of(std::move(transmitted));
  return report;
}

}  // namespace spinring::bench::vhost
