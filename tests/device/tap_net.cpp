#include "tests/device/tap_net.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <thread>

namespace spinring::test {
namespace {

constexpr const char* kBridge = "srbr0";
constexpr const char* kSecondTap = "sr1";
constexpr auto kSendPatience = std::chrono::seconds(10);

void write_file(const char* path, const std::string& text) { std::ofstream(path) << text; }
/// An interface that comes up announces itself by IPv6: frames that no test has sent.
void silence_kernel() { write_file("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1"); }

/// An ioctl on an interface; throws on failure.
void configure(unsigned long request, ifreq& data, const char* what) {
  const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (::ioctl(socket.get(), request, &data) != 0) {
    throw std::runtime_error(std::string(what) + ": " + std::strerror(errno));
  }
}
ifreq interface(const char* name) {
  ifreq data{};
  std::strncpy(data.ifr_name, name, sizeof data.ifr_name - 1);
  return data;
}
void bring_up(const char* name) {
  ifreq data = interface(name);
  data.ifr_flags = IFF_UP;
  configure(SIOCSIFFLAGS, data, name);
}
/// Waits until there is something to read; false at the deadline.
bool readable(int fd, Deadline deadline) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline.left()).count();
  pollfd ready{.fd = fd, .events = POLLIN, .revents = 0};
  return left > 0 && ::poll(&ready, 1, static_cast<int>(left)) >= 0;
}

}  // namespace

std::string enter_namespace() {
  const uid_t user = ::getuid();
  const gid_t group = ::getgid();
  if (::access("/dev/net/tun", R_OK | W_OK) != 0) return std::string("/dev/net/tun: ") + std::strerror(errno);
  if (user == 0 && ::unshare(CLONE_NEWNET) == 0) {
    silence_kernel();
    return "";
  }
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) {
    return std::string("no network namespace without root: ") + std::strerror(errno);
  }
  write_file("/proc/self/setgroups", "deny");
  write_file("/proc/self/uid_map", "0 " + std::to_string(user) + " 1");
  write_file("/proc/self/gid_map", "0 " + std::to_string(group) + " 1");
  silence_kernel();
  return "";
}

TapPeer::TapPeer(bool headers)
    : headers_(headers), socket_(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
  bring_up(kTap);
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(::if_nametoindex(kTap));
  const int buffer = 4 << 20;
  const int on = headers ? 1 : 0;
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
  if (::setsockopt(socket_.get(), SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) != 0 ||
      ::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    throw std::runtime_error(std::string("tap: ") + std::strerror(errno));
  }
}

void TapPeer::send(const Frame& frame, const PlainNetHeader& header) const {
  const Deadline deadline(kSendPatience);
  PlainNetHeader copy = header;
  Frame bytes = frame;
  std::array<iovec, 2> parts{{{&copy, sizeof copy}, {bytes.data(), bytes.size()}}};
  const auto* const first = headers_ ? parts.data() : parts.data() + 1;
  const int count = headers_ ? 2 : 1;
  const auto length = static_cast<ssize_t>(frame.size() + (headers_ ? sizeof copy : 0));
  while (::writev(socket_.get(), first, count) != length) {
    ASSERT_TRUE((errno == ENOBUFS || errno == EAGAIN) && !deadline.passed()) << std::strerror(errno);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

std::optional<Frame> TapPeer::receive(Deadline deadline) const {
  while (true) {
    Frame frame(70000);
    sockaddr_ll from{};
    socklen_t length = sizeof from;
    const ssize_t got =
        ::recvfrom(socket_.get(), frame.data(), frame.size(), 0, reinterpret_cast<sockaddr*>(&from), &length);
    if (got > 0) {
      frame.resize(static_cast<std::size_t>(got));
      if (headers_) frame.erase(frame.begin(), frame.begin() + sizeof(PlainNetHeader));
      if (from.sll_pkttype != PACKET_OUTGOING) return frame;
    } else if (!readable(socket_.get(), deadline)) {
      return std::nullopt;
    }
  }
}

BridgedTap::BridgedTap() : tap_(::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK)) {
  ifreq made = interface(kSecondTap);
  made.ifr_flags = IFF_TAP | IFF_NO_PI;
  if (::ioctl(tap_.get(), TUNSETIFF, &made) != 0) {
    throw std::runtime_error(std::string("second tap: ") + std::strerror(errno));
  }
  const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (::ioctl(socket.get(), SIOCBRADDBR, kBridge) != 0) {
    throw std::runtime_error(std::string("bridge: ") + std::strerror(errno));
  }
  for (const char* const name : {kTap, kSecondTap}) {
    ifreq member = interface(kBridge);
    member.ifr_ifindex = static_cast<int>(::if_nametoindex(name));
    configure(SIOCBRADDIF, member, name);
    bring_up(name);
  }
  bring_up(kBridge);
}

BridgedTap::~BridgedTap() {
  ifreq down = interface(kBridge);
  const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ::ioctl(socket.get(), SIOCSIFFLAGS, &down);
  ::ioctl(socket.get(), SIOCBRDELBR, kBridge);
}

std::optional<Frame> BridgedTap::receive(const std::array<std::uint8_t, 6>& source, Deadline deadline) const {
  while (true) {
    Frame frame(70000);
    const ssize_t got = ::read(tap_.get(), frame.data(), frame.size());
    if (got > 0) {
      frame.resize(static_cast<std::size_t>(got));
      if (frame.size() > 12 && std::equal(source.begin(), source.end(), frame.begin() + 6)) return frame;
    } else if (!readable(tap_.get(), deadline)) {
      return std::nullopt;
    }
  }
}

}  // namespace spinring::test
