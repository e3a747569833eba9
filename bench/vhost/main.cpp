// A vhost-user back end that makes the driver the limit: it completes every descriptor as fast as one CPU
// can, writes and reads frames without copying them, and judges what the driver wrote. Prints one line of
// JSON.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <exception>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "bench/vhost/errors.hpp"
#include "bench/vhost/report.hpp"
#include "bench/vhost/server.hpp"

namespace spinring::bench::vhost {
namespace {

constexpr int kUnclean = 1;  // the driver broke a rule, or a frame came back wrong
constexpr int kUsage = 2;
constexpr int kNoTraffic = 3;  // nobody came, or nothing was sent

std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void on_signal(int /*signal*/) { interrupted.store(true); }

void catch_signals() {
  struct sigaction action {};
  action.sa_handler = on_signal;  // without SA_RESTART: poll() returns
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

const std::map<std::string, std::uint64_t> kFeatures{{"mrg_rxbuf", bit(VIRTIO_NET_F_MRG_RXBUF)},
                                                     {"in_order", bit(kFeatureInOrder)},
                                                     {"packed", bit(VIRTIO_F_RING_PACKED)},
                                                     {"indirect", bit(VIRTIO_RING_F_INDIRECT_DESC)},
                                                     {"mq", bit(VIRTIO_NET_F_MQ)}};

struct Arguments {
  ServerOptions server;
  std::string content = "null";
  std::string touch = "frame";
  std::string direction = "both";
  std::vector<std::string> withhold;
  std::vector<std::string> tolerate;
  bool every_entry = false;
  bool windows = false;
};

std::uint32_t tolerated(const Arguments& arguments) {
  std::uint32_t bits = 0;
  for (std::size_t i = 0; i < kViolations; ++i) {
    if (std::ranges::count(arguments.tolerate, kViolationNames[i]) > 0) bits |= 1U << i;
  }
  return bits;
}

void declare(CLI::App& app, Arguments& arguments) {
  ServerOptions& server = arguments.server;
  TrafficOptions& traffic = server.backend.traffic;
  app.add_option("--socket", server.socket, "unix socket of the vhost-user connection")->required();
  app.add_option("--also", server.further,
                 "socket of a further port; its frames are counted with the first's")
      ->allow_extra_args(false);
  app.add_flag("--client", server.client, "connect to a front end that is the server");
  app.add_option("--cpu", server.cpu, "CPU to run on");
  app.add_option("--duration", server.seconds, "seconds to measure; 0: until the front end goes or SIGINT");
  app.add_option("--warm-up", server.warm_up, "seconds of traffic before that");
  app.add_option("--gap", server.gap,
                 "seconds: a side that does nothing for longer was pre-empted, and the slice does not count")
      ->capture_default_str();
  app.add_option("--timeout", server.timeout, "seconds to wait for the front end and its first frame");
  app.add_option("--sessions", server.sessions, "front ends to serve, one after the other")
      ->check(CLI::Range(1U, 1000000U));
  app.add_option("--queues", server.backend.pairs, "queue pairs")->check(CLI::Range(1U, 127U));
  app.add_option("--mode", arguments.content, "null, or sequence: write sequence numbers and verify them")
      ->check(CLI::IsMember({"null", "sequence"}));
  app.add_option("--direction", arguments.direction, "both, rx (the driver receives only) or tx")
      ->check(CLI::IsMember({"both", "rx", "tx"}));
  app.add_option("--touch", arguments.touch, "what is written and read of a packet: none, header, frame")
      ->check(CLI::IsMember({"none", "header", "frame"}));
  app.add_option("--frame-size", traffic.frame_size, "bytes without FCS")
      ->check(CLI::Range(kLeastFrame, kMostFrame));
  app.add_option("--rate", server.rate, "M frames/s at even distances in time; 0: as many as are taken");
  app.add_flag("--latency", traffic.probes, "with --rate: the time of some frames from here and back");
  app.add_option("--in-flight", traffic.in_flight, "frames with the driver at most; 0: as the ring allows");
  app.add_option("--batch", traffic.batch, "buffers of one pass over a queue")
      ->check(CLI::Range(1U, Batch::kMost));
  app.add_option("--withhold", arguments.withhold,
                 "features not to offer: mrg_rxbuf,in_order,packed,indirect,mq")
      ->delimiter(',')
      ->check(CLI::IsMember(kFeatures));
  app.add_option("--tolerate", arguments.tolerate, "violations that are counted and do not make the run fail")
      ->delimiter(',')
      ->check(CLI::IsMember(std::vector<std::string>(kViolationNames.begin(), kViolationNames.end())));
  app.add_flag("--every-entry", arguments.every_entry,
               "IN_ORDER: one used entry for each TX buffer, not for a batch");
  app.add_option("--idle-pauses", server.idle_pauses, "pause instructions after a pass that moved nothing");
  app.add_option("--stats-file", server.stats_file, "file that other programs watch the totals in");
  app.add_option("--ledger", server.ledger,
                 "file of sequence numbers that a later back end goes on with, however this one ends");
  app.add_flag("--windows", arguments.windows,
               "go on after --duration: rest until a line of standard input says \"WARM_UP SECONDS [RATE]\", "
               "measure that on the same connection, and so on; a line of JSON for each");
  app.add_flag("--verbose", server.verbose, "print the front end's messages");
}

ServerOptions settle(Arguments& arguments) {
  ServerOptions& server = arguments.server;
  TrafficOptions& traffic = server.backend.traffic;
  for (const std::string& name : arguments.withhold) server.backend.withheld |= kFeatures.at(name);
  server.backend.batch_in_order = !arguments.every_entry;
  traffic.content = arguments.content == "sequence" ? Content::kSequence : Content::kNull;
  traffic.touch = arguments.touch == "none"     ? Touch::kNone
                  : arguments.touch == "header" ? Touch::kHeader
                                                : Touch::kFrame;
  traffic.receive = arguments.direction != "tx";
  traffic.transmit = arguments.direction != "rx";
  return server;
}

/// What the options say together; each alone is right. nullptr: nothing wrong.
const char* contradiction(const ServerOptions& options, bool windows) {
  const TrafficOptions& traffic = options.backend.traffic;
  const bool plain = traffic.frame_size == kLeastFrame && traffic.content == Content::kNull &&
                     traffic.touch == Touch::kFrame && traffic.receive;
  if (!options.further.empty() && (options.client || !options.ledger.empty()))
    return "--also: neither with --client nor with --ledger";
  if ((options.rate > 0 || traffic.probes) && !plain)
    return "--rate, --latency: take frames of the least size, --mode=null, --touch=frame and a direction "
           "with rx";
  if (windows && options.seconds <= 0) return "--windows: needs a --duration, the first window's";
  if (traffic.probes && ((options.rate <= 0 && !windows) || !traffic.transmit))
    return "--latency: needs a --rate, and frames that come back";
  return nullptr;
}

/// Prints what a window gave and waits for what the next is to be.
std::optional<Window> next_window(const Server& server, ServerOptions& options) {
  fmt::print("{}\n", report_json(server, options, Ending::kDone));
  std::fflush(stdout);
  std::string line;
  if (!std::getline(std::cin, line)) return std::nullopt;
  Window window;
  std::istringstream words(line);
  if (!(words >> window.warm_up >> window.seconds)) {
    fmt::print(stderr, "spinring-vhost-null: \"{}\": no window, it takes WARM_UP SECONDS [RATE]\n", line);
    return std::nullopt;
  }
  if (!(words >> window.rate)) window.rate = 0;
  options.rate = window.rate;
  return window;
}

int run(int argc, char** argv) {
  CLI::App app("vhost-user back end that completes descriptors at once and checks the driver");
  Arguments arguments;
  declare(app, arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsage;
  }
  ServerOptions options = settle(arguments);
  if (const char* mistake = contradiction(options, arguments.windows)) {
    fmt::print(stderr, "spinring-vhost-null: {}\n", mistake);
    return kUsage;
  }
  catch_signals();
  auto server = Server::open(options);
  if (!server) {
    fmt::print(stderr, "spinring-vhost-null: {}\n", server.error().message());
    return kUsage;
  }
  Server::NextWindow next;
  if (arguments.windows) next = [&](const Server& measured) { return next_window(measured, options); };
  const auto ending = (*server)->run(interrupted, next);
  if (!ending) {
    fmt::print(stderr, "spinring-vhost-null: {}\n", ending.error().message());
    return ending.error().code == Errc::kTimeout ? kNoTraffic : kUnclean;
  }
  if (!arguments.windows || *ending != Ending::kDone)  // else it has been said
    fmt::print("{}\n", report_json(**server, options, *ending));
  if (!is_clean(**server, tolerated(arguments))) return kUnclean;
  return *ending == Ending::kNoTraffic ? kNoTraffic : 0;
}

}  // namespace
}  // namespace spinring::bench::vhost

int main(int argc, char** argv) {
  try {
    return spinring::bench::vhost::run(argc, argv);
  } catch (const std::exception& error) {
    std::fputs(error.what(), stderr);
    return spinring::bench::vhost::kUsage;
  }
}
