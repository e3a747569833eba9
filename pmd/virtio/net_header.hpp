#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/shared.hpp"
#include "mempool/packet.hpp"
#include "pmd/packet_pool.hpp"
#include "pmd/virtio/features.hpp"
#include "pmd/virtio/wire.hpp"

/// Between packets and the header that goes with each frame (virtio 1.2, 5.1.6): what a packet asks for
/// becomes a header, and a header that the device wrote becomes notes. Both are refused where they contradict
/// the frame or what was negotiated.
namespace spinring::pmd::virtio {

/// How long headers are and what they may say, by the features that were negotiated.
struct HeaderRules {
  std::uint32_t bytes = sizeof(NetHeader);  ///< HASH_REPORT: sizeof(HashHeader)
  std::uint32_t tx_offloads = 0;            ///< mempool::OffloadBits that packets may ask for
  bool checksum = false;                    ///< received: GUEST_CSUM
  bool tcp4 = false;                        ///< received: GUEST_TSO4
  bool tcp6 = false;                        ///< received: GUEST_TSO6
  bool udp = false;                         ///< received: GUEST_USO4 or GUEST_USO6
  constexpr bool operator==(const HeaderRules&) const = default;
};

[[nodiscard]] constexpr HeaderRules header_rules(FeatureSet negotiated) noexcept {
  using enum Feature;
  HeaderRules rules{.checksum = negotiated.has(kGuestChecksum),
                    .tcp4 = negotiated.has(kGuestTso4),
                    .tcp6 = negotiated.has(kGuestTso6),
                    .udp = negotiated.has(kGuestUso4) || negotiated.has(kGuestUso6)};
  if (negotiated.has(kHashReport)) rules.bytes = sizeof(HashHeader);
  if (negotiated.has(kChecksum)) rules.tx_offloads |= mempool::kTxChecksum;
  if (negotiated.has(kHostTso4) && negotiated.has(kHostTso6)) rules.tx_offloads |= mempool::kTxSegment;
  if (negotiated.has(kHostUso)) rules.tx_offloads |= mempool::kTxSegmentUdp;
  return rules;
}

namespace detail {

inline constexpr std::uint32_t kMacHeader = 14;
inline constexpr std::uint32_t kChecksumBytes = 2;

[[nodiscard]] inline std::uint16_t read_big16(const std::byte* at) noexcept {
  return static_cast<std::uint16_t>(std::to_integer<unsigned>(at[0]) << 8 | std::to_integer<unsigned>(at[1]));
}

/// The gso_type of a frame by its EtherType, behind at most two VLAN tags; kGsoNone: neither IPv4 nor IPv6.
[[nodiscard]] inline std::uint8_t segment_type(std::span<const std::byte> frame, bool udp) noexcept {
  constexpr std::size_t kTagBytes = 4;
  std::size_t at = kMacHeader - 2;
  for (int tags = 0; at + 2 <= frame.size(); ++tags, at += kTagBytes) {
    switch (read_big16(frame.data() + at)) {
      case 0x0800:
        return udp ? net_header::kGsoUdp : net_header::kGsoTcp4;
      case 0x86DD:
        return udp ? net_header::kGsoUdp : net_header::kGsoTcp6;
      case 0x8100:
      case 0x88A8:
        if (tags < 2) break;
        return net_header::kGsoNone;
      default:
        return net_header::kGsoNone;
    }
  }
  return net_header::kGsoNone;
}

}  // namespace detail

/// 5.1.6.2: the header of a frame that asks for `request`. `start` is its first segment, which must hold all
/// headers. False: it may not be sent, since what it asks for was not negotiated or contradicts the frame.
[[nodiscard]] inline bool describe_request(const TxRequest& request, std::span<const std::byte> start,
                                           std::uint32_t frame_length, const HeaderRules& rules,
                                           NetHeader& header) noexcept {
  header = {};
  if (request.offloads == 0) return true;
  if ((request.offloads & ~rules.tx_offloads) != 0) return false;
  const std::uint32_t checksum_end =
      std::uint32_t{request.csum_start} + request.csum_offset + detail::kChecksumBytes;
  if (request.csum_start < detail::kMacHeader || checksum_end > start.size()) return false;
  header.flags = net_header::kNeedsChecksum;
  header.csum_start = request.csum_start;
  header.csum_offset = request.csum_offset;
  const bool tcp = (request.offloads & mempool::kTxSegment) != 0;
  const bool udp = (request.offloads & mempool::kTxSegmentUdp) != 0;
  if (!tcp && !udp) return true;
  if ((tcp && udp) || request.segment_size == 0 || request.header_length < checksum_end ||
      request.header_length > start.size() || request.header_length >= frame_length)
    return false;
  const std::uint8_t type = detail::segment_type(start.first(request.csum_start), udp);
  if (type == net_header::kGsoNone) return false;
  // What fits one segment is none to cut.
  if (frame_length - request.header_length <= request.segment_size) return true;
  header.gso_type = type;
  header.gso_size = request.segment_size;
  header.header_length = request.header_length;
  return true;
}

namespace detail {

/// Adds to a sum in ones' complement, or takes away: adds the complement.
inline void change_sum(std::byte* field, std::uint32_t value, bool add) noexcept {
  value = (value >> 16) + (value & 0xFFFFU);
  value = (value >> 16) + (value & 0xFFFFU);
  std::uint32_t sum = read_big16(field) + (add ? value : 0xFFFFU - value);
  sum = (sum & 0xFFFFU) + (sum >> 16);
  field[0] = static_cast<std::byte>(sum >> 8);
  field[1] = static_cast<std::byte>(sum);
}
inline void change_pseudo_header(const TxRequest& request, std::byte* start, std::uint32_t frame_length,
                                 bool add) noexcept {
  if ((request.offloads & (mempool::kTxSegment | mempool::kTxSegmentUdp)) == 0) return;
  change_sum(start + request.csum_start + request.csum_offset, frame_length - request.csum_start, add);
}

}  // namespace detail

/// A packet that asks for segments has the sum of the pseudo header without the length in its checksum field;
/// 5.1.6.2 wants it with the length of the whole. `start`: as it was found good by describe_request().
inline void complete_pseudo_header(const TxRequest& request, std::byte* start,
                                   std::uint32_t frame_length) noexcept {
  detail::change_pseudo_header(request, start, frame_length, true);
}
/// Of a packet that was posted and is the application's, or will be posted, again.
inline void undo_pseudo_header(const TxRequest& request, std::byte* start,
                               std::uint32_t frame_length) noexcept {
  detail::change_pseudo_header(request, start, frame_length, false);
}

/// 5.1.6.4: what the device says of a received frame. Each field is read once: the device may write it again.
/// False: the device may not say that of this frame.
[[nodiscard]] inline bool read_notes(const NetHeader& header, std::uint32_t frame_length,
                                     const HeaderRules& rules, RxNotes& notes) noexcept {
  const std::uint8_t flags = __atomic_load_n(&header.flags, __ATOMIC_RELAXED);
  const std::uint8_t type = __atomic_load_n(&header.gso_type, __ATOMIC_RELAXED);
  std::uint32_t headers = detail::kMacHeader;  // bytes at least
  // Without GUEST_CSUM the flags mean nothing; others than these are to be ignored.
  if (rules.checksum && (flags & net_header::kNeedsChecksum) != 0) {
    notes.csum_start = load_relaxed(header.csum_start);
    notes.csum_offset = load_relaxed(header.csum_offset);
    headers = std::uint32_t{notes.csum_start} + notes.csum_offset + detail::kChecksumBytes;
    if (notes.csum_start < detail::kMacHeader || headers > frame_length) return false;
    notes.offloads |= mempool::kRxChecksumPartial;
  } else if (rules.checksum && (flags & net_header::kDataValid) != 0) {
    notes.offloads |= mempool::kRxChecksumGood;
  }
  if (type == net_header::kGsoNone) return true;
  const bool expected = (type == net_header::kGsoTcp4 && rules.tcp4) ||
                        (type == net_header::kGsoTcp6 && rules.tcp6) ||
                        (type == net_header::kGsoUdp && rules.udp);
  notes.segment_size = load_relaxed(header.gso_size);
  if (!expected || notes.segment_size == 0) return false;
  notes.offloads |= mempool::kRxCoalesced;
  // 5.1.6.4.2: a hint, on which nobody may rely.
  const std::uint16_t length = load_relaxed(header.header_length);
  if (length >= headers && length <= frame_length) notes.header_length = length;
  return true;
}

/// 5.1.6.4.3: the hash, where the device has computed one.
inline void read_hash(const HashHeader& header, RxNotes& notes) noexcept {
  const std::uint16_t report = load_relaxed(header.hash_report);
  if (report == net_header::kHashReportNone || report > net_header::kHashReportMost) return;
  notes.rss_hash = load_relaxed(header.hash_value);
  notes.offloads |= mempool::kRxHashValid;
}

}  // namespace spinring::pmd::virtio
