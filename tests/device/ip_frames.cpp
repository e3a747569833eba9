#include "tests/device/ip_frames.hpp"

#include <algorithm>
#include <span>

namespace spinring::test {
namespace {

constexpr std::size_t kL3 = 14;

using Bytes = std::span<const std::uint8_t>;

void put16(Frame& frame, std::size_t at, std::size_t value) {
  frame[at] = static_cast<std::uint8_t>(value >> 8 & 0xFF);
  frame[at + 1] = static_cast<std::uint8_t>(value & 0xFF);
}
std::size_t get16(const Frame& frame, std::size_t at) { return std::size_t{frame[at]} << 8U | frame[at + 1]; }

/// RFC 1071: the ones' complement sum, folded; not complemented.
std::uint32_t sum_of(Bytes bytes, std::uint32_t sum = 0) {
  for (std::size_t i = 0; i < bytes.size(); ++i) sum += std::uint32_t{bytes[i]} << (i % 2 == 0 ? 8U : 0U);
  while (sum > 0xFFFF) sum = (sum & 0xFFFF) + (sum >> 16);
  return sum;
}

struct Headers {
  bool ipv6;
  std::uint8_t protocol;
  std::size_t l4;
};
Headers headers_of(const Frame& frame) {
  const bool ipv6 = get16(frame, 12) == 0x86DD;
  return {ipv6, frame[kL3 + (ipv6 ? 6U : 9U)], kL3 + (ipv6 ? 40U : 20U)};
}
std::uint32_t pseudo_sum(const Frame& frame, const Headers& headers, std::size_t length) {
  const Bytes addresses = Bytes(frame).subspan(kL3 + (headers.ipv6 ? 8U : 12U), headers.ipv6 ? 32 : 8);
  return sum_of(addresses, headers.protocol + static_cast<std::uint32_t>(length));
}

}  // namespace

Frame IpFrame::bytes() const {
  Frame frame = make_frame(header_length() + payload, seed, destination, source);
  std::fill(frame.begin() + kL3, frame.begin() + header_length(), std::uint8_t{0});
  const std::size_t l4_length = frame.size() - l4();
  put16(frame, 12, ipv6 ? 0x86DD : 0x0800);
  if (ipv6) {
    frame[kL3] = 0x60;
    put16(frame, kL3 + 4, l4_length);
    frame[kL3 + 6] = protocol;
    frame[kL3 + 7] = 64;
    for (std::size_t i = 0; i < 2; ++i) {
      frame[kL3 + 8 + 16 * i] = 0xFD;
      frame[kL3 + 23 + 16 * i] = static_cast<std::uint8_t>(i + 1);
    }
  } else {
    frame[kL3] = 0x45;
    put16(frame, kL3 + 2, frame.size() - kL3);
    frame[kL3 + 8] = 64;
    frame[kL3 + 9] = protocol;
    put16(frame, kL3 + 12, 0x0A00);
    put16(frame, kL3 + 14, 1);
    put16(frame, kL3 + 16, 0x0A00);
    put16(frame, kL3 + 18, 2);
    put16(frame, kL3 + 10, 0xFFFF - sum_of(Bytes(frame).subspan(kL3, 20)));
  }
  put16(frame, l4(), source_port);
  put16(frame, l4() + 2U, 9);
  if (protocol == kTcp) {
    frame[l4() + 12U] = 0x50;
    frame[l4() + 13U] = 0x10;  // ACK
    put16(frame, l4() + 14U, 0x1000);
  } else {
    put16(frame, l4() + 4U, l4_length);
  }
  const Headers headers = headers_of(frame);
  const std::size_t field = l4() + std::size_t{sum_offset()};
  const std::uint32_t pseudo =
      pseudo_sum(frame, headers, sum == L4Sum::kPseudoHeaderWithoutLength ? 0 : l4_length);
  put16(frame, field, sum == L4Sum::kFull ? 0xFFFF - sum_of(Bytes(frame).subspan(l4()), pseudo) : pseudo);
  return frame;
}

bool is_sound(const Frame& frame) {
  const Headers headers = headers_of(frame);
  const std::size_t length = frame.size() - headers.l4;
  if (headers.ipv6) {
    if (get16(frame, kL3 + 4) != length) return false;
  } else if (get16(frame, kL3 + 2) != frame.size() - kL3 || sum_of(Bytes(frame).subspan(kL3, 20)) != 0xFFFF) {
    return false;
  }
  if (headers.protocol == kUdp && get16(frame, headers.l4 + 4) != length) return false;
  return sum_of(Bytes(frame).subspan(headers.l4), pseudo_sum(frame, headers, length)) == 0xFFFF;
}

Frame payload_of(const Frame& frame) {
  const Headers headers = headers_of(frame);
  const std::size_t begin = headers.l4 + (headers.protocol == kTcp ? 20 : 8);
  return {frame.begin() + static_cast<std::ptrdiff_t>(begin), frame.end()};
}

}  // namespace spinring::test
