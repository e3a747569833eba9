#pragma once

#include <cstdint>

#include "base/dma.hpp"
#include "base/endian.hpp"
#include "base/shared.hpp"
#include "pmd/e1000/models.hpp"

/// Descriptors: 16 bytes each, little-endian, and who writes what of them.
namespace spinring::pmd::e1000 {

inline constexpr std::uint32_t kShortestFrame = 14;  ///< an Ethernet header: what is shorter is none

/// What a write-back says, whatever the format. Not yet checked.
struct RxWriteBack {
  // Status and errors as the extended format has them ([82574] 7.1.5.2, [82576] 7.1.5.2); the legacy format's
  // ([8254x] 3.2.3.1 and 3.2.3.2) are the low and the high byte of the same.
  static constexpr std::uint32_t kDd = 1U << 0;
  static constexpr std::uint32_t kEop = 1U << 1;
  static constexpr std::uint32_t kIxsm = 1U << 2;
  static constexpr std::uint32_t kVp = 1U << 3;
  static constexpr std::uint32_t kL4cs = 1U << 5;  ///< TCPCS: the L4 checksum was looked at
  static constexpr std::uint32_t kTs = 1U << 16;   ///< [82576] 7.1.5.2: RXSTMPL and RXSTMPH have its time
  static constexpr std::uint32_t kL4e = 1U << 29;  ///< TCPE: and it is wrong
  static constexpr std::uint32_t kIpe = 1U << 30;  ///< the IPv4 header checksum is wrong
  /// CE, SE, SEQ, CXE, RXE: a frame that did not come whole over the wire. Only with RCTL.SBP may the device
  /// pass it on, and that is never set.
  static constexpr std::uint32_t kFrameErrors = 1U << 24 | 1U << 25 | 1U << 26 | 1U << 28 | 1U << 31;

  std::uint32_t status = 0;
  std::uint16_t length = 0;
  std::uint16_t vlan = 0;
  std::uint32_t hash = 0;
  bool hashed = false;
};

/// [8254x] 3.2.3 Receive Descriptor Format: the device fills in the second half and leaves the address alone.
struct LegacyRxDescriptor {
  Le64 address;
  Le16 length;
  Le16 checksum;
  Le32 status_errors_special;  ///< status 7:0, errors 15:8, special 31:16

  /// The device's from the next publication on.
  void offer(Iova buffer) noexcept {
    address = to_u64(buffer);
    store_relaxed(length, std::uint16_t{0});
    store_relaxed(status_errors_special, std::uint32_t{0});
  }
  [[nodiscard]] bool done() const noexcept {
    return (load_acquire(status_errors_special) & RxWriteBack::kDd) != 0;
  }
  /// Read once: the device may still write.
  [[nodiscard]] RxWriteBack read() const noexcept {
    const std::uint32_t word = load_relaxed(status_errors_special);
    return {.status = (word & 0xFFU) | (word & 0xFF00U) << 16,
            .length = load_relaxed(length),
            .vlan = static_cast<std::uint16_t>(word >> 16)};
  }
};

/// [82574] 7.1.5 extended, [82576] 7.1.5 advanced: the write-back lies over the address.
struct ExtendedRxDescriptor {
  Le32 low;   ///< offered: the address, low half; written back: RSS type 3:0
  Le32 high;  ///< offered: the address, high half; written back: RSS hash
  Le32 status_error;
  Le32 length_vlan;  ///< length 15:0, VLAN tag 31:16

  void offer(Iova buffer) noexcept {
    store_relaxed(low, static_cast<std::uint32_t>(to_u64(buffer)));
    store_relaxed(high, static_cast<std::uint32_t>(to_u64(buffer) >> 32));
    store_relaxed(length_vlan, std::uint32_t{0});
    store_relaxed(status_error, std::uint32_t{0});
  }
  [[nodiscard]] bool done() const noexcept { return (load_acquire(status_error) & RxWriteBack::kDd) != 0; }
  [[nodiscard]] RxWriteBack read() const noexcept {
    const std::uint32_t word = load_relaxed(length_vlan);
    return {.status = load_relaxed(status_error),
            .length = static_cast<std::uint16_t>(word),
            .vlan = static_cast<std::uint16_t>(word >> 16),
            .hash = load_relaxed(high),
            .hashed = (load_relaxed(low) & 0xFU) != 0};
  }
};

/// A transmit descriptor of any format: data or context.
struct TxDescriptor {
  static constexpr std::uint32_t kEop = 1U << 24;
  static constexpr std::uint32_t kIfcs = 1U << 25;
  static constexpr std::uint32_t kRs = 1U << 27;  ///< write DD when sent
  static constexpr std::uint32_t kDext = 1U << 29;
  static constexpr std::uint32_t kVle = 1U << 30;
  static constexpr std::uint32_t kDd = 1U << 0;
  static constexpr std::uint32_t kIxsm = 1U << 8;  ///< POPTS: fill in the IPv4 header checksum
  static constexpr std::uint32_t kTxsm = 1U << 9;  ///< POPTS: and the L4 checksum

  Le64 address;
  Le32 command;  ///< length and DCMD
  Le32 status;   ///< STA, POPTS and what the format has beside them

  [[nodiscard]] bool done() const noexcept { return (load_acquire(status) & kDd) != 0; }
};

/// How a packet is sent: what its descriptors have in common, and the context that must go before them.
struct TxJob {
  std::uint32_t command = 0;  ///< of each descriptor, without length, EOP and RS
  std::uint32_t status = 0;   ///< of each descriptor
  bool has_context = false;
  std::uint64_t context_address = 0;
  std::uint32_t context_command = 0;
  std::uint32_t context_status = 0;
  [[nodiscard]] bool same_context(const TxJob& other) const noexcept {
    return context_address == other.context_address && context_command == other.context_command &&
           context_status == other.context_status;
  }
};

static_assert(sizeof(LegacyRxDescriptor) == 16 && sizeof(ExtendedRxDescriptor) == 16 &&
              sizeof(TxDescriptor) == 16);

}  // namespace spinring::pmd::e1000
