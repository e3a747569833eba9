#include "pmd/e1000/statistics.hpp"

#include <algorithm>
#include <string>

#include "pmd/e1000/registers.hpp"

namespace spinring::pmd::e1000 {

void Statistics::restart(RegisterBlock& registers) {
  collect(registers);
  totals_ = {};
}

void Statistics::collect(RegisterBlock& registers) {
  if (mmio::read<Status>(registers).raw == Status::kGone) return;
  for (std::size_t i = 0; i < kStatRegisters.size(); ++i) {
    const StatRegister& row = kStatRegisters[i];
    std::uint64_t value = registers.read32(row.offset);
    if (row.kind != StatRegister::Kind::kCounter) {
      value |= std::uint64_t{registers.read32(row.offset + 4)} << 32;
    }
    totals_[i] += value;
  }
}

std::vector<NamedStat> Statistics::report() const {
  constexpr std::uint64_t kFcs = 4;
  std::vector<NamedStat> stats;
  for (std::size_t i = 0; i < kStatRegisters.size(); ++i) {
    std::uint64_t value = totals_[i];
    if (kStatRegisters[i].kind == StatRegister::Kind::kWideBytes) {
      value -= std::min(value, kFcs * totals_[i - 1]);
    }
    stats.push_back({std::string(kStatRegisters[i].name), value});
  }
  return stats;
}

}  // namespace spinring::pmd::e1000
