#include "apps/testpmd/options.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>

#include "apps/testpmd/limits.hpp"
#include "lcore/cpu_set.hpp"

namespace spinring::testpmd {
namespace {

/// A validator whose text CLI11 puts behind the option's name.
template <class Parse>
CLI::Validator checked(Parse parse) {
  return {[parse](std::string& text) -> std::string { return parse(text); }, std::string{}};
}

/// Names of a table for IsMember, in its order.
template <class Table>
std::vector<std::string> names(const Table& table) {
  std::vector<std::string> all;
  for (const auto& entry : table) all.emplace_back(entry.first);
  return all;
}

CLI::Validator core_list(Result<std::vector<lcore::LcoreSpec>> (*parse)(std::string_view)) {
  return checked([parse](const std::string& text) {
    const auto specs = parse(text);
    return specs ? std::string{} : specs.error().message();
  });
}

std::optional<std::pair<unsigned, pmd::MacAddress>> parse_peer(std::string_view text) {
  const std::size_t comma = text.find(',');
  if (comma == std::string_view::npos) return {};
  unsigned port = 0;
  const std::string number(text.substr(0, comma));
  const auto mac = pmd::parse_mac(text.substr(comma + 1));
  if (!mac || !CLI::detail::lexical_cast(number, port) || port >= kMaxPorts) return {};
  return std::pair{port, *mac};
}

/// Strings that become typed values only after the parser has accepted them.
struct OptionWords {
  std::string core_list;
  std::string lcores;
  std::string huge_size = "2M";
  std::string log_level = "info";
  std::string mode = "io";
  std::string topology = "paired";
  std::string idle = "pause";
  std::vector<std::string> peers;
  unsigned max_frame = 0;
};

constexpr std::array<std::pair<std::string_view, LogVerbosity>, 4> kLogLevels{
    {{"debug", LogVerbosity::kDebug},
     {"info", LogVerbosity::kInfo},
     {"warning", LogVerbosity::kWarning},
     {"error", LogVerbosity::kError}}};

void add_machine_options(CLI::App& app, MachineOptions& options, OptionWords& words) {
  auto* cores = app.add_option("-l", words.core_list,
                               "CPUs, such as 0-3,5. The first is the main lcore, the others forward")
                    ->check(core_list(lcore::parse_core_list));
  app.add_option("--lcores", words.lcores, "Lcores on CPUs of their own, such as 0@0,1@0")
      ->check(core_list(lcore::parse_lcores))
      ->excludes(cores);
  app.add_option("-a,--allow", options.pci, "PCI address of a port, such as 0000:01:00.0; may be repeated")
      ->allow_extra_args(false);
  app.add_option("--vdev", options.vdevs,
                 "Device model qtestN,model=virtio-net-pci,..., or vhost-user port "
                 "virtio_userN,path=SOCKET,...; may be "
                 "repeated; numbered after -a")
      ->allow_extra_args(false);
  app.add_flag("--no-huge{false}", options.hugepages, "Normal pages instead of hugepages");
  app.add_option("-m", options.memory_mb, "MB of packet memory (default: what pool and rings need)")
      ->check(CLI::Range(1, 1 << 20));
  app.add_option("--huge-size", words.huge_size, "Size of hugepages")
      ->check(CLI::IsMember(std::vector<std::string>{"2M", "1G"}));
  app.add_flag("--no-iommu", options.no_iommu,
               "VFIO without an IOMMU: the device can then write anywhere in memory");
  app.add_option("--log-level", words.log_level, "What is logged")->check(CLI::IsMember(names(kLogLevels)));
  app.set_version_flag("--version", "spinring-testpmd " SPINRING_VERSION);
}

void add_queue_options(CLI::App& app, ForwardOptions& options) {
  const CLI::Range queues(1, static_cast<int>(kMaxQueues));
  // Which sizes of these a device takes it says itself: multiples of 8, powers of two.
  const CLI::Range ring(static_cast<int>(kMinRing), static_cast<int>(kMaxRing));
  app.add_option("--rxq", options.rx_queues, "RX queues of each port")->check(queues);
  app.add_option("--txq", options.tx_queues, "TX queues of each port")->check(queues);
  app.add_option("--rxd", options.rx_ring, "Entries of an RX ring (default: 256, or what the device has)")
      ->check(ring);
  app.add_option("--txd", options.tx_ring, "Entries of a TX ring (default: 256, or what the device has)")
      ->check(ring);
  app.add_option("--rx-fill", options.rx_fill,
                 "Packets that a device holds for an RX queue at most (default: as many as the ring takes)")
      ->check(CLI::Range(8, 32768));
  app.add_option("--burst", options.burst, "Packets taken at once")
      ->check(CLI::Range(1, static_cast<int>(kMaxBurst)));
  app.add_option("--burst-tx-retry-num", options.tx_retries,
                 "Times that a full TX ring is offered the rest of a burst again before it is dropped")
      ->check(CLI::Range(0, 1 << 20));
  app.add_option("--nb-cores", options.forwarding_cores, "Forwarding lcores (default: all but the main one)")
      ->check(CLI::Range(1, lcore::kMaxCpus));
  app.add_option("--total-num-mbufs", options.packets, "Packets of the pool (default: what the rings need)")
      ->check(CLI::Range(1, 1 << 24));
  app.add_option("--mbuf-size", options.buffer_length, "Bytes of a packet buffer, headroom included")
      ->check(CLI::Range(static_cast<int>(kMinBuffer), static_cast<int>(kMaxBuffer)));
}

void add_forward_options(CLI::App& app, ForwardOptions& options, OptionWords& words) {
  app.add_flag("-i,--interactive", options.interactive, "Prompt for commands");
  app.add_flag("-a,--auto-start", options.auto_start, "With -i: forward at once");
  app.add_option("--forward-mode", words.mode, "What is done to packets")
      ->check(CLI::IsMember(names(kForwardModes)));
  app.add_option("--port-topology", words.topology, "Which port packets leave by")
      ->check(CLI::IsMember(names(kPortTopologies)));
  app.add_option("--stats-period", options.stats_period_s, "Print statistics each so many seconds; 0: never")
      ->check(CLI::Range(0.0, 86400.0));
  app.add_option("--duration", options.duration_s, "End after so many seconds of forwarding; 0: at a signal")
      ->check(CLI::Range(0.0, 31536000.0));
  app.add_option("--json", options.json_file, "Write the final statistics to FILE; -: to standard output");
  app.add_option("--txpkts", options.tx_length, "Bytes of a frame that txonly or tx_first makes")
      ->check(CLI::Range(static_cast<int>(kMinFrame), static_cast<int>(kMaxBuffer)));
  app.add_option("--eth-peer", words.peers, "PORT,MAC: where mac and txonly send to by that port")
      ->allow_extra_args(false)
      ->check(checked([](const std::string& text) {
        return parse_peer(text) ? std::string{}
                                : fmt::format(
                                      "\"{}\" is not PORT,MAC with a port from 0 to {}, such as "
                                      "0,02:00:00:00:00:01",
                                      text, kMaxPorts - 1);
      }));
  app.add_flag(
      "--tx-first", [&options](std::int64_t) { options.tx_first = 1; },
      "Send one burst by each TX queue before forwarding");
  app.add_flag_function(
      "--no-flush-rx", [](std::int64_t) {}, "Accepted and without effect: RX queues are never flushed");
  app.add_option("--idle", words.idle, "What an lcore does after an empty poll")
      ->check(CLI::IsMember(std::vector<std::string>{"spin", "pause", "sleep"}));
  app.add_flag("--auto-recover,!--no-auto-recover", options.auto_recover,
               "Restart a port whose device has stopped with a fault (default: on)");
}

void add_offload_options(CLI::App& app, ForwardOptions& options, OptionWords& words) {
  app.add_flag("--enable-rx-cksum", options.rx_checksum, "Devices verify the checksums of what they receive");
  app.add_flag("--enable-lro", options.coalesce,
               "Devices may join TCP segments to longer frames, and cut what is sent on into segments");
  const auto flag = [&](const char* name, std::uint32_t types, const char* help) {
    app.add_flag(
        name, [&options, types](std::int64_t) { options.rss_types |= types; }, help);
  };
  flag("--rss-ip", pmd::kRssIpv4 | pmd::kRssIpv6, "RX queues by a hash over IP addresses");
  flag("--rss-udp", pmd::kRssIpv4 | pmd::kRssIpv6 | pmd::kRssUdpIpv4 | pmd::kRssUdpIpv6,
       "RX queues by a hash over IP addresses, and ports of UDP");
  app.add_option("--max-pkt-len", words.max_frame,
                 "Bytes of the longest frame, with Ethernet header and checksum (default: the device's)")
      ->check(CLI::Range(static_cast<int>(kFrameOverhead + kMinMtu), 0xFFFF));
}

/// From the words that the parsers have accepted to values.
void convert(const OptionWords& words, Options& options) {
  if (!words.core_list.empty()) options.machine.lcores = lcore::parse_core_list(words.core_list).value();
  if (!words.lcores.empty()) options.machine.lcores = lcore::parse_lcores(words.lcores).value();
  options.machine.huge_page_size = words.huge_size == "1G" ? 1UL << 30 : 2UL << 20;
  options.machine.log_level = find_by_name(kLogLevels, words.log_level).value();
  options.forward.mode = find_by_name(kForwardModes, words.mode).value();
  options.forward.topology = find_by_name(kPortTopologies, words.topology).value();
  options.forward.idle.kind = lcore::parse_idle(words.idle).value();
  if (words.max_frame != 0)
    options.forward.mtu = static_cast<std::uint16_t>(words.max_frame - kFrameOverhead);
  for (const std::string& text : words.peers) {
    const auto [port, mac] = parse_peer(text).value();
    options.forward.peers[port] = mac;
  }
}

Usage mistake(std::string_view text) {
  return {2, fmt::format("{}\nspinring-testpmd --help lists all options.\n", text)};
}

/// What the options say together; each alone is right.
std::optional<Usage> contradiction(const Options& options) {
  const std::size_t ports = options.machine.pci.size() + options.machine.vdevs.size();
  if (ports == 0) {
    return mistake(
        "-a, --vdev: no port was named. Name at least one, before --: -a 0000:01:00.0, --vdev "
        "qtest0,model=virtio-net-pci, or --vdev virtio_user0,path=SOCKET");
  }
  if (ports > kMaxPorts) return mistake(fmt::format("-a, --vdev: {} ports; at most {}", ports, kMaxPorts));
  for (const auto& peer : options.forward.peers) {
    if (peer.first >= ports) {
      return mistake(
          fmt::format("--eth-peer: there is no port {}; ports are 0 to {}", peer.first, ports - 1));
    }
  }
  const unsigned room = options.forward.buffer_length - mempool::Packet::kDefaultDataOffset;
  if (options.forward.tx_length > room) {
    return mistake(fmt::format("--txpkts: {} bytes do not fit a packet buffer: {} to {} with --mbuf-size={}",
                               options.forward.tx_length, kMinFrame, room, options.forward.buffer_length));
  }
  const std::size_t cores = options.machine.lcores.size();
  const std::size_t forwarding = std::max<std::size_t>(cores, 2) - 1;
  if (cores != 0 && options.forward.forwarding_cores > forwarding) {
    return mistake(fmt::format("--nb-cores: {} not in range 1 to {}: the lcores of -l but the first",
                               options.forward.forwarding_cores, forwarding));
  }
  return {};
}

/// Parses one side of `--`; nothing if it went well.
std::optional<Usage> run_parser(CLI::App& app, std::vector<std::string> arguments, const CLI::App& other) {
  std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
  try {
    app.parse(arguments);
    return {};
  } catch (const CLI::CallForHelp&) {
    return Usage{0, app.help() + other.help()};
  } catch (const CLI::CallForVersion& version) {
    return Usage{0, std::string(version.what()) + "\n"};
  } catch (const CLI::ParseError& error) {
    return mistake(error.what());
  }
}

}  // namespace

tl::expected<Options, Usage> parse_options(const std::vector<std::string>& arguments) {
  Options options;
  OptionWords words;
  CLI::App machine("Forwards packets between NICs that it drives from user space", "spinring-testpmd");
  machine.footer("After --, the forwarder's options:");
  machine.option_defaults()->always_capture_default();
  add_machine_options(machine, options.machine, words);
  CLI::App forward("", "spinring-testpmd [machine's options] --");
  forward.option_defaults()->always_capture_default();
  add_queue_options(forward, options.forward);
  add_forward_options(forward, options.forward, words);
  add_offload_options(forward, options.forward, words);

  const auto dashes = std::find(arguments.begin(), arguments.end(), "--");
  if (auto usage = run_parser(machine, {arguments.begin(), dashes}, forward)) return tl::unexpected(*usage);
  const auto rest = dashes == arguments.end() ? dashes : dashes + 1;
  if (auto usage = run_parser(forward, {rest, arguments.end()}, machine)) return tl::unexpected(*usage);
  convert(words, options);
  if (auto usage = contradiction(options)) return tl::unexpected(*usage);
  return options;
}

}  // namespace spinring::testpmd
