#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>

#include "mempool/packet.hpp"
#include "pmd/e1000/descriptors.hpp"
#include "pmd/packet_pool.hpp"

/// From what a packet asks for to what its descriptors say.
namespace spinring::pmd::e1000 {

inline constexpr std::uint16_t kTcpChecksumAt = 16;  ///< in the TCP header
/// [82576] 7.2.2.3: PAYLEN has 18 bits, the legacy context's 20; IP's length field has 16 and is the limit.
inline constexpr std::uint32_t kLongestSegmented = 65535 + 18;

/// The headers of a frame that asks for an offload, in bytes.
struct TxHeaders {
  std::uint16_t l2 = 0;  ///< with VLAN tags
  std::uint16_t l3 = 0;
  std::uint16_t l4 = 0;  ///< of a frame that is segmented; 0 otherwise
  bool ipv4 = false;
};

/// The headers, if the request fits them and they lie in the frame's first segment; nothing for a frame that
/// no device could do that for.
[[nodiscard]] std::optional<TxHeaders> read_headers(std::span<const std::byte> first,
                                                    const TxRequest& request);

/// Puts the headers of a frame that is segmented into the state that the devices want: lengths 0, the TCP
/// checksum over a pseudo-header without length ([82574] 7.3.6.2, [82576] 7.2.4.2). They fill in the rest.
void prepare_segmentation(std::span<std::byte> first, const TxHeaders& headers) noexcept;

/// Descriptors of a frame that is sent as it is.
template <TxFormat F>
[[nodiscard]] constexpr TxJob plain_job(std::uint32_t frame_length) noexcept {
  TxJob job;
  if constexpr (F == TxFormat::kLegacy) {
    job.command = TxDescriptor::kIfcs;
  } else {
    constexpr std::uint32_t kData = 3U << 20;  // [82576] 7.2.2.3: DTYP
    job.command = TxDescriptor::kDext | kData | TxDescriptor::kIfcs;
    job.status = frame_length << 14;  // PAYLEN
  }
  return job;
}

/// [8254x] 3.3.6 and 3.3.7, [82574] 7.2.10 and 7.2.11: context and data descriptors. The context says where
/// the checksums start, end and go.
inline void legacy_offload(const TxHeaders& headers, std::uint32_t frame_length, const TxRequest& request,
                           TxJob& job) noexcept {
  constexpr std::uint32_t kTse = 1U << 26;
  constexpr std::uint32_t kData = 1U << 20;
  constexpr std::uint32_t kTcp = 1U << 24;
  constexpr std::uint32_t kIp = 1U << 25;
  constexpr std::uint32_t kIpChecksumAt = 10;
  const bool segmented = (request.offloads & mempool::kTxSegment) != 0;
  if ((request.offloads & mempool::kTxVlanInsert) != 0) {
    job.command |= TxDescriptor::kVle;
    job.status |= std::uint32_t{request.vlan_tci} << 16;
  }
  if ((request.offloads & ~std::uint32_t{mempool::kTxVlanInsert}) == 0)
    return;  // a legacy descriptor does it
  const std::uint32_t l4 = std::uint32_t{headers.l2} + headers.l3;
  job.command |= TxDescriptor::kDext | kData | (segmented ? kTse : 0);
  if (headers.ipv4 && (segmented || (request.offloads & mempool::kTxIpChecksum) != 0))
    job.status |= TxDescriptor::kIxsm;
  if (segmented || (request.offloads & mempool::kTxChecksum) != 0) job.status |= TxDescriptor::kTxsm;
  const std::uint64_t ip_part = headers.l2 | (headers.l2 + kIpChecksumAt) << 8 | std::uint64_t{l4 - 1} << 16;
  const std::uint64_t l4_part = l4 | (l4 + request.csum_offset) << 8;  // TUCSE 0: to the frame's end
  job.has_context = true;
  job.context_address = ip_part | l4_part << 32;
  const bool tcp = request.csum_offset == kTcpChecksumAt;
  job.context_command = TxDescriptor::kDext | (headers.ipv4 ? kIp : 0) | (tcp ? kTcp : 0);
  if (segmented) {
    const std::uint32_t all = l4 + headers.l4;
    job.context_command |= kTse | (frame_length - all);
    job.context_status = all << 8 | std::uint32_t{request.segment_size} << 16;
  }
}

/// [82576] 7.2.2.2 and 7.2.2.3: the context has the lengths of the headers, and the VLAN tag.
inline void advanced_offload(const TxHeaders& headers, std::uint32_t frame_length, const TxRequest& request,
                             TxJob& job) noexcept {
  constexpr std::uint32_t kTse = 1U << 31;
  constexpr std::uint32_t kContext = 2U << 20;
  constexpr std::uint32_t kIpv4 = 1U << 10;
  constexpr std::uint32_t kTcp = 1U << 11;
  constexpr std::uint32_t kSctp = 2U << 11;
  const bool segmented = (request.offloads & mempool::kTxSegment) != 0;
  job.has_context = true;
  job.context_address = headers.l3 | std::uint32_t{headers.l2} << 9;
  if ((request.offloads & mempool::kTxVlanInsert) != 0) {
    job.command |= TxDescriptor::kVle;
    job.context_address |= std::uint64_t{request.vlan_tci} << 16;
  }
  if (headers.ipv4 && (segmented || (request.offloads & mempool::kTxIpChecksum) != 0))
    job.status |= TxDescriptor::kIxsm;
  const bool sctp = (request.offloads & mempool::kTxSctpChecksum) != 0;
  if (segmented || sctp || (request.offloads & mempool::kTxChecksum) != 0) job.status |= TxDescriptor::kTxsm;
  const bool tcp = request.csum_offset == kTcpChecksumAt;
  job.context_command = TxDescriptor::kDext | kContext | (headers.ipv4 ? kIpv4 : 0) |
                        (sctp  ? kSctp
                         : tcp ? kTcp
                               : 0);
  if (segmented) {
    const std::uint32_t all = std::uint32_t{headers.l2} + headers.l3 + headers.l4;
    job.command |= kTse;
    job.status = (job.status & 0x3FFFU) | (frame_length - all) << 14;  // PAYLEN: without the headers
    job.context_status = std::uint32_t{headers.l4} << 8 | std::uint32_t{request.segment_size} << 16;
  }
}

/// Adds to a plain job what the packet asks for; `first` is its first segment's data. False if that cannot be
/// done.
template <TxFormat F>
[[nodiscard]] bool offload_job(std::span<std::byte> first, std::uint32_t frame_length, TxRequest request,
                               bool segments_ipv6, TxJob& job) noexcept {
  constexpr std::uint32_t kUsesOffset = mempool::kTxChecksum | mempool::kTxSctpChecksum;
  if ((request.offloads & kUsesOffset) == 0) request.csum_offset = 0;  // what the packet had there last
  std::optional<TxHeaders> headers = read_headers(first, request);
  if (!headers) return false;
  if ((request.offloads & mempool::kTxSegment) != 0) {
    if (!headers->ipv4 && !segments_ipv6) return false;
    if (frame_length <= std::uint32_t{headers->l2} + headers->l3 + headers->l4) return false;
    prepare_segmentation(first, *headers);
    request.csum_offset = kTcpChecksumAt;
  }
  if constexpr (F == TxFormat::kLegacy) {
    legacy_offload(*headers, frame_length, request, job);
  } else {
    advanced_offload(*headers, frame_length, request, job);
  }
  return true;
}

}  // namespace spinring::pmd::e1000
