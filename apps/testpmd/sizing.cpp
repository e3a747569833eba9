#include "apps/testpmd/sizing.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "apps/testpmd/limits.hpp"
#include "base/align.hpp"
#include "base/cpu.hpp"
#include "mempool/errors.hpp"
#include "mempool/pool.hpp"

namespace spinring::testpmd {
namespace {

/// Entries of one port's rings: at most, before the devices are known.
std::uint32_t ring_total(const ForwardOptions& options) noexcept {
  return std::uint32_t{options.rx_queues} * ring_entries(options.rx_ring, 0) +
         std::uint32_t{options.tx_queues} * ring_entries(options.tx_ring, 0);
}

}  // namespace

std::uint16_t ring_entries(std::uint16_t asked, std::uint16_t device_most) noexcept {
  if (asked != 0) return asked;
  return device_most != 0 ? std::min(kDefaultRing, device_most) : kDefaultRing;
}

PoolNeed pool_need(const ForwardOptions& options, unsigned ports, unsigned lcores) {
  const std::uint32_t rings = ports * ring_total(options);
  return {rings + lcores * options.burst,
          rings + lcores * (options.burst + mempool::PoolCache::kMostPackets)};
}

Result<std::uint32_t> pool_packets(const ForwardOptions& options, unsigned ports, unsigned lcores) {
  const PoolNeed need = pool_need(options, ports, lcores);
  if (options.packets == 0) return need.standard;
  if (options.packets >= need.least) return options.packets;
  return fail(
      mempool::Errc::kBadArgument, fmt::format("--total-num-mbufs={}", options.packets), "packet pool", 0,
      fmt::format("The rings of {} ports and {} lcores hold up to {} packets: ask for at least that many, "
                  "or for smaller rings with --rxd and --txd",
                  ports, lcores, need.least));
}

std::size_t memory_bytes(const ForwardOptions& options, unsigned ports, std::uint32_t packets) {
  // Descriptors, used entries and their headers are under 64 bytes an entry in every ring format; a queue's
  // alignment and control structures fit 8 KiB.
  constexpr std::size_t kEntry = 64;
  constexpr std::size_t kQueue = 8192;
  constexpr std::size_t kPort = 65536;  // control queue, tables of addresses
  const std::size_t rings = ports * (ring_total(options) * kEntry + std::size_t{options.rx_queues} * kQueue +
                                     std::size_t{options.tx_queues} * kQueue + kPort);
  const std::size_t packet =
      sizeof(mempool::Packet) + align_up<std::size_t>(options.buffer_length, kCacheLine) + kCacheLine;
  // The end of each hugepage may be left free (mempool/packet_layout.hpp), and a stride rounds up.
  constexpr std::size_t kPage = 2UL << 20;
  return packets * packet + (packets / (kPage / packet) + 1) * packet + rings;
}

}  // namespace spinring::testpmd
