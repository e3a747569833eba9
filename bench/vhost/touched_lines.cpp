#include "bench/vhost/touched_lines.hpp"

#include <algorithm>
#include <utility>

#include "base/cpu.hpp"
#include "bench/vhost/process_maps.hpp"

namespace spinring::bench::vhost {
namespace {

constexpr std::array kRingParts = {"rx descriptors", "rx available", "rx used",
                                   "tx descriptors", "tx available", "tx used"};
constexpr const char* kShared = "shared besides";
constexpr const char* kStack = "stack";
constexpr const char* kOwn = "own";

}  // namespace

Result<TouchedLines> TouchedLines::of_process(pid_t process, const SharedStats& stats) {
  auto maps = read_maps(process);
  if (!maps) return fail(std::move(maps));
  TouchedLines lines(process);
  static_assert(kRingParts.size() == std::tuple_size_v<decltype(stats.rings)>);
  for (std::size_t i = 0; i < kRingParts.size(); ++i) {
    const std::uint64_t start = stats.rings[i].start.load(std::memory_order_relaxed);
    const std::uint64_t bytes = stats.rings[i].bytes.load(std::memory_order_relaxed);
    if (bytes != 0) lines.areas_.push_back({start / kCacheLine * kCacheLine, start + bytes, kRingParts[i]});
  }
  for (const ProcessMapping& mapping : *maps) {
    lines.areas_.push_back({mapping.start, mapping.end, mapping.access.back() == 's' ? kShared : kOwn});
  }
  return lines;
}

void TouchedLines::see(const user_regs_struct& registers) {
  stack_ = registers.rsp;
  for (const MemoryOperands::Range& range : operands_.touched(registers)) {
    const std::uint64_t last = range.start + std::max(range.bytes, 1U) - 1;
    for (std::uint64_t line = range.start / kCacheLine; line <= last / kCacheLine; ++line)
      turn_.insert(line * kCacheLine);
  }
}

void TouchedLines::end_turn() {
  for (const std::uint64_t line : turn_) ++lines_[name_of(line)];
  turn_.clear();
}

std::string TouchedLines::name_of(std::uint64_t line) const {
  const auto area = std::ranges::find_if(
      areas_, [line](const Area& each) { return line >= each.start && line < each.end; });
  if (area == areas_.end()) return "elsewhere";
  return area->start <= stack_ && stack_ < area->end ? kStack : area->name;
}

}  // namespace spinring::bench::vhost
