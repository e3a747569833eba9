#include "apps/testpmd/engines/udp_frame.hpp"

#include <algorithm>
#include <initializer_list>

namespace spinring::testpmd {
namespace {

constexpr std::size_t kEthernet = 14;
constexpr std::size_t kIp = 20;
constexpr std::size_t kUdp = 8;

/// Appends to a frame, big-endian.
class Writer {
 public:
  explicit Writer(std::vector<std::byte>& frame) : at_(frame.begin()) {}
  void u8(unsigned value) { *at_++ = static_cast<std::byte>(value); }
  void u16(unsigned value) {
    u8(value >> 8);
    u8(value & 0xff);
  }
  void bytes(std::initializer_list<unsigned> values) {
    for (const unsigned value : values) u8(value);
  }
  void mac(const pmd::MacAddress& address) {
    for (const std::uint8_t byte : address) u8(byte);
  }

 private:
  std::vector<std::byte>::iterator at_;
};

}  // namespace

std::uint16_t internet_checksum(const std::byte* bytes, std::size_t length) noexcept {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < length; ++i) {
    const auto value = static_cast<std::uint32_t>(bytes[i]);
    sum += i % 2 == 0 ? value << 8 : value;
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum & 0xffff);
}

std::vector<std::byte> make_udp_frame(const pmd::MacAddress& destination, const pmd::MacAddress& source,
                                      std::uint16_t length) {
  std::vector<std::byte> frame(std::max<std::size_t>(length, kEthernet + kIp + kUdp));
  Writer writer(frame);
  writer.mac(destination);
  writer.mac(source);
  writer.u16(0x0800);  // IPv4

  const unsigned ip_length = static_cast<unsigned>(frame.size() - kEthernet);
  writer.bytes({0x45, 0});  // version 4, five words; no service class
  writer.u16(ip_length);
  writer.bytes({0, 0, 0, 0});    // identification 0, no fragment
  writer.bytes({64, 17, 0, 0});  // TTL, UDP, checksum below
  writer.bytes({198, 18, 0, 1});
  writer.bytes({198, 18, 0, 2});

  writer.u16(9);  // discard, RFC 863
  writer.u16(9);
  writer.u16(static_cast<unsigned>(ip_length - kIp));
  writer.u16(0);  // no checksum, RFC 768

  const std::uint16_t checksum = internet_checksum(frame.data() + kEthernet, kIp);
  frame[kEthernet + 10] = static_cast<std::byte>(checksum >> 8);
  frame[kEthernet + 11] = static_cast<std::byte>(checksum & 0xff);
  return frame;
}

}  // namespace spinring::testpmd
