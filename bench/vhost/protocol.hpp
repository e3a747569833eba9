#pragma once
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <vector>

#include "base/fd.hpp"
#include "tests/sim/uapi_virtio.hpp"

/// The wire format of vhost-user, from QEMU's docs/interop/vhost-user.rst. Host byte order, as the protocol
/// says.
namespace spinring::bench::vhost {

static_assert(std::endian::native == std::endian::little, "rings are little-endian, and read as they lie");

enum class Request : std::uint32_t {
  kGetFeatures = 1,
  kSetFeatures = 2,
  kSetOwner = 3,
  kResetOwner = 4,
  kSetMemTable = 5,
  kSetVringNum = 8,
  kSetVringAddr = 9,
  kSetVringBase = 10,
  kGetVringBase = 11,
  kSetVringKick = 12,
  kSetVringCall = 13,
  kSetVringErr = 14,
  kGetProtocolFeatures = 15,
  kSetProtocolFeatures = 16,
  kGetQueueNum = 17,
  kSetVringEnable = 18,
  kResetDevice = 34,
  kSetStatus = 39,
  kGetStatus = 40,
};

// VHOST_USER_F_PROTOCOL_FEATURES among the virtio features, and the protocol's own bits.
inline constexpr unsigned kFeatureProtocol = 30;
inline constexpr unsigned kProtocolMq = 0;
inline constexpr unsigned kProtocolReplyAck = 3;
inline constexpr unsigned kProtocolResetDevice = 13;
inline constexpr unsigned kProtocolStatus = 16;

constexpr std::uint64_t bit(unsigned number) noexcept { return std::uint64_t{1} << number; }

// Of SET_VRING_KICK, CALL and ERR: the queue's number, and "no descriptor comes with this message".
inline constexpr std::uint64_t kVringIndexMask = 0xff;
inline constexpr std::uint64_t kVringNoFd = 0x100;

struct MessageHeader {
  std::uint32_t request;
  std::uint32_t flags;
  std::uint32_t size;
};
static_assert(sizeof(MessageHeader) == 12);

inline constexpr std::uint32_t kFlagVersionMask = 0x3;
inline constexpr std::uint32_t kFlagVersion1 = 0x1;
inline constexpr std::uint32_t kFlagReply = 0x4;
inline constexpr std::uint32_t kFlagNeedReply = 0x8;

struct VringState {
  std::uint32_t index;
  std::uint32_t number;
};

struct VringAddress {
  std::uint32_t index;
  std::uint32_t flags;
  std::uint64_t descriptors;  ///< front end's virtual addresses
  std::uint64_t used;
  std::uint64_t available;
  std::uint64_t log;
};
static_assert(sizeof(VringAddress) == 40);

struct MemoryRegion {
  std::uint64_t guest_address;
  std::uint64_t size;
  std::uint64_t user_address;
  std::uint64_t map_offset;
};

inline constexpr std::size_t kMostRegions = 8;
inline constexpr std::size_t kMostPayload = 512;

struct MemoryTableHeader {
  std::uint32_t regions;
  std::uint32_t padding;
};

/// One message, with the descriptors that came beside it.
struct Message {
  Request request{};
  std::uint32_t flags = kFlagVersion1;
  std::uint32_t size = 0;
  std::array<std::byte, kMostPayload> payload{};
  std::vector<Fd> fds;

  /// The payload from `offset` as a T; nothing if the message is shorter.
  template <class T>
  [[nodiscard]] std::optional<T> as(std::size_t offset = 0) const {
    if (offset + sizeof(T) > size) return std::nullopt;
    T value;
    std::memcpy(&value, payload.data() + offset, sizeof(T));
    return value;
  }

  template <class T>
  void set(const T& value) {
    static_assert(sizeof(T) <= kMostPayload);
    std::memcpy(payload.data(), &value, sizeof(T));
    size = sizeof(T);
  }
};

// linux/virtio_config.h of older kernels lacks it (specification 1.1, section 6).
inline constexpr unsigned kFeatureInOrder = 35;

}  // namespace spinring::bench::vhost
