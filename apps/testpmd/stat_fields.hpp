#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "pmd/port.hpp"

namespace spinring::testpmd {

/// What a port's streams counted; the fields of StreamCounters, in the same sense: received and consumed by
/// the port that they came by, the others by the port that they leave by.
struct FlowStats {
  std::uint64_t received = 0;
  std::uint64_t generated = 0;
  std::uint64_t sent = 0;
  std::uint64_t tx_dropped = 0;
  std::uint64_t consumed = 0;
};

/// One counter of a statistics struct: the name it has in text and JSON, and where it is. Everything that
/// prints, sums or clears counters goes through these tables, so that a new counter cannot be forgotten in
/// one of them.
template <class Stats>
struct StatField {
  std::string_view name;
  std::uint64_t Stats::*member;
};

template <class Stats>
struct StatFields;

template <>
struct StatFields<pmd::RxStats> {
  static constexpr std::array<StatField<pmd::RxStats>, 6> kAll{
      {{"packets", &pmd::RxStats::packets},
       {"bytes", &pmd::RxStats::bytes},
       {"bad_completions", &pmd::RxStats::bad_completions},
       {"truncated", &pmd::RxStats::truncated},
       {"refill_short", &pmd::RxStats::refill_short},
       {"restart_dropped", &pmd::RxStats::restart_dropped}}};
};
template <>
struct StatFields<pmd::TxStats> {
  static constexpr std::array<StatField<pmd::TxStats>, 7> kAll{
      {{"packets", &pmd::TxStats::packets},
       {"bytes", &pmd::TxStats::bytes},
       {"ring_full", &pmd::TxStats::ring_full},
       {"rejected", &pmd::TxStats::rejected},
       {"bad_completions", &pmd::TxStats::bad_completions},
       {"sent_again", &pmd::TxStats::sent_again},
       {"restart_dropped", &pmd::TxStats::restart_dropped}}};
};
template <>
struct StatFields<FlowStats> {
  static constexpr std::array<StatField<FlowStats>, 5> kAll{{{"received", &FlowStats::received},
                                                             {"generated", &FlowStats::generated},
                                                             {"sent", &FlowStats::sent},
                                                             {"tx_dropped", &FlowStats::tx_dropped},
                                                             {"consumed", &FlowStats::consumed}}};
};
static_assert(StatFields<pmd::RxStats>::kAll.size() * sizeof(std::uint64_t) == sizeof(pmd::RxStats));
static_assert(StatFields<pmd::TxStats>::kAll.size() * sizeof(std::uint64_t) == sizeof(pmd::TxStats));
static_assert(StatFields<FlowStats>::kAll.size() * sizeof(std::uint64_t) == sizeof(FlowStats));

template <class Stats>
[[nodiscard]] Stats plus(Stats left, const Stats& right) noexcept {
  for (const auto& field : StatFields<Stats>::kAll) left.*field.member += right.*field.member;
  return left;
}
template <class Stats>
[[nodiscard]] Stats minus(Stats left, const Stats& right) noexcept {
  for (const auto& field : StatFields<Stats>::kAll) left.*field.member -= right.*field.member;
  return left;
}

/// Counters that outlive what counts them: a queue's begin anew at each start of its port, a stream's end
/// with it.
template <class Stats>
class Running {
 public:
  /// What counts now has read `last` and begins anew, or has gone.
  void end_of(const Stats& last) noexcept { past_ = plus(past_, last); }
  /// All since the last clear(), with what counts now at `current`.
  [[nodiscard]] Stats total(const Stats& current = {}) const noexcept {
    return minus(plus(past_, current), cleared_);
  }
  void clear(const Stats& current = {}) noexcept { cleared_ = plus(past_, current); }

 private:
  Stats past_;
  Stats cleared_;
};

}  // namespace spinring::testpmd
