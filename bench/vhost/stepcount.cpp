// Instructions and cache lines a packet of a running forwarding loop, exact and without hardware counters:
// single-steps the thread that forwards while spinring-vhost-null keeps it busy, and reads the packets from
// that program's --stats-file.
#include <cxxabi.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/time.hpp"
#include "bench/vhost/shared_stats.hpp"
#include "bench/vhost/symbol_table.hpp"
#include "bench/vhost/thread_tracer.hpp"
#include "bench/vhost/touched_lines.hpp"

namespace spinring::bench::vhost {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  pid_t thread = 0;
  std::string stats_file;
  std::uint64_t steps = 200000;
  bool received = false;
  bool lines = false;
  double timeout = 60;
  std::vector<std::string> driver;
};

struct Counts {
  std::uint64_t instructions = 0;
  std::uint64_t packets = 0;
  std::uint64_t bursts = 0;
  std::unordered_map<std::uint64_t, std::uint64_t> at;  ///< instructions by address
};

/// Steps from one change of the packet counter to another, so that whole turns of the loop are counted.
Result<Counts> count(const Options& options, ThreadTracer& tracer, const SharedStats& stats,
                     TouchedLines* lines) {
  const auto& counter = options.received ? stats.received : stats.transmitted;
  const Deadline deadline(
      std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options.timeout)));
  Counts counts;
  std::uint64_t seen = counter.load(std::memory_order_acquire);
  bool counting = false;
  for (std::uint64_t step = 0;; ++step) {
    const auto next = tracer.step();
    if (!next) return tl::unexpected(next.error());
    if (counting) {
      ++counts.instructions;
      ++counts.at[next->rip];
      if (lines != nullptr) lines->see(*next);
    }
    const std::uint64_t now = counter.load(std::memory_order_acquire);
    if (now != seen) {
      // What lies before the first change is the end of a turn that began unseen.
      if (counting) {
        if (lines != nullptr) lines->end_turn();
        counts.packets += now - seen;
        ++counts.bursts;
        if (counts.instructions >= options.steps) return counts;
      }
      counting = true;
      seen = now;
    }
    if (step % 1024 == 0 && deadline.passed()) return counts;
  }
}

std::string demangled(const std::string& name) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text(
      abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status), &std::free);
  return status == 0 ? text.get() : name;
}

bool is_driver(const Options& options, const std::string& name) {
  return std::ranges::any_of(options.driver,
                             [&](const std::string& part) { return name.find(part) != std::string::npos; });
}

/// Lines a packet, by what lies there.
Json report_lines(const TouchedLines& lines, double packets) {
  Json each = Json::object();
  std::uint64_t all = 0;
  for (const auto& [area, touched] : lines.lines()) {
    each[area] = std::round(static_cast<double>(touched) / packets * 1000) / 1000;
    all += touched;
  }
  return {{"per_packet", static_cast<double>(all) / packets}, {"areas", each}, {"unknown", lines.unknown()}};
}

Json report(const Options& options, const Counts& counts, const SymbolTable& symbols,
            const TouchedLines* lines) {
  const auto packets = static_cast<double>(std::max<std::uint64_t>(counts.packets, 1));
  std::map<std::string, std::uint64_t> objects;
  std::map<std::string, std::uint64_t> functions;
  std::uint64_t driver = 0;
  for (const auto& [address, times] : counts.at) {
    const SymbolTable::Place place = symbols.find(address);
    const std::string name = place.object + ":" + (place.function.empty() ? "?" : demangled(place.function));
    objects[place.object] += times;
    functions[name] += times;
    if (is_driver(options, name)) driver += times;
  }
  const auto each = [&](const std::map<std::string, std::uint64_t>& table) {
    std::vector<std::pair<std::string, std::uint64_t>> rows(table.begin(), table.end());
    std::ranges::sort(rows, std::greater<>(), &std::pair<std::string, std::uint64_t>::second);
    Json out = Json::object();
    for (const auto& [name, times] : rows) {
      out[name] = std::round(static_cast<double>(times) / packets * 100) / 100;
    }
    return out;
  };
  Json line = {{"instructions", counts.instructions},
               {"packets", counts.packets},
               {"publications", counts.bursts},
               {"per_packet", static_cast<double>(counts.instructions) / packets}};
  if (!options.driver.empty()) line["driver_per_packet"] = static_cast<double>(driver) / packets;
  line["objects"] = each(objects);
  line["functions"] = each(functions);
  if (lines != nullptr) line["lines"] = report_lines(*lines, packets);
  return line;
}

Result<Json> measure(const Options& options) {
  auto stats = StatsFile::open(options.stats_file, false);
  if (!stats) return fail(std::move(stats));
  auto symbols = SymbolTable::of_process(options.thread);
  if (!symbols) return fail(std::move(symbols));
  auto tracer = ThreadTracer::attach(options.thread);
  if (!tracer) return fail(std::move(tracer));
  std::optional<TouchedLines> lines;
  if (options.lines) {
    auto found = TouchedLines::of_process(options.thread, stats->stats());
    if (!found) return fail(std::move(found));
    lines.emplace(std::move(*found));
  }
  TouchedLines* const wanted = lines ? &*lines : nullptr;
  auto counts = count(options, *tracer, stats->stats(), wanted);
  if (!counts) return fail(std::move(counts));
  return report(options, *counts, *symbols, wanted);
}

int run(int argc, char** argv) {
  CLI::App app("instructions a packet of a forwarding thread, by single-stepping");
  Options options;
  app.add_option("--thread", options.thread, "thread id of the forwarding thread")->required();
  app.add_option("--stats-file", options.stats_file, "the back end's")->required();
  app.add_option("--steps", options.steps, "instructions to count at least");
  app.add_flag("--lines", options.lines, "count the cache lines that are touched as well");
  app.add_flag("--received", options.received, "count packets that the driver received (rxonly)");
  app.add_option("--timeout", options.timeout, "seconds after which the count ends where it is");
  app.add_option("--driver", options.driver, "parts of object:function names that are the driver itself")
      ->delimiter(',');
  CLI11_PARSE(app, argc, argv);
  const auto line = measure(options);
  if (!line) {
    fmt::print(stderr, "spinring-stepcount: {}\n", line.error().message());
    return 1;
  }
  fmt::print("{}\n", line->dump());
  return line->at("packets").get<std::uint64_t>() > 0 ? 0 : 1;
}

}  // namespace
}  // namespace spinring::bench::vhost

int main(int argc, char** argv) {
  try {
    return spinring::bench::vhost::run(argc, argv);
  } catch (const std::exception& error) {
    std::fputs(error.what(), stderr);
    return 1;
  }
}
