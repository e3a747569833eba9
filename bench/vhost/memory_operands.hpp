#pragma once

#include <sys/types.h>
#include <sys/user.h>

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace spinring::bench::vhost {

/// What memory the instructions of a stopped thread are about to touch: what they load, store and prefetch,
/// as Zydis decodes them. Instructions are looked at once each: code does not change.
class MemoryOperands {
 public:
  explicit MemoryOperands(pid_t process) : process_(process) {}

  struct Range {
    std::uint64_t start;
    std::uint32_t bytes;
  };
  /// Of the instruction at registers.rip. Valid until the next call.
  [[nodiscard]] std::span<const Range> touched(const user_regs_struct& registers);
  /// Instructions that could not be decoded, or whose addresses are no sum of registers (gathers).
  [[nodiscard]] std::uint64_t unknown() const noexcept { return unknown_; }

 private:
  using Register = unsigned long long user_regs_struct::*;
  struct Operand {
    Register segment;  ///< nullptr, as the others: none
    Register base;
    Register index;
    std::int64_t scale;
    std::int64_t displacement;
    std::uint32_t bytes;
  };
  struct Instruction {
    std::vector<Operand> operands;
    bool known = true;
  };
  [[nodiscard]] Instruction decode(std::uint64_t address) const;

  pid_t process_;
  std::unordered_map<std::uint64_t, Instruction> seen_;
  std::vector<Range> ranges_;
  std::uint64_t unknown_ = 0;
};

}  // namespace spinring::bench::vhost
