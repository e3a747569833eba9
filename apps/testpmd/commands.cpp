#include "apps/testpmd/commands.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <vector>

#include "apps/testpmd/limits.hpp"

namespace spinring::testpmd {
namespace {

using Words = std::vector<std::string_view>;

Words split(std::string_view line) {
  Words words;
  constexpr std::string_view kBlanks = " \t\r\n";
  for (std::size_t at = line.find_first_not_of(kBlanks); at != std::string_view::npos;) {
    const std::size_t end = std::min(line.find_first_of(kBlanks, at), line.size());
    words.push_back(line.substr(at, end - at));
    at = line.find_first_not_of(kBlanks, end);
  }
  return words;
}

std::optional<unsigned> number(std::string_view text, unsigned least, unsigned most) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < least || value > most) return {};
  return value;
}

/// The ports that a word means: "all", or a number.
std::optional<std::vector<std::size_t>> ports(const Session& session, std::string_view word) {
  std::vector<std::size_t> all;
  for (std::size_t port = 0; port < session.port_count(); ++port) all.push_back(port);
  if (word == "all") return all;
  const auto one = number(word, 0, static_cast<unsigned>(session.port_count() - 1));
  if (!one) return {};
  return std::vector<std::size_t>{*one};
}

CommandResult no_port(const Session& session, std::string_view word) {
  return {fmt::format("Bad port \"{}\": 0 to {}, or all\n", word, session.port_count() - 1)};
}

CommandResult outcome(const Result<void>& result, std::string_view done) {
  return {result ? fmt::format("{}\n", done) : fmt::format("{}\n", result.error().message())};
}

CommandResult start(Session& session, const Words& words) {
  std::uint32_t tx_first = 0;
  if (words.size() > 1) {
    constexpr unsigned kMostBursts = 65535;
    const auto bursts = words.size() > 2 ? number(words[2], 1, kMostBursts) : std::optional<unsigned>(1);
    if (words[1] != "tx_first" || !bursts || words.size() > 3) {
      return {fmt::format("Bad arguments of start: start [tx_first [1 to {}]]\n", kMostBursts)};
    }
    tx_first = *bursts;
  }
  return outcome(session.start(tx_first), "Forwarding");
}

CommandResult stop(Session& session, const Words&) {
  if (!session.forwarding()) return {"Not forwarding\n"};
  if (auto ok = session.stop(); !ok) return {ok.error().message() + "\n"};
  return {to_text(session.report())};
}

CommandResult show_config(Session& session) {
  std::string text = fmt::format(
      "{} forwarding, port topology {}, burst {}, {} RX and {} TX queues a port{}\n",
      name_of(kForwardModes, session.next_mode()), name_of(kPortTopologies, session.options().topology),
      session.next_burst(), session.options().rx_queues, session.options().tx_queues,
      session.forwarding() ? "; running" : "");
  const LcorePlan plan = session.make_plan();
  const Report report = session.report();
  for (std::size_t lcore = 0; lcore < plan.size(); ++lcore) {
    for (const StreamPlan& stream : plan[lcore]) {
      text += fmt::format("  lcore {} (CPU {}): RX port {} queue {} -> TX port {} queue {}\n",
                          report.lcores[lcore].spec.lcore, report.lcores[lcore].spec.cpu, stream.rx_port,
                          stream.rx_queue, stream.tx_port, stream.tx_queue);
    }
  }
  return {text};
}

/// One line a register; after the first time `changed` shows those alone whose value is another now.
std::string registers_text(PortSlot& slot, bool changed) {
  std::vector<pmd::RegisterDump> now = slot.port().registers();
  if (now.empty()) return fmt::format("{}: {} lists no registers\n", slot.label(), slot.info().driver);
  std::string text = slot.label() + "\n";
  for (const pmd::RegisterDump& reg : now) {
    const auto& before = slot.shown_registers();
    const auto old = std::find_if(before.begin(), before.end(),
                                  [&](const pmd::RegisterDump& other) { return other.name == reg.name; });
    const bool same = old != before.end() && old->value == reg.value;
    if (changed && same) continue;
    text += fmt::format("  {:<9} {:#07x}  {:#010x}", reg.name, reg.offset, reg.value);
    if (old != before.end() && !same) text += fmt::format(" (was {:#010x})", old->value);
    text += reg.fields.empty() ? "\n" : fmt::format("  {}\n", reg.fields);
  }
  slot.set_shown_registers(std::move(now));
  return text;
}

std::string extended_stats_text(PortSlot& slot) {
  const std::vector<pmd::NamedStat> stats = slot.port().extended_stats();
  if (stats.empty())
    return fmt::format("{}: {} has no counters of its own\n", slot.label(), slot.info().driver);
  std::string text = slot.label() + "\n";
  for (const pmd::NamedStat& stat : stats) text += fmt::format("  {}: {}\n", stat.name, stat.value);
  return text;
}

std::string flow_control_text(PortSlot& slot) {
  const auto control = slot.port().flow_control();
  if (!control) return control.error().message() + "\n";
  return fmt::format("{}: rx pause {}, tx pause {}, high water {}, low water {}, pause time {:#x}, XON {}\n",
                     slot.label(), control->rx ? "on" : "off", control->tx ? "on" : "off",
                     control->high_water, control->low_water, control->pause_time,
                     control->send_xon ? "on" : "off");
}

/// What is asked of the device itself.
CommandResult show_device(Session& session, std::string_view what, const std::vector<std::size_t>& chosen,
                          bool changed) {
  CommandResult result;
  for (const std::size_t port : chosen) {
    PortSlot& slot = session.port(port);
    if (!slot.present()) {
      result.text += slot.label() + " was removed\n";
    } else {
      result.text += what == "regs"     ? registers_text(slot, changed)
                     : what == "xstats" ? extended_stats_text(slot)
                                        : flow_control_text(slot);
    }
  }
  return result;
}

CommandResult show(Session& session, const Words& line) {
  constexpr std::string_view kUsage =
      "show fwd stats all, show port stats|info N|all, show port xstats|flow_ctrl N|all, show port regs "
      "N|all [changed], or show config fwd\n";
  Words words = line;
  if (words.size() == 3 && words[1] == "config" && words[2] == "fwd") return show_config(session);
  if (words.size() == 4 && words[1] == "fwd" && words[2] == "stats" && words[3] == "all")
    return {to_text(session.report())};
  const bool changed = words.size() == 5 && words[4] == "changed";
  if ((words.size() != 4 && !changed) || words[1] != "port") return {std::string(kUsage)};
  if (words[3] == "regs" || words[3] == "flow_ctrl") std::swap(words[2], words[3]);  // show port N regs
  const std::string_view what = words[2];
  const bool device = what == "regs" || what == "xstats" || what == "flow_ctrl";
  if ((!device && what != "stats" && what != "info") || (changed && what != "regs"))
    return {std::string(kUsage)};
  const auto chosen = ports(session, words[3]);
  if (!chosen) return no_port(session, words[3]);
  if (device) return show_device(session, what, *chosen, changed);
  const Report report = session.report();
  CommandResult result;
  for (const std::size_t port : *chosen) {
    result.text += what == "stats" ? port_stats_text(report.ports[port]) : port_info_text(report.ports[port]);
  }
  return result;
}

CommandResult set_promiscuous(Session& session, const Words& words) {
  if (words.size() != 4 || (words[3] != "on" && words[3] != "off")) return {"set promisc N|all on|off\n"};
  const auto chosen = ports(session, words[2]);
  if (!chosen) return no_port(session, words[2]);
  CommandResult result;
  for (const std::size_t port : *chosen) {
    PortSlot& slot = session.port(port);
    if (!slot.present()) {
      result.text += slot.label() + " was removed\n";
      continue;
    }
    const auto ok = slot.port().set_promiscuous(words[3] == "on");
    result.text += outcome(ok, fmt::format("{}: promiscuous {}", slot.label(), words[3])).text;
  }
  return result;
}

/// Changes what one pair of words asks for; false: it is none.
bool change_flow_control(pmd::FlowControl& control, std::string_view key, std::string_view value) {
  if (key == "rx" || key == "tx") {
    (key == "rx" ? control.rx : control.tx) = value == "on";
    return value == "on" || value == "off";
  }
  // Pause frames are neither passed on nor negotiated.
  if (key == "mac_ctrl_frame_fwd" || key == "autoneg") return value == "off";
  const bool mark = key == "high_water" || key == "low_water";
  const auto count = number(value, 0, key == "send_xon" ? 1 : mark ? 0xFFFFF : 0xFFFF);
  if (!count) return false;
  if (mark) {
    (key == "high_water" ? control.high_water : control.low_water) = *count;
  } else if (key == "pause_time") {
    control.pause_time = static_cast<std::uint16_t>(*count);
  } else if (key == "send_xon") {
    control.send_xon = *count != 0;
  } else {
    return false;
  }
  return true;
}

/// As testpmd has it: pairs of words, and four numbers in its order that need no names.
CommandResult set_flow_control(Session& session, const Words& words) {
  constexpr std::string_view kUsage =
      "set flow_ctrl [rx on|off] [tx on|off] [high_water N] [low_water N] [pause_time N] [send_xon 0|1] "
      "[mac_ctrl_frame_fwd off] [autoneg off] PORT\n";
  constexpr std::array<std::string_view, 4> kNumbers{"high_water", "low_water", "pause_time", "send_xon"};
  if (words.size() < 4) return {std::string(kUsage)};
  const auto chosen = ports(session, words.back());
  if (!chosen) return no_port(session, words.back());
  CommandResult result;
  for (const std::size_t port : *chosen) {
    PortSlot& slot = session.port(port);
    if (!slot.present()) return {slot.label() + " was removed\n"};
    auto control = slot.port().flow_control();
    if (!control) return {control.error().message() + "\n"};
    if (words[2] == "rx" && words.size() > 5) control->high_water = control->low_water = 0;
    std::size_t unnamed = 0;
    for (std::size_t at = 2; at + 1 < words.size(); ++at) {
      const bool is_number = number(words[at], 0, 0xFFFFF).has_value();
      if (is_number && unnamed == kNumbers.size()) return {std::string(kUsage)};
      const std::string_view key = is_number ? kNumbers[unnamed++] : words[at];
      if (!is_number) ++at;
      if (at + 1 >= words.size() || !change_flow_control(*control, key, words[at]))
        return {std::string(kUsage)};
    }
    result.text += outcome(slot.port().set_flow_control(*control), slot.label() + ": flow control set").text;
  }
  return result;
}

CommandResult set(Session& session, const Words& words) {
  if (words.size() >= 2 && words[1] == "promisc") return set_promiscuous(session, words);
  if (words.size() >= 2 && words[1] == "flow_ctrl") return set_flow_control(session, words);
  const std::string_view when = session.forwarding() ? " from the next start on" : "";
  if (words.size() == 3 && words[1] == "fwd") {
    const auto mode = find_by_name(kForwardModes, words[2]);
    if (!mode) return {fmt::format("Bad mode \"{}\": io, mac, macswap, rxonly, txonly or noisy\n", words[2])};
    session.set_mode(*mode);
    return {fmt::format("Set {} packet forwarding mode{}\n", words[2], when)};
  }
  if (words.size() == 3 && words[1] == "burst") {
    const auto burst = number(words[2], 1, kMaxBurst);
    if (!burst) return {fmt::format("Bad burst \"{}\": 1 to {}\n", words[2], kMaxBurst)};
    session.set_burst(static_cast<std::uint16_t>(*burst));
    return {fmt::format("Set burst {}{}\n", *burst, when)};
  }
  return {"set fwd MODE, set burst N, or set promisc N|all on|off\n"};
}

CommandResult clear(Session& session, const Words& words) {
  const bool all = words.size() == 3 || (words.size() == 4 && words[3] == "all");
  if (!all || words[1] != "port" || words[2] != "stats") return {"clear port stats [all]\n"};
  session.clear_stats();
  return {"Statistics of all ports cleared\n"};
}

CommandResult help(Session&, const Words&);
CommandResult quit(Session&, const Words&) { return {"Bye...\n", true}; }

struct Command {
  std::string_view name;
  CommandResult (*run)(Session&, const Words&);
  std::string_view usage;
};

constexpr std::array<Command, 7> kCommands{
    {{"start", start, "start [tx_first [BURSTS]]   forward; first send bursts of made-up frames"},
     {"stop", stop, "stop                        end forwarding, print statistics"},
     {"show", show,
      "show port stats|info N|all  counters; what a port is\n"
      "show port xstats N|all      the device's own counters\n"
      "show port regs N|all [changed]  its registers; those alone that changed since they were shown\n"
      "show port N flow_ctrl       its pause frames\n"
      "show fwd stats all          what was forwarded, by which lcore\n"
      "show config fwd             mode, and which lcore polls what"},
     {"set", set,
      "set fwd MODE                io, mac, macswap, rxonly, txonly, noisy\n"
      "set burst N                 packets taken at once\n"
      "set promisc N|all on|off    take all frames, or those for the port\n"
      "set flow_ctrl rx on|off tx on|off HIGH LOW PAUSE XON mac_ctrl_frame_fwd off autoneg off N\n"
      "                            pause frames; or some of it by name: set flow_ctrl high_water 8192 N"},
     {"clear", clear, "clear port stats [all]      begin counting anew"},
     {"help", help, "help                        this list"},
     {"quit", quit, "quit                        end; also Ctrl-D"}}};

CommandResult help(Session&, const Words&) {
  CommandResult result;
  for (const Command& command : kCommands) result.text += fmt::format("{}\n", command.usage);
  return result;
}

}  // namespace

CommandResult execute(Session& session, std::string_view line) {
  const Words words = split(line);
  if (words.empty()) return {};
  for (const Command& command : kCommands) {
    if (command.name == words[0]) return command.run(session, words);
  }
  return {fmt::format("Unknown command \"{}\"; help lists all\n", words[0])};
}

}  // namespace spinring::testpmd
