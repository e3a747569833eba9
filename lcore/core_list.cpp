#include "lcore/core_list.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>

#include "lcore/cpu_set.hpp"
#include "lcore/errors.hpp"

namespace spinring::lcore {
namespace {

constexpr std::string_view kCure =
    "Write numbers and ranges from 0 to 8191, such as 0-3,5; --lcores also takes lcore@cpu, such as 0@0,1@1.";

tl::unexpected<Error> bad(std::string_view whole, std::string_view part, std::string_view why) {
  return fail(Errc::kBadCoreList, "reading \"" + std::string(part) + "\" (" + std::string(why) + ")",
              "core list \"" + std::string(whole) + "\"", 0, std::string(kCure));
}

std::optional<int> number(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < 0 || value >= kMaxCpus) return {};
  return value;
}

struct Range {
  int first;
  int last;
};

std::optional<Range> range(std::string_view text) {
  const std::size_t dash = text.find('-');
  if (dash == std::string_view::npos) {
    const std::optional<int> one = number(text);
    return one ? std::optional<Range>({*one, *one}) : std::nullopt;
  }
  const std::optional<int> first = number(text.substr(0, dash));
  const std::optional<int> last = number(text.substr(dash + 1));
  if (!first || !last) return {};
  return Range{*first, *last};
}

Result<std::vector<LcoreSpec>> parse(std::string_view text, bool with_cpu) {
  std::vector<LcoreSpec> specs;
  for (std::size_t start = 0; start <= text.size();) {
    const std::size_t comma = std::min(text.find(',', start), text.size());
    const std::string_view part = text.substr(start, comma - start);
    start = comma + 1;

    const std::size_t at = with_cpu ? part.find('@') : std::string_view::npos;
    const std::optional<Range> lcores = range(part.substr(0, at));
    if (!lcores) return bad(text, part, "no number or range");
    if (lcores->last < lcores->first) return bad(text, part, "the range runs backwards");
    std::optional<int> cpu;
    if (at != std::string_view::npos) {
      cpu = number(part.substr(at + 1));
      if (!cpu) return bad(text, part, "no CPU number after @");
    }
    for (int lcore = lcores->first; lcore <= lcores->last; ++lcore) {
      const LcoreSpec spec{static_cast<unsigned>(lcore), cpu.value_or(lcore)};
      const auto same = [&](const LcoreSpec& other) { return other.lcore == spec.lcore; };
      if (std::any_of(specs.begin(), specs.end(), same)) return bad(text, part, "an lcore named twice");
      specs.push_back(spec);
    }
  }
  return specs;
}

}  // namespace

Result<std::vector<LcoreSpec>> parse_core_list(std::string_view text) { return parse(text, false); }

Result<std::vector<LcoreSpec>> parse_lcores(std::string_view text) { return parse(text, true); }

}  // namespace spinring::lcore
