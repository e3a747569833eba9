#include "pmd/virtio/vhost_user/virtio_user_vdev.hpp"

#include <fmt/format.h>

#include <array>

#include "base/ring_index.hpp"
#include "pmd/errors.hpp"
#include "pmd/vdev.hpp"
#include "pmd/virtio/wire.hpp"

namespace spinring::pmd::virtio::vhost_user {
namespace {

constexpr std::array<std::string_view, 2> kNames{"virtio_user", "net_virtio_user"};
constexpr unsigned kMostPairs = 128;
constexpr const char* kKeys =
    "The keys are path, queues, queue_size, server, mac, mrg_rxbuf, in_order, packed, packed_vq and aligned";

Result<void> set_flag(bool& wanted, const std::string& subject, std::string_view value) {
  if (value != "0" && value != "1") return bad_vdev(subject, "Give 0 or 1");
  wanted = value == "1";
  return {};
}

Result<void> set_key(Config& config, std::string_view key, std::string_view value) {
  const std::string subject = fmt::format("{}: {}={}", config.name, key, value);
  if (key == "mrg_rxbuf") return set_flag(config.mergeable, subject, value);
  if (key == "in_order") return set_flag(config.in_order, subject, value);
  if (key == "packed" || key == "packed_vq") return set_flag(config.packed, subject, value);
  if (key == "aligned") return set_flag(config.aligned_frames, subject, value);
  if (key == "server") return set_flag(config.server, subject, value);
  if (key == "path") {
    config.path = value;
  } else if (key == "queues") {
    config.queue_pairs = static_cast<std::uint16_t>(parse_number(value, kMostPairs).value_or(0));
    if (config.queue_pairs == 0)
      return bad_vdev(subject, fmt::format("Give 1 to {} queue pairs", kMostPairs));
  } else if (key == "queue_size") {
    config.queue_size = static_cast<std::uint16_t>(parse_number(value, kMaxQueueSize).value_or(0));
    if (!is_ring_size(config.queue_size))
      return bad_vdev(subject, fmt::format("Give a power of two up to {}", kMaxQueueSize));
  } else if (key == "mac") {
    config.mac = parse_mac(value);
    if (!config.mac || ((*config.mac)[0] & 1U) != 0)
      return bad_vdev(subject, "An address of a NIC looks like 52:54:00:12:34:56");
  } else {
    return bad_vdev(subject, kKeys);
  }
  return {};
}

}  // namespace

bool is_virtio_user_vdev(std::string_view text) noexcept {
  return text.starts_with(kNames[0]) || text.starts_with(kNames[1]);
}

Result<Config> parse_virtio_user_vdev(std::string_view text) {
  const Result<VdevText> parsed = parse_vdev(text);
  if (!parsed) return tl::unexpected(parsed.error());
  if (!is_numbered(parsed->name, kNames[0]) && !is_numbered(parsed->name, kNames[1])) {
    return bad_vdev(std::string(text),
                    "A vhost-user port is called virtio_user0, virtio_user1, ...: --vdev "
                    "virtio_user0,path=/tmp/vhost.sock");
  }
  Config config;
  config.name = parsed->name;
  for (const auto& [key, value] : parsed->options) {
    if (auto ok = set_key(config, key, value); !ok) return fail(std::move(ok));
  }
  if (config.path.empty()) {
    return bad_vdev(config.name,
                    fmt::format("Name the switch's socket: {},path=/tmp/vhost.sock", config.name));
  }
  return config;
}

}  // namespace spinring::pmd::virtio::vhost_user
