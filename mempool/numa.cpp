#include "mempool/numa.hpp"

#include <fmt/format.h>
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <fstream>
#include <string>

#include "mempool/errors.hpp"

namespace spinring::mempool {
namespace {

constexpr int kMaxNodes = 1024;
constexpr int kBitsPerWord = sizeof(unsigned long) * CHAR_BIT;

/// "0-1", as the kernel prints it; empty without NUMA in the kernel.
std::string nodes_with_memory() {
  std::ifstream file("/sys/devices/system/node/has_memory");
  std::string text;
  std::getline(file, text);
  return text;
}

}  // namespace

Result<void> bind_to_node(void* address, std::size_t bytes, int node) {
  const std::string subject = fmt::format("NUMA node {}", node);
  if (node < 0 || node >= kMaxNodes ||
      ::access(fmt::format("/sys/devices/system/node/node{}", node).c_str(), F_OK) != 0) {
    const std::string nodes = nodes_with_memory();
    return fail(Errc::kBadArgument, "binding memory", subject, 0,
                nodes.empty()
                    ? "This kernel shows no NUMA nodes: ask for none (-1)"
                    : fmt::format("Nodes with memory here: {} (numactl --hardware shows them)", nodes));
  }
  std::array<unsigned long, kMaxNodes / kBitsPerWord> mask{};
  mask[static_cast<std::size_t>(node / kBitsPerWord)] = 1UL << (node % kBitsPerWord);
  // The kernel takes the mask's length less one (it ignores the last bit), so one more than there are.
  if (::syscall(SYS_mbind, address, bytes, MPOL_BIND, mask.data(), static_cast<unsigned long>(kMaxNodes) + 1,
                MPOL_MF_STRICT) != 0) {
    return fail(Errc::kKernel, "mbind", subject, errno,
                "Ask for no node (-1), or for one that `numactl --hardware` shows with memory");
  }
  return {};
}

int node_of(void* address) noexcept {
  int node = -1;
  if (::syscall(SYS_get_mempolicy, &node, nullptr, 0UL, address, MPOL_F_NODE | MPOL_F_ADDR) != 0) return -1;
  return node;
}

}  // namespace spinring::mempool
