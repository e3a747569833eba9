#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "vfio_glue/sys.hpp"

namespace spinring::devbind {

/// What the command line asks for; every list is of PCI addresses as the user wrote them.
struct Request {
  bool status = false;
  bool preflight = false;
  std::vector<std::string> bind;
  std::vector<std::string> restore;
  std::vector<std::string> preflight_devices;
  std::string driver;            ///< for restore; empty: the kernel's choice
  std::uint64_t memory_mib = 0;  ///< for preflight
  std::uint64_t page_kib = 2048;
};

/// Does all of it in the order restore, bind, preflight, status. Results go to `out`, refusals to `err`, and
/// one refusal does not keep the others from being tried. Returns the process's exit code: 0 if nothing was
/// refused.
int run(const Request& request, vfio_glue::Sys& sys, std::ostream& out, std::ostream& err);

}  // namespace spinring::devbind
