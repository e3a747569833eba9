#pragma once

#include <sys/types.h>
#include <sys/user.h>

#include <cstdint>
#include <map>
#include <string>
#include <unordered_set>
#include <vector>

#include "base/result.hpp"
#include "bench/vhost/memory_operands.hpp"
#include "bench/vhost/shared_stats.hpp"

namespace spinring::bench::vhost {

/// How many cache lines a stopped thread touches in each turn of its loop, each once, by what lies there: the
/// parts of the first pair's rings, memory that it shares with the back end besides (packets, and what a
/// driver keeps among them), its stack, other memory of its own.
class TouchedLines {
 public:
  /// Traffic flows: the rings are where they stay.
  static Result<TouchedLines> of_process(pid_t process, const SharedStats& stats);

  /// The instruction that runs next.
  void see(const user_regs_struct& registers);
  /// A turn ends that was seen whole.
  void end_turn();

  /// Of all turns. "elsewhere": in no mapping, so the instructions were not understood.
  [[nodiscard]] const std::map<std::string, std::uint64_t>& lines() const noexcept { return lines_; }
  /// MemoryOperands::unknown().
  [[nodiscard]] std::uint64_t unknown() const noexcept { return operands_.unknown(); }

 private:
  struct Area {
    std::uint64_t start;
    std::uint64_t end;
    std::string name;
  };
  explicit TouchedLines(pid_t process) : operands_(process) {}
  [[nodiscard]] std::string name_of(std::uint64_t line) const;

  MemoryOperands operands_;
  std::vector<Area> areas_;  ///< the first that an address is in is its own
  std::uint64_t stack_ = 0;  ///< the stack pointer of the turn
  std::unordered_set<std::uint64_t> turn_;
  std::map<std::string, std::uint64_t> lines_;
};

}  // namespace spinring::bench::vhost
