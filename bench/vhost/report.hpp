#pragma once

#include <string>

#include "bench/vhost/server.hpp"

namespace spinring::bench::vhost {

/// One line of JSON: what was negotiated, the rates, and what the driver did wrong.
std::string report_json(const Server& server, const ServerOptions& options, Ending ending);

/// Whether the driver broke no rule but the `tolerated` (a bit for each Violation) and, in a sequence run,
/// nothing came back changed, twice or late.
bool is_clean(const Server& server, std::uint32_t tolerated);

}  // namespace spinring::bench::vhost
