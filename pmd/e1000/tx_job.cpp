#include "pmd/e1000/tx_job.hpp"

#include <algorithm>

namespace spinring::pmd::e1000 {
namespace {

constexpr std::uint16_t kEthernet = 14;
constexpr std::uint16_t kVlanTag = 4;
constexpr std::uint16_t kIpv4 = 0x0800;
constexpr std::uint16_t kIpv6 = 0x86DD;
constexpr std::uint16_t kIpv6Header = 40;
constexpr std::uint16_t kTcpHeader = 20;
constexpr std::uint16_t kUdpChecksumAt = 6;
constexpr std::uint16_t kSctpChecksumAt = 8;
constexpr std::uint32_t kWantsL4 = mempool::kTxChecksum | mempool::kTxSctpChecksum;
constexpr std::uint32_t kWantsL3 = kWantsL4 | mempool::kTxIpChecksum | mempool::kTxSegment;

std::uint16_t big_endian(std::span<const std::byte> bytes, std::size_t at) noexcept {
  return static_cast<std::uint16_t>(std::to_integer<unsigned>(bytes[at]) << 8 |
                                    std::to_integer<unsigned>(bytes[at + 1]));
}

void put_big_endian(std::span<std::byte> bytes, std::size_t at, std::uint16_t value) noexcept {
  bytes[at] = static_cast<std::byte>(value >> 8);
  bytes[at + 1] = static_cast<std::byte>(value & 0xFF);
}

/// Length of the Ethernet header with its tags, and the type behind it; 0 if the frame ends before.
std::uint16_t skip_ethernet(std::span<const std::byte> first, std::uint16_t& type) noexcept {
  std::uint16_t length = kEthernet;
  while (first.size() >= length) {
    type = big_endian(first, length - 2U);
    if (type != 0x8100 && type != 0x88A8) return length;
    length = static_cast<std::uint16_t>(length + kVlanTag);
  }
  return 0;
}

/// Fills in `headers.l3` from the IP header at `headers.l2`; false for what is no whole IP header.
bool read_ip(std::span<const std::byte> first, TxHeaders& headers) noexcept {
  constexpr unsigned kLeastIhl = 5;
  if (!headers.ipv4) {
    headers.l3 = kIpv6Header;
    return first.size() >= std::size_t{headers.l2} + kIpv6Header;
  }
  if (first.size() < std::size_t{headers.l2} + 4U * kLeastIhl) return false;
  const unsigned ihl = std::to_integer<unsigned>(first[headers.l2]) & 0xFU;
  headers.l3 = static_cast<std::uint16_t>(4 * ihl);
  return ihl >= kLeastIhl && first.size() >= std::size_t{headers.l2} + headers.l3;
}

/// TCP's and UDP's checksums are what the devices fill in, or SCTP's alone, and where L4 starts is the
/// request's to say: IPv6 extension headers lie between.
bool read_checksum(const TxRequest& request, TxHeaders& headers) noexcept {
  if ((request.offloads & mempool::kTxSctpChecksum) != 0) {
    constexpr std::uint32_t kOthers = mempool::kTxChecksum | mempool::kTxSegment;
    if (request.csum_offset != kSctpChecksumAt || (request.offloads & kOthers) != 0) return false;
  } else if (request.csum_offset != kTcpChecksumAt && request.csum_offset != kUdpChecksumAt) {
    return false;
  }
  const std::uint32_t parsed = std::uint32_t{headers.l2} + headers.l3;
  if (request.csum_start < parsed || (headers.ipv4 && request.csum_start != parsed)) return false;
  headers.l3 = static_cast<std::uint16_t>(request.csum_start - headers.l2);
  return true;
}

/// A segmented frame: a TCP header that is whole, and a request that agrees with it.
bool read_tcp(std::span<const std::byte> first, const TxRequest& request, TxHeaders& headers) noexcept {
  const std::size_t start = std::size_t{headers.l2} + headers.l3;
  if (first.size() < start + kTcpHeader || request.segment_size == 0) return false;
  headers.l4 = static_cast<std::uint16_t>(4 * (std::to_integer<unsigned>(first[start + 12]) >> 4));
  return headers.l4 >= kTcpHeader && first.size() >= start + headers.l4 && start + headers.l4 <= 255 &&
         (request.header_length == 0 || request.header_length == start + headers.l4);
}

}  // namespace

std::optional<TxHeaders> read_headers(std::span<const std::byte> first, const TxRequest& request) {
  TxHeaders headers;
  std::uint16_t type = 0;
  headers.l2 = skip_ethernet(first, type);
  if (headers.l2 == 0) return {};
  if ((request.offloads & kWantsL3) == 0) return headers;
  if (type != kIpv4 && type != kIpv6) return {};
  headers.ipv4 = type == kIpv4;
  if (!read_ip(first, headers)) return {};
  if ((request.offloads & kWantsL4) != 0 && !read_checksum(request, headers)) return {};
  // [8254x] 3.3.6: TUCSO has 8 bits; [82576] 7.2.2.2: MACLEN 7, IPLEN 9.
  if (headers.l2 + headers.l3 + request.csum_offset > 255 || headers.l2 > 127) return {};
  if ((request.offloads & mempool::kTxIpChecksum) != 0 && !headers.ipv4) return {};
  if ((request.offloads & mempool::kTxSegment) != 0 && !read_tcp(first, request, headers)) return {};
  return headers;
}

void prepare_segmentation(std::span<std::byte> first, const TxHeaders& headers) noexcept {
  constexpr std::uint32_t kTcp = 6;
  const std::size_t ip = headers.l2;
  const std::size_t tcp = ip + headers.l3;
  std::size_t addresses = ip + 8;
  std::size_t address_bytes = 32;
  if (headers.ipv4) {
    put_big_endian(first, ip + 2, 0);   // total length
    put_big_endian(first, ip + 10, 0);  // header checksum
    addresses = ip + 12;
    address_bytes = 8;
  } else {
    put_big_endian(first, ip + 4, 0);  // payload length
  }
  std::uint32_t sum = kTcp;
  for (std::size_t at = 0; at < address_bytes; at += 2) sum += big_endian(first, addresses + at);
  while (sum > 0xFFFF) sum = (sum & 0xFFFFU) + (sum >> 16);
  put_big_endian(first, tcp + 16, static_cast<std::uint16_t>(sum));
}

}  // namespace spinring::pmd::e1000
