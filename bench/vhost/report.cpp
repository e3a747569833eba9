#include "bench/vhost/report.hpp"

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/time.hpp"

namespace spinring::bench::vhost {
namespace {

using Json = nlohmann::ordered_json;

struct SequenceTotals {
  std::uint64_t verified = 0;
  std::uint64_t lost = 0;
  std::uint64_t reordered = 0;
  std::uint64_t duplicated = 0;
};

SequenceTotals totals_of(const Traffic& traffic) {
  SequenceTotals totals;
  std::uint64_t highest = 0;
  for (const SequenceChecker& stream : traffic.streams()) {
    totals.verified += stream.verified();
    totals.lost += stream.lost();
    totals.reordered += stream.reordered();
    totals.duplicated += stream.duplicated();
    highest += stream.next();
  }
  // What was given last and had not come back when the run ended counts too.
  totals.lost += traffic.sequences_given() - highest;
  return totals;
}

double rounded(double value) { return std::round(value * 1e4) / 1e4; }

Json spread_json(const Spread& spread, double mean) {
  return {{"median", rounded(spread.median)}, {"min", rounded(spread.least)}, {"max", rounded(spread.most)},
          {"p25", rounded(spread.lower)},     {"p75", rounded(spread.upper)}, {"mean", rounded(mean)}};
}

const char* name_of(Ending ending) {
  switch (ending) {
    case Ending::kDone:
      return "done";
    case Ending::kDisconnected:
      return "disconnected";
    case Ending::kSignal:
      return "signal";
    case Ending::kNoTraffic:
      return "no traffic";
  }
  return "";
}

Json path_json(const Server& server, const ServerOptions& options) {
  const Negotiated& negotiated = server.negotiated();
  const TrafficOptions& traffic = options.backend.traffic;
  constexpr std::array kTouches{"none", "header", "frame"};
  return {{"packed", negotiated.has(VIRTIO_F_RING_PACKED)},
          {"in_order", negotiated.has(kFeatureInOrder)},
          {"mergeable", negotiated.has(VIRTIO_NET_F_MRG_RXBUF)},
          {"ring", server.backend().ring_size()},
          {"queues", server.backend().most_running()},
          {"content", traffic.content == Content::kSequence ? "sequence" : "null"},
          {"direction", traffic.receive && traffic.transmit ? "both" : (traffic.receive ? "rx" : "tx")},
          {"frame", traffic.frame_size},
          {"touch", kTouches[static_cast<std::size_t>(traffic.touch)]}};
}

Json violations_json(const Violations& violations) {
  Json counts = Json::object();
  for (std::size_t i = 0; i < kViolations; ++i) {
    if (violations.counts[i] != 0) counts[std::string(kViolationNames[i])] = violations.counts[i];
  }
  if (violations.first != Violation::kCount) {
    counts["first"] = {{"what", kViolationNames[static_cast<std::size_t>(violations.first)]},
                       {"values", {violations.first_a, violations.first_b}}};
  }
  return counts;
}

Json latency_json(const Probes& probes, double rate) {
  const double ns_of_tick = 1e9 / static_cast<double>(tsc_hz());
  const auto ns = [&](double share) {
    return std::round(static_cast<double>(probes.histogram().quantile(share)) * ns_of_tick);
  };
  const Probes::Counts& counts = probes.counts();
  return {
      {"offered_mpps", rounded(rate)},
      {"ns", {{"p50", ns(0.5)}, {"p90", ns(0.9)}, {"p99", ns(0.99)}, {"p99.9", ns(0.999)}, {"max", ns(1.0)}}},
      {"probes",
       {{"sent", counts.sent},
        {"returned", counts.returned},
        {"lost", counts.sent - counts.returned},
        {"unknown", counts.unknown},
        {"discarded", counts.discarded},
        {"counted", probes.histogram().total()}}}};
}

}  // namespace

std::string report_json(const Server& server, const ServerOptions& options, Ending ending) {
  const SliceReport slices = server.slices();
  const Traffic& traffic = server.backend().traffic();
  const TrafficCounters& counters = traffic.counters();
  Json line = {{"ending", name_of(ending)},
               {"path", path_json(server, options)},
               {"sessions", server.sessions()},
               {"seconds", rounded(slices.seconds)},
               {"mpps",
                {{"rx", spread_json(slices.received, slices.mean_received)},
                 {"tx", spread_json(slices.transmitted, slices.mean_transmitted)}}},
               {"idle", rounded(slices.idle)},
               {"slices",
                {{"kept", slices.kept},
                 {"preempted_back_end", slices.preempted_here},
                 {"preempted_driver", slices.preempted_there}}},
               {"frames",
                {{"received", counters.received},
                 {"transmitted", counters.transmitted},
                 {"refused", counters.refused},
                 {"forgiven", counters.forgiven}}},
               {"interrupts", server.backend().interrupts()},
               {"unknown_requests", server.backend().unknown_requests()},
               {"violations", violations_json(server.backend().violations())}};
  if (const Probes* probes = traffic.probes()) line["latency"] = latency_json(*probes, options.rate);
  if (options.backend.traffic.content == Content::kSequence) {
    const SequenceTotals totals = totals_of(traffic);
    line["sequence"] = {{"verified", totals.verified},
                        {"lost", totals.lost},
                        {"reordered", totals.reordered},
                        {"duplicated", totals.duplicated},
                        {"corrupt", counters.corrupt}};
  }
  return line.dump();
}

bool is_clean(const Server& server, std::uint32_t tolerated) {
  const SequenceTotals totals = totals_of(server.backend().traffic());
  const Probes* const probes = server.backend().traffic().probes();
  if (probes != nullptr && probes->counts().unknown != 0) return false;
  return server.backend().violations().total(tolerated) == 0 &&
         server.backend().traffic().counters().corrupt == 0 && totals.reordered == 0 &&
         totals.duplicated == 0;
}

}  // namespace spinring::bench::vhost
