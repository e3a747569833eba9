#include "tests/vhost/dpdk_switch.hpp"

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ether.h>
#include <rte_mbuf.h>
#include <rte_vhost.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <stdexcept>

#include "base/fd.hpp"

namespace spinring::vhost_test {
namespace {

constexpr std::uint16_t kRoom = 16384;  // a frame of any test in one mbuf
constexpr unsigned kBurst = 32;

// DPDK's callbacks have no context: one switch at a time.
std::atomic<int> g_device = -1;
std::array<std::atomic<bool>, 256> g_enabled{};  // by ring
std::atomic<unsigned> g_interrupts = 0;
rte_mempool* g_pool = nullptr;

int new_device(int device) {
  g_device = device;
  return 0;
}
void destroy_device(int /*device*/) { g_device = -1; }
int vring_state_changed(int /*device*/, std::uint16_t queue, int enable) {
  g_enabled.at(queue) = enable != 0;
  return 0;
}

/// A socket that DPDK listens at for the length of the process. QUIRK(DPDK 22.11): librte_vhost's thread
/// notices a new socket, and lets go of a closed one, once a second or when an old one has something to do: a
/// visitor.
class Bell {
 public:
  Bell() : folder_(make_folder()) {
    static const rte_vhost_device_ops kDeaf{};
    if (rte_vhost_driver_register(path().c_str(), 0) != 0 ||
        rte_vhost_driver_callback_register(path().c_str(), &kDeaf) != 0 ||
        rte_vhost_driver_start(path().c_str()) != 0)
      throw std::runtime_error("librte_vhost does not serve " + path());
  }
  Bell(const Bell&) = delete;
  Bell& operator=(const Bell&) = delete;
  ~Bell() { std::filesystem::remove_all(folder_); }

  void ring() const {
    const Fd visitor(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path().copy(address.sun_path, sizeof(address.sun_path) - 1);
    if (::connect(visitor.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
      throw std::runtime_error("librte_vhost does not listen at " + path());
  }

 private:
  [[nodiscard]] std::string path() const { return folder_ + "/bell"; }
  std::string folder_;
};

const Bell& bell() {
  static const Bell bell;
  return bell;
}

rte_mbuf* to_mbuf(const SwitchPacket& packet) {
  rte_mbuf* const mbuf = rte_pktmbuf_alloc(g_pool);
  if (mbuf == nullptr) throw std::runtime_error("DPDK's pool is empty");
  void* const data = rte_pktmbuf_append(mbuf, static_cast<std::uint16_t>(packet.bytes.size()));
  if (data == nullptr) throw std::runtime_error("a frame is larger than an mbuf");
  std::memcpy(data, packet.bytes.data(), packet.bytes.size());
  if (packet.checksum || packet.segment_size != 0) {
    const bool ipv6 = packet.l4 - packet.l3 == 40;
    constexpr std::uint64_t kTcpHeader = 20;
    mbuf->tx_offload = rte_mbuf_tx_offload(packet.l3, static_cast<std::uint64_t>(packet.l4 - packet.l3),
                                           kTcpHeader, packet.segment_size, 0, 0, 0);
    mbuf->ol_flags = (ipv6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4) | RTE_MBUF_F_TX_TCP_CKSUM;
    if (packet.segment_size != 0) mbuf->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
  }
  return mbuf;
}

SwitchPacket from_mbuf(rte_mbuf* mbuf) {
  SwitchPacket packet;
  for (const rte_mbuf* segment = mbuf; segment != nullptr; segment = segment->next) {
    const auto* data = rte_pktmbuf_mtod(segment, const std::uint8_t*);
    packet.bytes.insert(packet.bytes.end(), data, data + segment->data_len);
  }
  packet.checksum = (mbuf->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_NONE;
  if ((mbuf->ol_flags & RTE_MBUF_F_RX_LRO) != 0) packet.segment_size = mbuf->tso_segsz;
  rte_pktmbuf_free(mbuf);
  return packet;
}

/// All CPUs that this process may use, as DPDK spells them: its main thread is not pinned.
std::string allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) return "0";
  std::string list;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &set)) continue;
    if (!list.empty()) list += ',';
    list += std::to_string(cpu);
  }
  return list;
}

}  // namespace

std::string make_folder() {
  std::string name = (std::filesystem::temp_directory_path() / "spinring-vhost-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no folder for a socket: " + name);
  return name;
}

std::string DpdkSwitch::start_dpdk() {
  static std::string cpus = "--lcores=0@(" + allowed_cpus() + ")";
  static std::vector<std::string> words{
      "vhost-test", "--no-pci",       "--no-huge",   "--no-shconf",       "-m",          "192",
      cpus,         "--no-telemetry", "--log-level", "lib.vhost.*:error", "--log-level", "lib.eal:error"};
  static std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  if (rte_eal_init(static_cast<int>(arguments.size()), arguments.data()) < 0)
    return std::string("DPDK does not start: ") + rte_strerror(rte_errno);
  g_pool = rte_pktmbuf_pool_create("switch", 2048, 0, 0, kRoom + RTE_PKTMBUF_HEADROOM, SOCKET_ID_ANY);
  return g_pool == nullptr ? std::string("DPDK has no memory for a pool: ") + rte_strerror(rte_errno) : "";
}

DpdkSwitch::DpdkSwitch(const SwitchConfig& config) : path_(config.path) {
  static const rte_vhost_device_ops kOps = [] {
    rte_vhost_device_ops ops{};
    ops.new_device = new_device;
    ops.destroy_device = destroy_device;
    ops.vring_state_changed = vring_state_changed;
    ops.guest_notified = [](int /*device*/) { ++g_interrupts; };
    return ops;
  }();
  (void)bell();  // DPDK's thread starts with the first socket
  g_interrupts = 0;
  std::ranges::fill(g_enabled, false);
  const std::uint64_t flags =
      RTE_VHOST_USER_NET_COMPLIANT_OL_FLAGS | (config.client ? RTE_VHOST_USER_CLIENT : 0);
  if (rte_vhost_driver_register(path_.c_str(), flags) != 0 ||
      rte_vhost_driver_disable_features(path_.c_str(), config.withheld) != 0 ||
      rte_vhost_driver_callback_register(path_.c_str(), &kOps) != 0 ||
      rte_vhost_driver_start(path_.c_str()) != 0) {
    throw std::runtime_error("librte_vhost does not serve " + path_);
  }
  bell().ring();
}

DpdkSwitch::~DpdkSwitch() {
  rte_vhost_driver_unregister(path_.c_str());
  bell().ring();
}

std::uint64_t DpdkSwitch::negotiated() const {
  std::uint64_t features = 0;
  const int device = g_device;
  if (device < 0 || rte_vhost_get_negotiated_features(device, &features) != 0) return 0;
  return features;
}

unsigned DpdkSwitch::rings() const {
  return g_device < 0 ? 0 : static_cast<unsigned>(std::ranges::count_if(g_enabled, [](const auto& on) {
    return on.load();
  }));
}
unsigned DpdkSwitch::interrupts() const { return g_interrupts; }

std::size_t DpdkSwitch::deliver(std::span<const SwitchPacket> packets, unsigned queue) {
  std::size_t taken = 0;
  for (const SwitchPacket& packet : packets) {
    rte_mbuf* mbuf = to_mbuf(packet);
    const int device = g_device;
    if (device >= 0)
      taken += rte_vhost_enqueue_burst(device, static_cast<std::uint16_t>(2 * queue), &mbuf, 1);
    rte_pktmbuf_free(mbuf);
  }
  return taken;
}

std::size_t DpdkSwitch::deliver(std::span<const Frame> frames, unsigned queue) {
  std::array<rte_mbuf*, kBurst> burst{};
  std::size_t taken = 0;
  const int device = g_device;
  while (device >= 0 && taken < frames.size()) {
    const std::size_t count = std::min<std::size_t>(burst.size(), frames.size() - taken);
    for (std::size_t i = 0; i < count; ++i) burst[i] = to_mbuf({.bytes = frames[taken + i]});
    const std::uint16_t done = rte_vhost_enqueue_burst(device, static_cast<std::uint16_t>(2 * queue),
                                                       burst.data(), static_cast<std::uint16_t>(count));
    for (std::size_t i = 0; i < count; ++i) rte_pktmbuf_free(burst[i]);
    taken += done;
    if (done < count) break;
  }
  return taken;
}

std::vector<SwitchPacket> DpdkSwitch::collect(unsigned queue) {
  std::array<rte_mbuf*, kBurst> burst{};
  std::vector<SwitchPacket> packets;
  const int device = g_device;
  if (device < 0) return packets;
  const std::uint16_t count = rte_vhost_dequeue_burst(device, static_cast<std::uint16_t>(2 * queue + 1),
                                                      g_pool, burst.data(), burst.size());
  for (std::uint16_t i = 0; i < count; ++i) packets.push_back(from_mbuf(burst[i]));
  return packets;
}

}  // namespace spinring::vhost_test
