#include "pmd/offload.hpp"

#include <utility>

namespace spinring::pmd {
namespace {

constexpr std::array kNames{
    std::pair{Offload::kRxChecksum, "rx-checksum"},
    std::pair{Offload::kRxCoalesce, "rx-coalesce"},
    std::pair{Offload::kRxVlanStrip, "rx-vlan-strip"},
    std::pair{Offload::kRxHash, "rx-hash"},
    std::pair{Offload::kRxTimestamp, "rx-timestamp"},
    std::pair{Offload::kRxCoalesceUdp, "rx-coalesce-udp"},
    std::pair{Offload::kTxChecksum, "tx-checksum"},
    std::pair{Offload::kTxIpChecksum, "tx-ip-checksum"},
    std::pair{Offload::kTxSegment, "tx-segment"},
    std::pair{Offload::kTxSegmentUdp, "tx-segment-udp"},
    std::pair{Offload::kTxVlanInsert, "tx-vlan-insert"},
    std::pair{Offload::kTxSctpChecksum, "tx-sctp-checksum"},
    std::pair{Offload::kRss, "rss"},
};

}  // namespace

std::string to_string(Offloads offloads) {
  std::string text;
  for (const auto& [offload, name] : kNames) {
    if (!offloads.has(offload)) continue;
    if (!text.empty()) text += ' ';
    text += name;
  }
  return text.empty() ? "none" : text;
}

std::uint32_t toeplitz_hash(const std::array<std::uint8_t, kRssKeyBytes>& key, const std::uint8_t* input,
                            std::size_t bytes) noexcept {
  const auto key_bit = [&](std::size_t bit) {
    return bit / 8 < key.size() ? (static_cast<unsigned>(key[bit / 8]) >> (7 - bit % 8)) & 1U : 0U;
  };
  std::uint32_t hash = 0;
  std::uint32_t window = 0;  // the 32 bits of the key that start at the input's bit
  for (std::size_t bit = 0; bit < 32; ++bit) window = (window << 1) | key_bit(bit);
  for (std::size_t bit = 0; bit < bytes * 8; ++bit) {
    if (((static_cast<unsigned>(input[bit / 8]) >> (7 - bit % 8)) & 1U) != 0) hash ^= window;
    window = (window << 1) | key_bit(bit + 32);
  }
  return hash;
}

}  // namespace spinring::pmd
