#include "bench/compare_reporter.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

namespace spinring::bench {
namespace {

/// Value at `fraction` of the sorted list, between neighbours if need be.
double quantile(const std::vector<double>& sorted, double fraction) {
  const double at = fraction * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (at - static_cast<double>(below));
}

double median(const std::map<std::int64_t, double>& rates) {
  std::vector<double> values;
  for (const auto& [repetition, rate] : rates) values.push_back(rate);
  std::sort(values.begin(), values.end());
  return quantile(values, 0.5);
}

}  // namespace

CompareReporter::CompareReporter(std::string ours, std::string theirs, std::string theirs_again,
                                 std::vector<std::string> rows)
    : ours_(std::move(ours)),
      theirs_(std::move(theirs)),
      theirs_again_(std::move(theirs_again)),
      rows_(std::move(rows)) {}

bool CompareReporter::ReportContext(const Context& context) {
  PrintBasicContext(&GetErrorStream(), context);
  return true;
}

void CompareReporter::ReportRuns(const std::vector<Run>& runs) {
  for (const Run& run : runs) {
    if (run.run_type != Run::RT_Iteration || run.error_occurred) {
      if (run.error_occurred) GetErrorStream() << run.benchmark_name() << ": " << run.error_message << '\n';
      continue;
    }
    const std::string& side_and_row = run.run_name.function_name;
    const auto slash = side_and_row.find('/');
    results_[{side_and_row.substr(0, slash), side_and_row.substr(slash + 1)}][run.repetition_index] =
        run.counters.at("items_per_second");
  }
}

void CompareReporter::print_row(const std::string& name, const Rates& numerator, const Rates& denominator) {
  std::vector<double> ratios;
  for (const auto& [repetition, rate] : numerator) {
    const auto other = denominator.find(repetition);
    if (other != denominator.end()) ratios.push_back(rate / other->second);
  }
  if (ratios.empty()) return;
  std::sort(ratios.begin(), ratios.end());
  GetOutputStream() << fmt::format(
      "{:<34} {:>9.1f} {:>9.1f} {:>8.3f}   {:.3f} to {:.3f}   {:.3f} to {:.3f} {:>5}\n", name,
      median(numerator) / 1e6, median(denominator) / 1e6, quantile(ratios, 0.5), quantile(ratios, 0.25),
      quantile(ratios, 0.75), ratios.front(), ratios.back(), ratios.size());
}

void CompareReporter::Finalize() {
  GetOutputStream() << fmt::format("{:<34} {:>9} {:>9} {:>8}   {:<14}   {:<14} {:>5}\n",
                                   "row, millions a second", ours_, theirs_, "ratio", "half of pairs",
                                   "all pairs", "pairs");
  for (const std::string& row : rows_) {
    print_row(row, results_[{ours_, row}], results_[{theirs_, row}]);
  }
  for (const std::string& row : rows_) {
    print_row("A/A " + row, results_[{theirs_again_, row}], results_[{theirs_, row}]);
  }
}

}  // namespace spinring::bench
