#include "pmd/e1000/statistics.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "pmd/e1000/registers.hpp"

namespace spinring::pmd::e1000 {

void Statistics::restart(RegisterBlock& registers) {
  collect(registers);
  totals_.assign(rows_.size(), 0);
}

void Statistics::collect(RegisterBlock& registers) {
  using Kind = StatRegister::Kind;
  if (mmio::read<Status>(registers).raw == Status::kGone) return;
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    const StatRegister& row = rows_[i];
    const std::uint32_t low = registers.read32(row.offset);
    if (row.kind == Kind::kRunning || row.kind == Kind::kRunningBytes) {
      totals_[i] += low - std::exchange(last_[i], low);
    } else if (row.kind == Kind::kCounter) {
      totals_[i] += low;
    } else {
      totals_[i] += low | std::uint64_t{registers.read32(row.offset + 4)} << 32;
    }
  }
}

std::vector<NamedStat> Statistics::report() const {
  using Kind = StatRegister::Kind;
  constexpr std::uint64_t kFcs = 4;
  std::vector<NamedStat> stats;
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    std::uint64_t value = totals_[i];
    if (rows_[i].kind == Kind::kWideBytes || rows_[i].kind == Kind::kRunningBytes) {
      value -= std::min(value, kFcs * totals_[i - 1]);
    }
    stats.push_back({std::string(rows_[i].name), value});
  }
  return stats;
}

}  // namespace spinring::pmd::e1000
