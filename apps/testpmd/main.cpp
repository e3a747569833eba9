#include <spdlog/spdlog.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "apps/testpmd/control_loop.hpp"
#include "apps/testpmd/logging.hpp"
#include "apps/testpmd/options.hpp"
#include "apps/testpmd/output.hpp"
#include "apps/testpmd/ports.hpp"
#include "apps/testpmd/session.hpp"
#include "apps/testpmd/sizing.hpp"
#include "apps/testpmd/stop_signals.hpp"
#include "lcore/errors.hpp"

namespace spinring::testpmd {
namespace {

// With --json - standard output is one JSON text, and what is for people goes to standard error.
int g_text_fd = STDOUT_FILENO;

void print(std::string_view text) { (void)write_all(g_text_fd, text); }

int failed(const Error& error) {
  spdlog::error("{}", error.message());
  return 1;
}

/// An lcore hangs in a poll and may still touch anything: only the kernel can take it all back now.
int failed_running(const Error& error) {
  spdlog::critical("{}", error.message());
  if (error.code == lcore::Errc::kTimeout) {
    spdlog::default_logger()->flush();
    ::_exit(1);
  }
  return 1;
}

Result<std::unique_ptr<mempool::Memory>> take_memory(const Options& options, unsigned lcores) {
  const auto ports = static_cast<unsigned>(options.machine.pci.size() + options.machine.vdevs.size());
  const auto packets = pool_packets(options.forward, ports, lcores);
  if (!packets) return tl::unexpected(packets.error());
  mempool::MemoryConfig config;
  config.bytes = options.machine.memory_mb != 0 ? options.machine.memory_mb << 20
                                                : memory_bytes(options.forward, ports, *packets);
  config.page_size = options.machine.huge_page_size;
  config.hugepages = options.machine.hugepages;
  if (!config.hugepages) {
    spdlog::warn("--no-huge: packet memory is on normal pages; expect more TLB misses and IOMMU entries");
  }
  return mempool::Memory::create(config);
}

Result<std::vector<lcore::LcoreSpec>> choose_lcores(const Options& options, const lcore::CpuSet& allowed) {
  std::vector<lcore::LcoreSpec> lcores = options.machine.lcores;
  if (lcores.empty()) {
    for (const int cpu : allowed.cpus()) lcores.push_back({static_cast<unsigned>(cpu), cpu});
  }
  for (const lcore::LcoreSpec& spec : lcores) {
    if (auto ok = lcore::check_cpu(spec.cpu, allowed); !ok) return fail(std::move(ok));
  }
  return lcores;
}

/// Prints and writes the last statistics; the exit code.
int report_end(Session& session, const ForwardOptions& options) {
  const Report report = session.report();
  print(to_text(report));
  if (options.json_file.empty()) return 0;
  if (const auto error = write_file(options.json_file, to_json(report))) {
    spdlog::error("--json: {}", *error);
    return 1;
  }
  return 0;
}

int forward(Session& session, const ForwardOptions& options, const StopSignals& signals) {
  if (!options.interactive || options.auto_start) {
    if (auto ok = session.start(options.tx_first); !ok) return failed_running(ok.error());
  }
  {
    const std::unique_ptr<Prompt> prompt = options.interactive ? Prompt::open() : nullptr;
    ControlLoop loop(session, signals, prompt.get(), print);
    if (auto ok = loop.run(); !ok) return failed_running(ok.error());
  }
  if (auto ok = session.finish(); !ok) return failed_running(ok.error());
  return report_end(session, options);
}

int run(const Options& options) {
  // Asked before anything is pinned.
  const auto allowed = lcore::allowed_cpus();
  if (!allowed) return failed(allowed.error());
  const auto lcores = choose_lcores(options, *allowed);
  if (!lcores) return failed(lcores.error());
  const auto forwarding = forwarding_lcores(*lcores, options.forward.forwarding_cores);

  auto signals = StopSignals::create();
  if (!signals) return failed(signals.error());
  // Teardown runs upwards: session (lcores, ports, pool), then the buses, then the memory.
  auto memory = take_memory(options, static_cast<unsigned>(forwarding.size()));
  if (!memory) return failed(memory.error());
  auto open = open_ports(options.machine, **memory);
  if (!open) return failed(open.error());
  // Only now: what the buses start (QEMU) is not to share the main lcore's CPU.
  if (auto ok = lcore::pin_this_thread(lcores->front().cpu, *allowed); !ok) return failed(ok.error());
  auto session = Session::create(options.forward, *lcores, *allowed, **memory, std::move(open->ports));
  if (!session) return failed(session.error());
  return forward(**session, options.forward, *signals);
}

}  // namespace
}  // namespace spinring::testpmd

int main(int argc, char** argv) {
  using namespace spinring::testpmd;
  const auto options = parse_options({argv + 1, argv + argc});
  if (!options) {
    (void)write_all(options.error().exit_code == 0 ? STDOUT_FILENO : STDERR_FILENO, options.error().text);
    return options.error().exit_code;
  }
  init_logging(options->machine.log_level);
  if (options->forward.json_file == "-") g_text_fd = STDERR_FILENO;
  return run(*options);
}
