// Runs in the guest: sends each frame back to who sent it, with what the device is to do to it on the way.
// The last byte of the sender's address says what: offloads.py is the other side.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <span>
#include <string>
#include <utility>

#include "base/time.hpp"
#include "mempool/pool.hpp"
#include "pmd/bus/vfio/vfio_bus.hpp"
#include "pmd/open.hpp"

namespace {

using namespace spinring;
using namespace std::chrono_literals;

constexpr std::uint16_t kVlan = 5;
constexpr std::uint16_t kTci = 0x2000 | kVlan;  // priority 1
constexpr std::uint16_t kMss = 1000;
constexpr std::uint16_t kMtu = 9000;

/// What a sender may ask for.
enum class Wish : std::uint8_t {
  kNothing = 0,
  kChecksums = 1,  ///< the device fills them in
  kTag = 2,        ///< the device inserts kTci
  kSegments = 3,   ///< the device cuts TCP into pieces of kMss
  kBoth = 4,       ///< kChecksums and kTag
  kEnd = 9,
};

/// How many received frames had what in their notes.
struct Notes {
  unsigned good = 0;      ///< checksums
  unsigned bad = 0;       ///< checksums
  unsigned stripped = 0;  ///< of a tag of kVlan
};

void say(const std::string& line) {
  std::fputs((line + "\n").c_str(), stdout);
  std::fflush(stdout);
}

void take_notes(const mempool::Packet& packet, Notes& notes) {
  notes.good += (packet.offloads & mempool::kRxChecksumGood) != 0 ? 1 : 0;
  notes.bad += (packet.offloads & mempool::kRxChecksumBad) != 0 ? 1 : 0;
  const bool stripped = (packet.offloads & mempool::kRxVlanStripped) != 0;
  notes.stripped += stripped && (packet.vlan_tci & 0xFFFU) == kVlan ? 1 : 0;
}

/// Swaps the addresses and asks the device for what the sender wants.
Wish prepare(mempool::Packet& packet) {
  auto* const bytes = reinterpret_cast<std::uint8_t*>(packet.data());
  const auto wish = static_cast<Wish>(bytes[11]);
  std::swap_ranges(bytes, bytes + 6, bytes + 6);
  packet.offloads = 0;
  if (wish == Wish::kTag || wish == Wish::kBoth) {
    packet.offloads |= mempool::kTxVlanInsert;
    packet.vlan_tci = kTci;
  }
  if (wish == Wish::kNothing || wish == Wish::kTag || wish == Wish::kEnd) return wish;
  const bool ipv6 = bytes[12] == 0x86;
  const bool tcp = bytes[ipv6 ? 20 : 23] == 6;
  packet.csum_start = ipv6 ? 54 : 34;
  packet.csum_offset = tcp ? 16 : 6;
  packet.offloads |= mempool::kTxChecksum | (ipv6 ? 0U : std::uint32_t{mempool::kTxIpChecksum});
  if (wish == Wish::kSegments) {
    packet.offloads |= mempool::kTxSegment;
    packet.segment_size = kMss;
    packet.header_length = static_cast<std::uint16_t>(packet.csum_start + 20);
  }
  return wish;
}

Result<Notes> echo(pmd::AnyPort& port, mempool::PoolCache& cache) {
  Notes notes;
  auto rx = port.rx(0);
  auto tx = port.tx(0);
  std::array<mempool::Packet*, 32> burst{};
  const Deadline deadline(60s);
  bool end = false;
  while (!end && !deadline.passed()) {
    auto received = std::span(burst).first(rx.burst(burst));
    for (mempool::Packet* packet : received) {
      take_notes(*packet, notes);
      end |= prepare(*packet) == Wish::kEnd;
    }
    for (mempool::Packet* packet : received.subspan(tx.burst(received))) cache.put_chain(packet);
  }
  (void)tx.burst({});
  return notes;
}

Result<void> run(const std::string& address) {
  auto memory = mempool::Memory::create({.bytes = 16UL << 20});
  if (!memory) return fail(std::move(memory));
  auto pool = mempool::Pool::create(**memory, {.packets = 4096});
  if (!pool) return fail(std::move(pool));
  mempool::PoolCache cache(**pool);
  auto bus = pmd::VfioBus::create(**memory);
  if (!bus) return fail(std::move(bus));
  auto function = (*bus)->open(address);
  if (!function) return fail(std::move(function));
  auto port = pmd::open_port(std::move(*function), **memory);
  if (!port) return fail(std::move(port));
  using pmd::Offload;
  pmd::PortConfig<pmd::SpinringPackets> config;
  config.rx.push_back({1024, &cache});
  config.tx.push_back({1024, &cache});
  config.vlan_filter = true;
  config.mtu = kMtu;
  config.offloads = Offload::kRxChecksum | Offload::kRxVlanStrip | Offload::kTxChecksum |
                    Offload::kTxIpChecksum | Offload::kTxSegment | Offload::kTxVlanInsert;
  if (auto started = (*port)->start(config); !started) return started;
  if (auto set = (*port)->set_vlan_filter(kVlan, true); !set) return set;
  say(fmt::format("ready {}", pmd::to_string((*port)->info().mac)));
  auto notes = echo(**port, cache);
  if (!notes) return fail(std::move(notes));
  say(fmt::format("notes good {} bad {} stripped {}; rejected {}", notes->good, notes->bad, notes->stripped,
                  (*port)->tx_stats(0).rejected));
  (*port)->stop();
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    say("usage: offload_echo PCI-ADDRESS");
    return 2;
  }
  const auto done = run(argv[1]);
  if (!done) say("error: " + done.error().message());
  return done ? 0 : 1;
}
