#include "apps/testpmd/engines/settle.hpp"

#include <algorithm>
#include <optional>
#include <span>

namespace spinring::testpmd {
namespace {

using mempool::Packet;
using Bytes = std::span<const std::byte>;

constexpr std::size_t kMacHeader = 14;
constexpr unsigned kTcp = 6;

unsigned byte_at(Bytes bytes, std::size_t at) { return std::to_integer<unsigned>(bytes[at]); }
unsigned word_at(Bytes bytes, std::size_t at) { return byte_at(bytes, at) << 8 | byte_at(bytes, at + 1); }
void store_word(std::byte* at, unsigned value) {
  at[0] = static_cast<std::byte>(value >> 8 & 0xFFU);
  at[1] = static_cast<std::byte>(value & 0xFFU);
}

/// The ones' complement sum of RFC 1071, over pieces of any length.
class InternetSum {
 public:
  void add(Bytes bytes) {
    for (const std::byte byte : bytes) {
      sum_ += std::to_integer<std::uint64_t>(byte) << (odd_ ? 0 : 8);
      odd_ = !odd_;
    }
  }
  void add(unsigned word) { sum_ += word; }
  [[nodiscard]] unsigned folded() const {
    std::uint64_t sum = sum_;
    while (sum > 0xFFFF) sum = (sum & 0xFFFF) + (sum >> 16);
    return static_cast<unsigned>(sum);
  }

 private:
  std::uint64_t sum_ = 0;
  bool odd_ = false;
};

/// Fills the checksum in: the field holds the sum of the pseudo header. It lies in the first segment, or the
/// frame is left as it is.
void fill_in(Packet& packet) {
  const std::size_t field = std::size_t{packet.csum_start} + packet.csum_offset;
  if (field + 2 > packet.data_length) return;
  InternetSum sum;
  std::size_t skip = packet.csum_start;
  for (Packet* segment = &packet; segment != nullptr; segment = segment->next) {
    sum.add(Bytes(segment->bytes()).subspan(std::min<std::size_t>(skip, segment->data_length)));
    skip = 0;
  }
  const unsigned checksum = 0xFFFFU - sum.folded();
  store_word(packet.data() + field, checksum == 0 ? 0xFFFFU : checksum);  // UDP: 0 means none
}

/// Where a TCP frame's headers are.
struct TcpHeaders {
  bool ipv6;
  std::size_t l3;
  std::size_t l4;
  std::size_t end;
};
std::optional<TcpHeaders> tcp_headers(Bytes start) {
  std::size_t l3 = kMacHeader;
  for (int tags = 0; tags < 2 && start.size() >= l3 &&
                     (word_at(start, l3 - 2) == 0x8100 || word_at(start, l3 - 2) == 0x88A8);
       ++tags)
    l3 += 4;
  constexpr std::size_t kLeast = 20;
  if (start.size() < l3 + kLeast) return {};
  const unsigned type = word_at(start, l3 - 2);
  if (type != 0x0800 && type != 0x86DD) return {};
  const bool ipv6 = type == 0x86DD;
  const std::size_t l4 = l3 + (ipv6 ? 40U : 4U * (byte_at(start, l3) & 15U));
  if (start.size() < l4 + kLeast || byte_at(start, l3 + (ipv6 ? 6U : 9U)) != kTcp) return {};
  const std::size_t end = l4 + 4U * (byte_at(start, l4 + 12) >> 4U);
  if (end < l4 + kLeast || end > start.size()) return {};
  return TcpHeaders{ipv6, l3, l4, end};
}

/// Asks for the segments that the frame came as; false: it is no TCP frame.
bool ask_for_segments(Packet& packet) {
  const Bytes start = packet.bytes();
  const auto headers = tcp_headers(start);
  if (!headers) return false;
  InternetSum pseudo;
  pseudo.add(start.subspan(headers->l3 + (headers->ipv6 ? 8U : 12U), headers->ipv6 ? 32 : 8));
  pseudo.add(kTcp);
  packet.csum_start = static_cast<std::uint16_t>(headers->l4);
  packet.csum_offset = 16;
  packet.header_length = static_cast<std::uint16_t>(headers->end);
  store_word(packet.data() + headers->l4 + packet.csum_offset, pseudo.folded());
  packet.offloads = mempool::kTxSegment;
  return true;
}

}  // namespace

void settle(Packet& packet, pmd::Offloads tx) noexcept {
  const bool coalesced = (packet.offloads & mempool::kRxCoalesced) != 0;
  const bool partial = (packet.offloads & mempool::kRxChecksumPartial) != 0;
  if (coalesced && tx.has(pmd::Offload::kTxSegment) && ask_for_segments(packet)) return;
  if (!partial) return;
  if (tx.has(pmd::Offload::kTxChecksum)) {
    packet.offloads = mempool::kTxChecksum;
  } else {
    fill_in(packet);
    packet.offloads &= ~std::uint32_t{mempool::kRxChecksumPartial};
  }
}

}  // namespace spinring::testpmd
