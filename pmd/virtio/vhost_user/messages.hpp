#pragma once

#include <cstddef>
#include <cstdint>

/// The vhost-user protocol's messages, front end's side: what QEMU's interoperability document "Vhost-user
/// Protocol" calls front-end messages. Host byte order: both ends are on one machine.
namespace spinring::pmd::virtio::vhost_user {

enum class Request : std::uint32_t {
  kGetFeatures = 1,
  kSetFeatures = 2,
  kSetOwner = 3,
  kSetMemTable = 5,
  kSetVringNum = 8,
  kSetVringAddr = 9,
  kSetVringBase = 10,
  kGetVringBase = 11,
  kSetVringKick = 12,
  kSetVringCall = 13,
  kGetProtocolFeatures = 15,
  kSetProtocolFeatures = 16,
  kGetQueueNum = 17,
  kSetVringEnable = 18,
};

/// Message header: request, flags, payload size; then the payload.
struct Header {
  std::uint32_t request;
  std::uint32_t flags;
  std::uint32_t size;
};
static_assert(sizeof(Header) == 12);
inline constexpr std::uint32_t kVersion = 1;  ///< flags, bits 0 and 1
inline constexpr std::uint32_t kFlagReply = 1U << 2;
inline constexpr std::uint32_t kFlagNeedReply = 1U << 3;

/// VHOST_USER_F_PROTOCOL_FEATURES, a bit among the virtio features: the protocol has features of its own, and
/// rings start disabled.
inline constexpr std::uint64_t kProtocolFeaturesBit = 1ULL << 30;
inline constexpr std::uint64_t kProtocolMultiQueue = 1ULL << 0;
inline constexpr std::uint64_t kProtocolReplyAck = 1ULL << 3;

/// "A vring state description".
struct VringState {
  std::uint32_t index;
  std::uint32_t value;
};
/// "A vring address description": addresses in the front end's own address space.
struct VringAddress {
  std::uint32_t index;
  std::uint32_t flags;
  std::uint64_t descriptor;
  std::uint64_t used;
  std::uint64_t available;
  std::uint64_t log;
};
static_assert(sizeof(VringState) == 8 && sizeof(VringAddress) == 40);

/// "Memory region description".
struct MemoryRegionMessage {
  std::uint64_t guest_address;
  std::uint64_t size;
  std::uint64_t user_address;
  std::uint64_t mmap_offset;
};
/// Most regions in one table, and most descriptors in one message.
inline constexpr std::size_t kMaxRegionsInTable = 8;
struct MemoryTable {
  std::uint32_t count;
  std::uint32_t padding;
  MemoryRegionMessage regions[kMaxRegionsInTable];
};
static_assert(sizeof(MemoryRegionMessage) == 32 && offsetof(MemoryTable, regions) == 8);

}  // namespace spinring::pmd::virtio::vhost_user
