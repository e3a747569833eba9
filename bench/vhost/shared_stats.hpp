#pragma once

#include <sys/mman.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <string>

#include "base/mapping.hpp"
#include "base/result.hpp"

namespace spinring::bench::vhost {

/// What another program may watch while the back end runs (--stats-file). One writer; totals only grow.
struct SharedStats {
  static constexpr std::uint64_t kMagic = 0x7370696e76686f73;  // "spinvhos"

  std::atomic<std::uint64_t> magic;
  alignas(64) std::atomic<std::uint64_t> received;  ///< frames given to the driver
  std::atomic<std::uint64_t> transmitted;           ///< frames taken from it
  /// Where the first pair's rings lie, by the front end's own addresses: descriptors, available and used ring
  /// (packed: event suppression) of the receive queue, and of the transmit queue. There once traffic flows.
  struct Area {
    std::atomic<std::uint64_t> start;
    std::atomic<std::uint64_t> bytes;
  };
  alignas(64) std::array<Area, 6> rings;
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

/// The file, mapped. With `create` made anew (the back end), else opened for reading (who watches).
class StatsFile {
 public:
  static Result<StatsFile> open(const std::string& path, bool create);
  [[nodiscard]] SharedStats& stats() const noexcept {
    return *reinterpret_cast<SharedStats*>(mapping_.data());
  }

 private:
  explicit StatsFile(Mapping mapping) : mapping_(std::move(mapping)) {}

  Mapping mapping_;
};

}  // namespace spinring::bench::vhost
