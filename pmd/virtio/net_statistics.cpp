// The device's own counters: virtio 1.4, 5.1.6.5.9.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "base/log.hpp"
#include "pmd/virtio/net_device.hpp"
#include "pmd/virtio/wire.hpp"

namespace spinring::pmd::virtio {
namespace {

/// A part of an answer: its type (the bit in the sets of types as well) and the counters in it, in order.
struct Part {
  std::uint8_t type;
  std::array<std::string_view, 6> counters;  ///< fewer: the rest is empty
};

constexpr std::array<Part, 4> kRxParts{
    {{0, {"notifications", "packets", "bytes", "interrupts", "drops", "drop_overruns"}},
     {1, {"csum_valid", "needs_csum", "csum_none", "csum_bad"}},
     {2, {"gso_packets", "gso_bytes", "gso_packets_coalesced", "gso_bytes_coalesced"}},
     {3, {"ratelimit_packets", "ratelimit_bytes"}}}};
constexpr std::array<Part, 4> kTxParts{
    {{16, {"notifications", "packets", "bytes", "interrupts", "drops", "drop_malformed"}},
     {17, {"csum_none", "needs_csum"}},
     {18,
      {"gso_packets", "gso_bytes", "gso_segments", "gso_segments_bytes", "gso_packets_noseg",
       "gso_bytes_noseg"}},
     {19, {"ratelimit_packets", "ratelimit_bytes"}}}};
constexpr std::array<Part, 1> kControlParts{{{32, {"commands", "ok"}}}};
using Parts = std::span<const Part>;

std::uint64_t types_of(Parts parts) {
  std::uint64_t types = 0;
  for (const Part& part : parts) types |= 1ULL << part.type;
  return types;
}

/// Reads the parts of an answer about queue `index`, as far as they can be what they say; the device wrote
/// them.
void read_parts(std::span<const std::byte> answer, std::uint16_t index, Parts known,
                const std::string& prefix, std::vector<NamedStat>& all) {
  while (answer.size() >= sizeof(StatsReplyHead)) {
    StatsReplyHead head;
    std::memcpy(&head, answer.data(), sizeof(head));
    if (head.size < sizeof(head) || head.size > answer.size() || head.queue != index) return;
    const auto part =
        std::find_if(known.begin(), known.end(), [&](const Part& one) { return one.type == head.type; });
    auto counters = answer.first(head.size).subspan(sizeof(head));
    answer = answer.subspan(head.size);
    if (part == known.end()) continue;
    for (const std::string_view counter : part->counters) {
      if (counter.empty() || counters.size() < sizeof(Le64)) break;
      Le64 value;
      std::memcpy(&value, counters.data(), sizeof(value));
      counters = counters.subspan(sizeof(value));
      all.push_back({fmt::format("{}{}", prefix, counter), value});
    }
  }
}

}  // namespace

void NetDevice::add_statistics(std::uint16_t index, std::uint64_t types, std::vector<NamedStat>& all) {
  const bool is_control = index == control_queue_index();
  const Parts known = is_control ? Parts(kControlParts) : index % 2 == 0 ? Parts(kRxParts) : Parts(kTxParts);
  const StatsRequest request{index, {}, types & types_of(known)};
  if (request.types == 0) return;
  std::array<std::byte, ControlQueue::kMaxReply> answer{};
  const auto answered = control(Feature::kDeviceStats, control::kStatsGet,
                                std::as_bytes(std::span(&request, 1)), "reading device statistics", answer);
  if (!answered) return log(LogLevel::kWarning, answered.error().message());
  const char* const side = index % 2 == 0 ? "rx" : "tx";
  const std::string prefix = is_control ? "ctrl_hw_" : fmt::format("{}_q{}_hw_", side, index / 2);
  read_parts(answer, index, known, prefix, all);
}

std::vector<NamedStat> NetDevice::statistics() {
  std::vector<NamedStat> all;
  if (!running_ || !negotiated_.has(Feature::kDeviceStats)) return all;
  Le64 types;
  const auto answered = control(Feature::kDeviceStats, control::kStatsQuery, {},
                                "asking for device statistics", std::as_writable_bytes(std::span(&types, 1)));
  if (!answered) {
    log(LogLevel::kWarning, answered.error().message());
    return all;
  }
  for (std::uint16_t index = 0; index < 2 * queue_pairs_; ++index) add_statistics(index, types, all);
  add_statistics(control_queue_index(), types, all);
  return all;
}

}  // namespace spinring::pmd::virtio
