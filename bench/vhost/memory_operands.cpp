#include "bench/vhost/memory_operands.hpp"

#include <Zydis/Zydis.h>
#include <sys/uio.h>

#include <array>
#include <optional>

namespace spinring::bench::vhost {
namespace {

constexpr unsigned kBitsOfByte = 8;

/// The register that an address is made of; nullptr inside: none. Nothing: it is none that ptrace(2) tells.
std::optional<unsigned long long user_regs_struct::*> register_of(ZydisRegister which) {
  using R = user_regs_struct;
  static const std::unordered_map<int, unsigned long long R::*> kKnown = {
      {ZYDIS_REGISTER_NONE, nullptr}, {ZYDIS_REGISTER_RAX, &R::rax}, {ZYDIS_REGISTER_RBX, &R::rbx},
      {ZYDIS_REGISTER_RCX, &R::rcx},  {ZYDIS_REGISTER_RDX, &R::rdx}, {ZYDIS_REGISTER_RSI, &R::rsi},
      {ZYDIS_REGISTER_RDI, &R::rdi},  {ZYDIS_REGISTER_RBP, &R::rbp}, {ZYDIS_REGISTER_RSP, &R::rsp},
      {ZYDIS_REGISTER_R8, &R::r8},    {ZYDIS_REGISTER_R9, &R::r9},   {ZYDIS_REGISTER_R10, &R::r10},
      {ZYDIS_REGISTER_R11, &R::r11},  {ZYDIS_REGISTER_R12, &R::r12}, {ZYDIS_REGISTER_R13, &R::r13},
      {ZYDIS_REGISTER_R14, &R::r14},  {ZYDIS_REGISTER_R15, &R::r15}, {ZYDIS_REGISTER_RIP, &R::rip}};
  const auto found = kKnown.find(which);
  if (found == kKnown.end()) return std::nullopt;
  return found->second;
}

}  // namespace

MemoryOperands::Instruction MemoryOperands::decode(std::uint64_t address) const {
  std::array<std::uint8_t, ZYDIS_MAX_INSTRUCTION_LENGTH> code{};
  iovec to{code.data(), code.size()};
  iovec from{reinterpret_cast<void*>(address), code.size()};
  const ssize_t read = ::process_vm_readv(process_, &to, 1, &from, 1, 0);
  ZydisDecoder decoder;
  ZydisDecodedInstruction instruction;
  std::array<ZydisDecodedOperand, ZYDIS_MAX_OPERAND_COUNT> operands{};
  if (read <= 0 ||
      !ZYAN_SUCCESS(ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64)) ||
      !ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, code.data(), static_cast<ZyanUSize>(read), &instruction,
                                           operands.data()))) {
    return {{}, false};
  }
  Instruction out;
  if (instruction.mnemonic == ZYDIS_MNEMONIC_NOP) return out;  // names memory, to be long
  for (const ZydisDecodedOperand& operand : std::span(operands).first(instruction.operand_count)) {
    // An LEA's is an address alone.
    if (operand.type != ZYDIS_OPERAND_TYPE_MEMORY || operand.mem.type == ZYDIS_MEMOP_TYPE_AGEN) continue;
    const auto base = register_of(operand.mem.base);
    const auto index = register_of(operand.mem.index);
    if (!base || !index) return {{}, false};
    const bool relative = operand.mem.base == ZYDIS_REGISTER_RIP;  // to the next instruction
    out.operands.push_back({operand.mem.segment == ZYDIS_REGISTER_FS ? &user_regs_struct::fs_base : nullptr,
                            *base, *index, operand.mem.scale,
                            operand.mem.disp.value + (relative ? instruction.length : 0),
                            operand.size / kBitsOfByte});
  }
  return out;
}

std::span<const MemoryOperands::Range> MemoryOperands::touched(const user_regs_struct& registers) {
  const auto [at, fresh] = seen_.try_emplace(registers.rip);
  if (fresh) at->second = decode(registers.rip);
  if (!at->second.known) ++unknown_;
  ranges_.clear();
  const auto value = [&registers](Register which) -> std::uint64_t {
    return which == nullptr ? 0 : registers.*which;
  };
  for (const Operand& operand : at->second.operands) {
    ranges_.push_back({value(operand.segment) + value(operand.base) +
                           value(operand.index) * static_cast<std::uint64_t>(operand.scale) +
                           static_cast<std::uint64_t>(operand.displacement),
                       operand.bytes});
  }
  return ranges_;
}

}  // namespace spinring::bench::vhost
