#include "pmd/bus/qtest/qtest_vdev.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <set>

#include "pmd/bus/qtest/qtest_machine.hpp"
#include "pmd/port.hpp"
#include "pmd/vdev.hpp"

namespace spinring::pmd {
namespace {

constexpr std::string_view kBus = "qtest";
constexpr unsigned kMaxQueues = 16;
// Taken by the bus itself; in a vdev they would contradict it.
const std::set<std::string, std::less<>> kReservedKeys = {"id", "bus",    "addr", "multifunction",
                                                          "mq", "vectors"};

/// A word that can stand in QEMU's options without being taken apart.
bool is_plain(std::string_view word) {
  return !word.empty() && std::all_of(word.begin(), word.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.';
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
    return bad_vdev(
        subject,
        "Give none, hub:N, stream:PATH, stream-server:PATH, dgram:LOCAL:REMOTE, tap:IFNAME or qemu:OPTIONS");
  }
  if (kind == "hub") {
    const auto hub = parse_number(rest, 255);
    if (!hub) return bad_vdev(subject, "A hub is a number from 0 to 255");
    return fmt::format("hubport,hubid={}", *hub);
  }
  if (kind == "stream") {
    return fmt::format("stream,server=off,addr.type=unix,addr.path={},reconnect-ms=100", rest);
  }
  if (kind == "stream-server") return fmt::format("stream,server=on,addr.type=unix,addr.path={}", rest);
  if (kind == "dgram") {
    const std::vector<std::string_view> ends = split(rest, ':');
    if (ends.size() != 2 || ends[0].empty() || ends[1].empty()) {
      return bad_vdev(subject, "Give both sockets: dgram:LOCAL:REMOTE");
    }
    return fmt::format("dgram,local.type=unix,local.path={},remote.type=unix,remote.path={}", ends[0],
                       ends[1]);
  }
  if (kind == "tap") {
    if (!is_plain(rest)) return bad_vdev(subject, "Give the name of a tap interface: tap:tap0");
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
  return bad_vdev(subject,
                  fmt::format("There is no netdev '{}': give none, hub:N, stream:PATH, stream-server:PATH, "
                              "dgram:LOCAL:REMOTE, tap:IFNAME or qemu:OPTIONS",
                              kind));
}

std::string device_options(const QtestVdev& vdev, std::string_view netdev_id) {
  std::string options = vdev.model;
  if (!netdev_id.empty()) options += fmt::format(",netdev={}", netdev_id);
  if (!vdev.mac.empty()) options += ",mac=" + vdev.mac;
  if (vdev.queues > 1 && vdev.model.starts_with("virtio")) {  // others have as many as they have
    // Vectors: one for each queue, one for the configuration, one for the control queue.
    options += fmt::format(",mq=on,vectors={}", 2 * vdev.queues + 2);
  }
  for (const auto& [key, value] : vdev.properties) options += fmt::format(",{}={}", key, value);
  return options;
}

Result<void> set_key(QtestVdev& vdev, std::string_view key, std::string_view value) {
  const std::string subject = fmt::format("{}: {}={}", vdev.name, key, value);
  if (!is_plain(key)) return bad_vdev(subject, "Write key=value");
  if (kReservedKeys.contains(key))
    return bad_vdev(subject, "The qtest bus sets this itself; for several queues give queues=N");
  if (key == "model" || key == "machine") {
    if (!is_plain(value)) return bad_vdev(subject, "Use letters, digits, '-', '_' and '.'");
    (key == "model" ? vdev.model : vdev.machine) = value;
  } else if (key == "netdev") {
    vdev.netdev = value;
  } else if (key == "queues") {
    vdev.queues = parse_number(value, kMaxQueues).value_or(0);
    if (vdev.queues == 0) return bad_vdev(subject, fmt::format("Give 1 to {} queue pairs", kMaxQueues));
  } else if (key == "mac") {
    if (!parse_mac(value)) return bad_vdev(subject, "An address looks like 52:54:00:12:34:56");
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
  const Result<VdevText> parsed = parse_vdev(text);
  if (!parsed) return tl::unexpected(parsed.error());
  QtestVdev vdev;
  vdev.name = parsed->name;
  if (!is_numbered(vdev.name, kBus)) {
    return bad_vdev(std::string(text),
                    "A device model is called qtest0, qtest1, ...: --vdev qtest0,model=virtio-net-pci");
  }
  for (const auto& [key, value] : parsed->options) {
    if (Result<void> done = set_key(vdev, key, value); !done) return fail(std::move(done));
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
    if (!names.insert(vdev.name).second) return bad_vdev(vdev.name, "Two devices have this name");
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
