#include "pmd/bus/qtest/qtest_vdev.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdint>
#include <set>

#include "pmd/bus/qtest/qtest_machine.hpp"
#include "pmd/errors.hpp"

namespace spinring::pmd {
namespace {

constexpr std::string_view kBus = "qtest";
constexpr unsigned kMaxQueues = 16;
// Taken by the bus itself; in a vdev they would contradict it.
const std::set<std::string, std::less<>> kReservedKeys = {"id", "bus",    "addr", "multifunction",
                                                          "mq", "vectors"};

tl::unexpected<Error> bad(std::string subject, std::string cure) {
  return fail(Errc::kBadArgument, "read --vdev", std::move(subject), 0, std::move(cure));
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

/// A word that can stand in QEMU's options without being taken apart.
bool is_plain(std::string_view word) {
  return !word.empty() && std::all_of(word.begin(), word.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.';
  });
}

bool is_number(std::string_view text, unsigned max, unsigned& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size() && value <= max;
}

bool is_mac(std::string_view text) {
  const std::vector<std::string_view> bytes = split(text, ':');
  return bytes.size() == 6 && std::all_of(bytes.begin(), bytes.end(), [](std::string_view byte) {
           return byte.size() == 2 && std::all_of(byte.begin(), byte.end(), [](char c) {
                    return std::isxdigit(static_cast<unsigned char>(c)) != 0;
                  });
         });
}

/// Options of -netdev without id. Empty: no netdev.
Result<std::string> netdev_options(const QtestVdev& vdev) {
  const std::string_view text = vdev.netdev;
  const std::size_t colon = text.find(':');
  const std::string_view kind = text.substr(0, colon);
  const std::string_view rest = colon == std::string_view::npos ? std::string_view{} : text.substr(colon + 1);
  const std::string subject = fmt::format("{}: netdev={}", vdev.name, text);
  if (text == "none") return std::string{};
  if (rest.empty()) {
    return bad(
        subject,
        "Give none, hub:N, stream:PATH, stream-server:PATH, dgram:LOCAL:REMOTE, tap:IFNAME or qemu:OPTIONS");
  }
  if (kind == "hub") {
    unsigned hub = 0;
    if (!is_number(rest, 255, hub)) return bad(subject, "A hub is a number from 0 to 255");
    return fmt::format("hubport,hubid={}", hub);
  }
  if (kind == "stream") {
    return fmt::format("stream,server=off,addr.type=unix,addr.path={},reconnect-ms=100", rest);
  }
  if (kind == "stream-server") return fmt::format("stream,server=on,addr.type=unix,addr.path={}", rest);
  if (kind == "dgram") {
    const std::vector<std::string_view> ends = split(rest, ':');
    if (ends.size() != 2 || ends[0].empty() || ends[1].empty()) {
      return bad(subject, "Give both sockets: dgram:LOCAL:REMOTE");
    }
    return fmt::format("dgram,local.type=unix,local.path={},remote.type=unix,remote.path={}", ends[0],
                       ends[1]);
  }
  if (kind == "tap") {
    if (!is_plain(rest)) return bad(subject, "Give the name of a tap interface: tap:tap0");
    // vhost=off: the rings are QEMU's to serve, not the host kernel's.
    std::string options = fmt::format("tap,ifname={},script=no,downscript=no,vhost=off", rest);
    if (vdev.queues > 1) options += fmt::format(",queues={}", vdev.queues);
    return options;
  }
  if (kind == "qemu") {
    std::string options(rest);
    std::replace(options.begin(), options.end(), ';', ',');
    return options;
  }
  return bad(subject,
             fmt::format("There is no netdev '{}': give none, hub:N, stream:PATH, stream-server:PATH, "
                         "dgram:LOCAL:REMOTE, tap:IFNAME or qemu:OPTIONS",
                         kind));
}

std::string device_options(const QtestVdev& vdev, std::string_view netdev_id) {
  std::string options = vdev.model;
  if (!netdev_id.empty()) options += fmt::format(",netdev={}", netdev_id);
  if (!vdev.mac.empty()) options += ",mac=" + vdev.mac;
  if (vdev.queues > 1) {
    // Vectors: one for each queue, one for the configuration, one for the control queue.
    options += fmt::format(",mq=on,vectors={}", 2 * vdev.queues + 2);
  }
  for (const auto& [key, value] : vdev.properties) options += fmt::format(",{}={}", key, value);
  return options;
}

Result<void> set_key(QtestVdev& vdev, std::string_view key, std::string_view value) {
  const std::string subject = fmt::format("{}: {}={}", vdev.name, key, value);
  if (!is_plain(key) || value.empty()) return bad(subject, "Write key=value");
  if (kReservedKeys.contains(key))
    return bad(subject, "The qtest bus sets this itself; for several queues give queues=N");
  if (key == "model" || key == "machine") {
    if (!is_plain(value)) return bad(subject, "Use letters, digits, '-', '_' and '.'");
    (key == "model" ? vdev.model : vdev.machine) = value;
  } else if (key == "netdev") {
    vdev.netdev = value;
  } else if (key == "queues") {
    if (!is_number(value, kMaxQueues, vdev.queues) || vdev.queues == 0) {
      return bad(subject, fmt::format("Give 1 to {} queue pairs", kMaxQueues));
    }
  } else if (key == "mac") {
    if (!is_mac(value)) return bad(subject, "An address looks like 52:54:00:12:34:56");
    vdev.mac = value;
  } else if (key == "qemu") {
    vdev.qemu = value;
  } else {
    vdev.properties.emplace_back(key, value);
  }
  return {};
}

}  // namespace

bool is_qtest_vdev(std::string_view text) noexcept { return text.starts_with(kBus); }

Result<QtestVdev> parse_qtest_vdev(std::string_view text) {
  const std::vector<std::string_view> parts = split(text, ',');
  QtestVdev vdev;
  vdev.name = parts.front();
  unsigned number = 0;
  if (!is_qtest_vdev(text) || !is_number(parts.front().substr(kBus.size()), 999, number)) {
    return bad(std::string(text),
               "A device model is called qtest0, qtest1, ...: --vdev qtest0,model=virtio-net-pci");
  }
  std::set<std::string, std::less<>> seen;
  for (std::size_t i = 1; i < parts.size(); ++i) {
    const std::size_t equals = parts[i].find('=');
    if (equals == std::string_view::npos) {
      return bad(fmt::format("{}: '{}'", vdev.name, parts[i]), "Write key=value");
    }
    const std::string_view key = parts[i].substr(0, equals);
    if (!seen.emplace(key).second) return bad(fmt::format("{}: {}", vdev.name, key), "It is given twice");
    if (Result<void> done = set_key(vdev, key, parts[i].substr(equals + 1)); !done)
      return fail(std::move(done));
  }
  if (Result<std::string> netdev = netdev_options(vdev); !netdev) return fail(std::move(netdev));
  return vdev;
}

Result<std::vector<QtestMachinePlan>> plan_qtest_machines(const std::vector<QtestVdev>& vdevs) {
  std::vector<QtestMachinePlan> plans;
  std::vector<std::string> machines;  // of the plan at the same place
  std::set<std::string, std::less<>> names;
  for (std::size_t i = 0; i < vdevs.size(); ++i) {
    const QtestVdev& vdev = vdevs[i];
    if (!names.insert(vdev.name).second) return bad(vdev.name, "Two devices have this name");
    const auto place = std::find(machines.begin(), machines.end(), vdev.machine) - machines.begin();
    if (static_cast<std::size_t>(place) == machines.size()) {
      machines.push_back(vdev.machine);
      plans.emplace_back();
    }
    QtestMachinePlan& plan = plans[static_cast<std::size_t>(place)];
    if (!vdev.qemu.empty()) plan.config.qemu = vdev.qemu;
    Result<std::string> netdev = netdev_options(vdev);
    if (!netdev) return fail(std::move(netdev));
    std::string id;
    if (!netdev->empty()) {
      id = fmt::format("net{}", plan.vdevs.size());
      const std::size_t comma = netdev->find(',');
      const std::string more = comma == std::string::npos ? "" : netdev->substr(comma);
      plan.config.netdevs.push_back(fmt::format("{},id={}{}", netdev->substr(0, comma), id, more));
    }
    plan.config.devices.push_back({vdev.name, device_options(vdev, id)});
    plan.vdevs.push_back(i);
  }
  return plans;
}

Result<std::vector<std::unique_ptr<PciFunction>>> open_qtest_vdevs(mempool::Memory& memory,
                                                                   const std::vector<std::string>& vdevs) {
  std::vector<QtestVdev> parsed;
  for (const std::string& text : vdevs) {
    Result<QtestVdev> vdev = parse_qtest_vdev(text);
    if (!vdev) return fail(std::move(vdev));
    parsed.push_back(std::move(*vdev));
  }
  Result<std::vector<QtestMachinePlan>> plans = plan_qtest_machines(parsed);
  if (!plans) return fail(std::move(plans));
  std::vector<std::unique_ptr<PciFunction>> functions(parsed.size());
  for (const QtestMachinePlan& plan : *plans) {
    Result<std::unique_ptr<QtestMachine>> machine = QtestMachine::start(memory, plan.config);
    if (!machine) return fail(std::move(machine));
    for (std::size_t device = 0; device < plan.vdevs.size(); ++device) {
      Result<std::unique_ptr<PciFunction>> function = (*machine)->function(device);
      if (!function) return fail(std::move(function));
      functions[plan.vdevs[device]] = std::move(*function);
    }
  }
  return functions;
}

}  // namespace spinring::pmd
