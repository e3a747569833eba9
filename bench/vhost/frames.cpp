#include "bench/vhost/frames.hpp"

#include <algorithm>
#include <array>

namespace spinring::bench::vhost {
namespace {

constexpr std::size_t kEthernet = 14;
constexpr std::size_t kIpv4 = 20;

void put16(std::byte* at, std::size_t value) {
  at[0] = static_cast<std::byte>(value >> 8U);
  at[1] = static_cast<std::byte>(value);
}

std::size_t header_checksum(const std::byte* header) {
  std::size_t sum = 0;
  for (std::size_t i = 0; i < kIpv4; i += 2) {
    sum += (std::to_integer<std::size_t>(header[i]) << 8U) + std::to_integer<std::size_t>(header[i + 1]);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16U);
  return ~sum & 0xffff;
}

}  // namespace

FrameTemplate::FrameTemplate(std::size_t size) : bytes_(std::clamp(size, kLeastFrame, kMostFrame)) {
  constexpr std::array<unsigned char, kEthernet + kIpv4> kHeaders{
      0x02, 0, 0,   0,  0, 1, 0x02, 0, 0,  0,  0, 2, 0x08, 0x00,  // locally administered addresses, IPv4
      0x45, 0, 0,   0,  0, 0, 0,    0, 64, 17, 0, 0, 198,  18,
      0,    1, 198, 18, 0, 2};  // UDP; RFC 2544's addresses
  for (std::size_t i = 0; i < bytes_.size(); ++i) bytes_[i] = static_cast<std::byte>(i * 7 + 1);
  std::memcpy(bytes_.data(), kHeaders.data(), kHeaders.size());
  std::byte* ip = bytes_.data() + kEthernet;
  put16(ip + 2, bytes_.size() - kEthernet);
  put16(ip + 10, header_checksum(ip));
  std::byte* udp = ip + kIpv4;
  put16(udp, 9);
  put16(udp + 2, 9);
  put16(udp + 4, bytes_.size() - kEthernet - kIpv4);
  put16(udp + 6, 0);  // no checksum: the sequence number changes
}

bool FrameTemplate::intact(std::span<const std::byte> frame) const noexcept {
  return frame.size() == bytes_.size() &&
         std::memcmp(frame.data() + kAddresses, bytes_.data() + kAddresses, kStream - kAddresses) == 0 &&
         std::memcmp(frame.data() + kSequenceEnd, bytes_.data() + kSequenceEnd,
                     frame.size() - kSequenceEnd) == 0;
}

void SequenceChecker::see(std::uint64_t sequence) noexcept {
  ++record_->verified;
  if (sequence >= record_->next) {
    const std::uint64_t gap = sequence - record_->next;
    record_->lost += gap;
    for (std::uint64_t i = sequence - std::min(gap, kWindow - 1); i < sequence; ++i) word(i) &= ~mask(i);
    word(sequence) |= mask(sequence);
    record_->next = sequence + 1;
    return;
  }
  const bool remembered = record_->next - sequence <= kWindow;
  if (!remembered || (word(sequence) & mask(sequence)) != 0) {
    ++record_->duplicated;
    return;
  }
  word(sequence) |= mask(sequence);
  ++record_->reordered;
  --record_->lost;
}

}  // namespace spinring::bench::vhost
