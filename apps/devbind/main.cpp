#include <CLI/CLI.hpp>
#include <iostream>
#include <vector>

#include "apps/devbind/commands.hpp"

int main(int argc, char** argv) {
  CLI::App app{"Binds network devices to vfio-pci and back, and says what is missing.", "spinring-devbind"};
  spinring::devbind::Request request;
  app.add_flag("-s,--status", request.status,
               "List the network devices: ids, driver, IOMMU group, NUMA node");
  app.add_option("-b,--bind", request.bind, "Bind these PCI addresses to vfio-pci");
  CLI::Option* restore =
      app.add_option("-u,--unbind,--restore", request.restore, "Give these PCI addresses back to the kernel");
  app.add_option("--driver", request.driver, "With --restore: to this driver (default: the kernel's choice)")
      ->needs(restore);
  CLI::Option* preflight = app.add_option("-p,--preflight", request.preflight_devices,
                                          "Check IOMMU, modules, limits, hugepages, and these devices")
                               ->expected(0, -1);
  app.add_option("--memory", request.memory_mib, "With --preflight: MiB that are going to be mapped")
      ->needs(preflight);
  app.add_option("--page-size", request.page_kib, "With --preflight: KiB of the hugepages wanted, 0 for none")
      ->needs(preflight);
  CLI11_PARSE(app, argc, argv);
  request.preflight = preflight->count() != 0;
  std::erase(request.preflight_devices, "");  // CLI11's word for: the option without a value
  if (request.bind.empty() && request.restore.empty() && !request.preflight) request.status = true;
  return spinring::devbind::run(request, spinring::vfio_glue::real_sys(), std::cout, std::cerr);
}
