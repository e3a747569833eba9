#pragma once

#include <benchmark/benchmark.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace spinring::bench {

/// Compares two sides that ran the same rows. Rows are named "SIDE/ROW"; for each ROW that both sides have,
/// the nth repetitions make a pair, and finish() prints the median ratio of the pairs and their spread. Use
/// it with random interleaving, so that a change of the machine's speed meets both sides alike.
class CompareReporter : public benchmark::BenchmarkReporter {
 public:
  /// Ratios are `ours` to `theirs`; `theirs_again`, where it ran, shows what the machine's noise alone makes
  /// of two equal sides.
  /// `rows` is the order to print them in (random interleaving has none).
  CompareReporter(std::string ours, std::string theirs, std::string theirs_again,
                  std::vector<std::string> rows);

  bool ReportContext(const Context& context) override;
  void ReportRuns(const std::vector<Run>& runs) override;
  void Finalize() override;

 private:
  /// Operations a second by repetition.
  using Rates = std::map<std::int64_t, double>;
  void print_row(const std::string& name, const Rates& numerator, const Rates& denominator);

  std::string ours_;
  std::string theirs_;
  std::string theirs_again_;
  std::vector<std::string> rows_;
  std::map<std::pair<std::string, std::string>, Rates> results_;  ///< by side and row
};

}  // namespace spinring::bench
