// Sends every frame back to where it came from: opens a port, swaps the addresses, returns the packet. One
// queue pair, polled by the main thread; Ctrl-C stops it. A program that embeds spinring, in the fewest
// lines:
//   g++ -std=c++20 -O2 reflector.cpp $(pkg-config --cflags --libs spinring)

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "mempool/memory.hpp"
#include "mempool/pool.hpp"
#include "pmd/bus/qtest/qtest_vdev.hpp"
#include "pmd/bus/vfio/vfio_bus.hpp"
#include "pmd/open.hpp"

namespace {

namespace mempool = spinring::mempool;
namespace pmd = spinring::pmd;
using spinring::fail;
using spinring::Result;

volatile std::sig_atomic_t stop_asked = 0;

// A NIC of this machine by its PCI address, or a device model of QEMU. `bus` outlives what it opened.
Result<std::unique_ptr<pmd::PciFunction>> open_device(const std::string& device, mempool::Memory& memory,
                                                      std::unique_ptr<pmd::VfioBus>& bus) {
  if (pmd::is_qtest_vdev(device)) {
    auto functions = pmd::open_qtest_vdevs(memory, {device});
    if (!functions) return fail(std::move(functions));
    return std::move(functions->front());
  }
  auto created = pmd::VfioBus::create(memory);
  if (!created) return fail(std::move(created));
  bus = std::move(*created);
  return bus->open(device);
}

void forward(const pmd::AnyPort& port, mempool::PoolCache& cache) {
  const auto rx = port.rx(0);
  const auto tx = port.tx(0);
  std::array<mempool::Packet*, 32> burst{};
  while (stop_asked == 0) {
    const auto received = std::span(burst).first(rx.burst(burst));
    for (mempool::Packet* packet : received) {
      std::swap_ranges(packet->data(), packet->data() + 6, packet->data() + 6);
    }
    const std::size_t sent = tx.burst(received);
    for (mempool::Packet* packet : received.subspan(sent)) cache.put_chain(packet);  // the ring was full
  }
}

Result<void> reflect(const std::string& device, bool hugepages) {
  // In the order of who outlives whom: the port goes first, the memory last.
  auto memory = mempool::Memory::create({.bytes = 16UL << 20, .hugepages = hugepages});
  if (!memory) return fail(std::move(memory));
  auto pool = mempool::Pool::create(**memory, {.packets = 2048});
  if (!pool) return fail(std::move(pool));
  mempool::PoolCache cache(**pool);
  std::unique_ptr<pmd::VfioBus> bus;
  auto function = open_device(device, **memory, bus);
  if (!function) return fail(std::move(function));
  auto port = pmd::open_port(std::move(*function), **memory);
  if (!port) return fail(std::move(port));
  if (auto started = (*port)->start({.rx = {{.cache = &cache}}, .tx = {{.cache = &cache}}}); !started)
    return started;

  std::printf("reflecting on %s (%s), Ctrl-C stops\n", (*port)->info().name.c_str(),
              (*port)->rx_path().c_str());
  std::fflush(stdout);
  forward(**port, cache);
  std::printf("%llu packets came, %llu went back\n",
              static_cast<unsigned long long>((*port)->rx_stats(0).packets),
              static_cast<unsigned long long>((*port)->tx_stats(0).packets));
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  const bool no_huge = argc == 3 && std::string(argv[1]) == "--no-huge";
  if ((argc != 2 && !no_huge) || std::string(argv[1]) == "--help") {
    std::printf("usage: reflector [--no-huge] DEVICE   (0000:01:00.0, or qtest0,netdev=stream:SOCKET)\n");
    return argc == 2 ? 0 : 2;
  }
  for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, [](int) { stop_asked = 1; });
  const auto result = reflect(argv[argc - 1], !no_huge);
  if (!result) std::fprintf(stderr, "reflector: %s\n", result.error().message().c_str());
  return result ? 0 : 1;
}
