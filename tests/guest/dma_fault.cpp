// Runs in the guest: tells a virtio-net device to write to, and to read from, memory that was never mapped
// for it. A packet type that lies about its address does it, through the ordinary queues; test_dma_fault.py
// is the other side. The address is the physical one of a page of ours: without an IOMMU in the way, that
// page would change.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/time.hpp"
#include "mempool/pool.hpp"
#include "pmd/bus/vfio/vfio_bus.hpp"
#include "pmd/virtio/pci_transport.hpp"
#include "pmd/virtio/port.hpp"

namespace {

using namespace spinring;
using namespace std::chrono_literals;

constexpr std::size_t kHugepage = 2UL << 20;
constexpr std::uint16_t kBurst = 32;

/// Says one line to the test, now.
void say(const std::string& line) {
  std::fputs((line + "\n").c_str(), stdout);
  std::fflush(stdout);
}

/// The library's packets, which can be made to name another address than their own.
struct CarelessPackets : pmd::SpinringPackets {
  static inline std::atomic<std::uint64_t> elsewhere{0};  ///< 0: the truth

  static Iova iova(const Packet& packet, const void* address, const DmaTable& table) noexcept {
    const std::uint64_t lie = elsewhere.load(std::memory_order_relaxed);
    return lie != 0 ? Iova{lie} : table.iova(address, packet.region);
  }
  static void place() = delete;  // or nobody would ask for an iova()
};
static_assert(!pmd::PlacedPackets<CarelessPackets>);
static_assert(pmd::PacketPool<CarelessPackets>);

using Port = pmd::BasicPort<CarelessPackets>;

/// Memory that no device may touch.
class Canary {
 public:
  explicit Canary(Mapping memory) : memory_(std::move(memory)) { std::ranges::fill(memory_.bytes(), kMark); }
  [[nodiscard]] bool intact() const {
    return std::ranges::all_of(memory_.bytes(), [](std::byte byte) { return byte == kMark; });
  }
  [[nodiscard]] std::byte* data() const { return memory_.data(); }

 private:
  static constexpr std::byte kMark{0xC5};
  Mapping memory_;
};

Mapping map_anonymous(void* where, std::size_t size, int more_flags) {
  void* const at = ::mmap(where, size, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | more_flags, -1, 0);
  if (at == MAP_FAILED) return {};
  return Mapping(at, size);
}

/// Physical address behind a virtual one; 0 if the kernel does not tell
/// (Documentation/admin-guide/mm/pagemap.rst).
std::uint64_t physical_address(const void* address) {
  const Fd pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  const std::uint64_t page = static_cast<std::uint64_t>(::getpagesize());
  const auto va = reinterpret_cast<std::uint64_t>(address);
  std::uint64_t entry = 0;
  if (!pagemap ||
      ::pread(pagemap.get(), &entry, sizeof(entry), static_cast<off_t>(va / page * sizeof(entry))) !=
          static_cast<ssize_t>(sizeof(entry))) {
    return 0;
  }
  constexpr std::uint64_t kFrameMask = (1ULL << 55) - 1;
  return (entry & kFrameMask) * page + va % page;
}

/// A page whose physical address is no IOVA of `memory`'s, so that the two cannot be mistaken for each other.
std::optional<Canary> unmapped_page(const mempool::Memory& memory, const DmaTable& table) {
  const auto mapped = [&](std::uint64_t address) {
    return std::ranges::any_of(memory.regions(), [&](const MemoryRegion& region) {
      const std::uint64_t start = to_u64(table.iova(region.va, region.id));
      return address + kHugepage > start && address < start + region.length;
    });
  };
  for (int tries = 0; tries < 16; ++tries) {
    Mapping page = map_anonymous(nullptr, kHugepage, MAP_HUGETLB);
    if (!page) return {};
    const std::uint64_t physical = physical_address(page.data());
    if (physical != 0 && !mapped(physical)) return Canary(std::move(page));
  }
  return {};
}

/// Pages right before and behind the memory that is mapped for the device, as far as nobody has them.
std::vector<Canary> neighbours(const mempool::Memory& memory) {
  std::vector<Canary> pages;
  const auto page = static_cast<std::size_t>(::getpagesize());
  for (const MemoryRegion& region : memory.regions()) {
    for (std::byte* where : {region.va - page, region.va + region.length}) {
      Mapping mapping = map_anonymous(where, page, MAP_FIXED_NOREPLACE);
      if (mapping) pages.emplace_back(std::move(mapping));
    }
  }
  return pages;
}

/// The device, and what it is driven with. Order of teardown: the port goes first, memory last.
struct Rig {
  std::unique_ptr<mempool::Memory> memory;
  std::unique_ptr<mempool::Pool> pool;
  std::unique_ptr<mempool::PoolCache> cache;
  std::unique_ptr<pmd::VfioBus> bus;
  const DmaTable* table = nullptr;
  std::unique_ptr<Port> port;
  std::vector<Canary> canaries;
  std::uint64_t forbidden = 0;  ///< physical address of the first canary

  [[nodiscard]] Result<void> start() {
    pmd::PortConfig<CarelessPackets> config;
    config.rx.push_back({256, cache.get()});
    config.tx.push_back({256, cache.get()});
    return port->start(config);
  }
  [[nodiscard]] bool canaries_intact() const { return std::ranges::all_of(canaries, &Canary::intact); }
};

Result<Rig> open_rig(const std::string& address) {
  Rig rig;
  auto memory = mempool::Memory::create({.bytes = 8 * kHugepage});
  if (!memory) return fail(std::move(memory));
  rig.memory = std::move(*memory);
  auto pool = mempool::Pool::create(*rig.memory, {.packets = 2048});
  if (!pool) return fail(std::move(pool));
  rig.pool = std::move(*pool);
  rig.cache = std::make_unique<mempool::PoolCache>(*rig.pool);
  auto bus = pmd::VfioBus::create(*rig.memory);
  if (!bus) return fail(std::move(bus));
  rig.bus = std::move(*bus);
  auto function = rig.bus->open(address);
  if (!function) return fail(std::move(function));
  rig.table = &(*function)->dma();
  auto transport = pmd::virtio::PciTransport::create(std::move(*function));
  if (!transport) return fail(std::move(transport));
  auto device = pmd::virtio::NetDevice::open(std::move(*transport), *rig.memory);
  if (!device) return fail(std::move(device));
  rig.port = std::make_unique<pmd::virtio::VirtioPort<CarelessPackets>>(std::move(*device), *rig.memory);

  auto page = unmapped_page(*rig.memory, *rig.table);
  if (!page)
    return fail(pmd::Errc::kBadState, "finding a page for the device to miss", address, errno,
                "Run it as root");
  rig.forbidden = physical_address(page->data());
  rig.canaries = neighbours(*rig.memory);
  say(fmt::format("canaries: {} pages beside the memory, and physical address {:#x}", rig.canaries.size(),
                  rig.forbidden));
  rig.canaries.push_back(std::move(*page));
  return rig;
}

/// Polls RX until `enough` frames came, the port reports a fault, or time is up. Frames are dropped, or sent
/// back.
std::size_t poll(Rig& rig, std::size_t enough, bool send_back, Deadline deadline) {
  std::size_t frames = 0;
  const auto rx = rig.port->rx(0);
  const auto tx = rig.port->tx(0);
  std::array<mempool::Packet*, kBurst> packets;
  while (frames < enough && !deadline.passed()) {
    const std::uint16_t count = rx.burst(packets);
    frames += count;
    std::uint16_t sent = 0;
    if (send_back) sent = tx.burst(std::span(packets).first(count));
    rig.cache->put(std::span(packets).subspan(sent, count - sent));
    if (count != 0) continue;
    if (!rig.port->check()) break;
    std::this_thread::sleep_for(1ms);  // other guests want the CPU
  }
  return frames;
}

/// Sends one frame of `fill`; false if the queue did not take it.
bool send_one(Rig& rig, std::byte fill) {
  mempool::Packet* packet = rig.cache->get();
  if (packet == nullptr) return false;
  packet->reset(512);
  std::ranges::fill(packet->bytes(), fill);
  if (rig.port->tx(0).burst({&packet, 1}) == 1) return true;
  rig.cache->put({&packet, 1});
  return false;
}

/// What the port says of itself, and whether memory is as it was; then the port is started anew, telling the
/// truth.
Result<void> conclude(Rig& rig, const char* stage, std::size_t frames) {
  const auto check = rig.port->check();
  const pmd::RxStats rx = rig.port->rx_stats(0);
  say(fmt::format("{}: counted {} frames received, {} truncated, {} bad completions", stage, frames,
                  rx.truncated, rx.bad_completions));
  say(fmt::format("{}: port: {}", stage, check ? "no fault" : check.error().message()));
  say(fmt::format("{}: canaries {}", stage, rig.canaries_intact() ? "intact" : "CHANGED"));
  rig.port->stop();
  CarelessPackets::elsewhere = 0;
  return rig.start();
}

/// Sends 100 frames back where they came from.
void reflect(Rig& rig, const char* stage) {
  say(fmt::format("{}: send me frames", stage));
  say(fmt::format("{}: {} frames sent back", stage, poll(rig, 100, true, Deadline(30s))));
}

Result<void> run(const std::string& address) {
  auto rig = open_rig(address);
  if (!rig) return fail(std::move(rig));

  CarelessPackets::elsewhere = rig->forbidden;
  if (auto started = rig->start(); !started) return started;
  say("write: send me a frame");
  if (auto again = conclude(*rig, "write", poll(*rig, SIZE_MAX, false, Deadline(2s))); !again) return again;
  reflect(*rig, "after write");

  CarelessPackets::elsewhere = rig->forbidden;
  say(fmt::format("read: {}", send_one(*rig, std::byte{0x5A}) ? "sent" : "the queue took nothing"));
  if (auto again = conclude(*rig, "read", poll(*rig, SIZE_MAX, false, Deadline(2s))); !again) return again;
  reflect(*rig, "after read");

  rig->port->stop();
  rig->cache->flush();
  say(fmt::format("end: {} of {} packets in the pool, canaries {}", rig->pool->available(),
                  rig->pool->capacity(), rig->canaries_intact() ? "intact" : "CHANGED"));
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    say("usage: dma_fault PCI-ADDRESS");
    return 2;
  }
  const auto done = run(argv[1]);
  if (!done) say("error: " + done.error().message());
  return done ? 0 : 1;
}
