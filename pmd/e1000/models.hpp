#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "pmd/e1000/statistics.hpp"
#include "pmd/offload.hpp"

/// What differs between the devices of the family, as data: the driver asks a trait, never a device id.
namespace spinring::pmd::e1000 {

inline constexpr std::uint16_t kStandardMtu = 1500;  ///< where none is asked for

/// How receive descriptors are written back.
enum class RxFormat : std::uint8_t {
  kLegacy,    ///< [8254x] 3.2.3
  kExtended,  ///< [82574] 7.1.5 extended and [82576] 7.1.5 advanced: the same where this driver looks
};

/// How transmit descriptors and their contexts are written.
enum class TxFormat : std::uint8_t {
  kLegacy,    ///< [8254x] 3.3, [82574] 7.2: legacy, and TCP/IP context and data
  kAdvanced,  ///< [82576] 7.2.2
};

/// Where the fields of EERD lie.
struct NvmLayout {
  std::uint32_t done;  ///< mask
  std::uint8_t address_shift;
};

/// How a cause that is no queue's finds its MSI-X vector.
enum class MsixRoute : std::uint8_t {
  kNone,     ///< no MSI-X
  k82574,    ///< [82574] 10.2.4.9 IVAR
  k82576,    ///< [82576] 8.8.14 IVAR_MISC
  k82576Vf,  ///< [82576] 8.14: VTIVAR_MISC, for the mailbox alone
};

/// How RSS is told to the device.
struct RssLayout {
  /// A kind of hash and its bits in MRQC's field enable.
  struct Type {
    std::uint32_t type;
    std::uint32_t fields;
  };
  std::uint16_t entries = 0;     ///< of the redirection table; 0: no RSS
  std::uint8_t enable = 0;       ///< Mrqc::kEnable
  std::uint8_t queue_shift = 0;  ///< where an entry of RETA has the queue
  std::array<Type, 6> types{};
};

/// Where it says how many KiB its receive buffer has.
struct RxMemory {
  std::uint64_t offset = 0;  ///< of the register; 0: it does not say
  std::uint32_t mask = 0;
  std::uint32_t kib = 0;  ///< if it does not say; 0: no flow control
};

/// How the PHY is shared with the firmware.
enum class PhyLock : std::uint8_t {
  kNone,
  kExtcnf,    ///< [82574] 10.2.2.9: EXTCNF_CTRL's ownership bit
  kSwFwSync,  ///< [82576] 4.7: SW_FW_SYNC under SWSM
};

/// A generation of devices with one register model.
struct Family {
  std::string_view name;
  std::uint32_t register_bytes;  ///< of BAR 0
  RxFormat rx;
  TxFormat tx;
  std::uint32_t rx_base;       ///< register block of RX queue 0
  std::uint32_t tx_base;       ///< of TX queue 0
  std::uint32_t queue_stride;  ///< bytes to the next queue's
  std::uint16_t queues;        ///< in each direction; without RSS only the first one receives
  bool queue_enable;           ///< queues have an ENABLE bit, SRRCTL and RLPML ([82576])
  bool express;                ///< PCI Express: master disable, DRV_LOAD
  bool virtual_function;       ///< no MAC, PHY, NVM or filters of its own: the physical function has them
  bool extended_rx;            ///< RFCTL.EXSTEN chooses the descriptors
  MsixRoute msix;
  NvmLayout nvm;  ///< done 0: EERD does not reach it
  PhyLock phy_lock;
  RxMemory rx_memory;
  std::uint8_t receive_addresses;  ///< pairs of RAL and RAH that are the driver's
  std::uint32_t txdctl;            ///< bits of TXDCTL that the data sheet wants set
  std::uint32_t tipg;              ///< value of TIPG; 0: the device's default is right
  bool segments_ipv6;              ///< TCP segmentation over IPv6 as well
  std::uint16_t max_mtu;
  RssLayout rss;
  Offloads offloads;
  std::span<const StatRegister> statistics;
};

/// One device: what a row of the table in pmd/open.cpp points to.
struct Model {
  std::string_view name;  ///< PortInfo::driver
  const Family* family;
};

/// 82540EM, 82544GC, 82545EM.
inline constexpr Family k8254x{
    .name = "8254x",
    .register_bytes = 128 << 10,
    .rx = RxFormat::kLegacy,
    .tx = TxFormat::kLegacy,
    .rx_base = 0x2800,
    .tx_base = 0x3800,
    .queue_stride = 0x100,
    .queues = 1,
    .queue_enable = false,
    .express = false,
    .virtual_function = false,
    .extended_rx = false,
    .msix = MsixRoute::kNone,
    .nvm = {.done = 1U << 4, .address_shift = 8},
    .phy_lock = PhyLock::kNone,
    .rx_memory = {.offset = 0x1000, .mask = 0xFFFF},  // PBA.RXA
    .receive_addresses = 15,
    .txdctl = 0,
    .tipg = 10U | 8U << 10 | 6U << 20,  // [8254x] 13.4.34: copper
    .segments_ipv6 = false,             // QUIRK(QEMU): e1000 counts IPv6's header into its payload length
    .max_mtu = 16110,                   // 16128 bytes with header and FCS
    .rss = {},
    .offloads = Offload::kRxVlanStrip | Offload::kTxVlanInsert | Offload::kTxChecksum |
                Offload::kTxIpChecksum | Offload::kTxSegment,
    .statistics = kStatRegisters,
};

/// 82574L.
inline constexpr Family k82574{
    .name = "82574",
    .register_bytes = 128 << 10,
    .rx = RxFormat::kExtended,
    .tx = TxFormat::kLegacy,
    .rx_base = 0x2800,
    .tx_base = 0x3800,
    .queue_stride = 0x100,
    .queues = 2,
    .queue_enable = false,
    .express = true,
    .virtual_function = false,
    .extended_rx = true,
    .msix = MsixRoute::k82574,
    .nvm = {.done = 1U << 1, .address_shift = 2},
    .phy_lock = PhyLock::kExtcnf,
    .rx_memory = {.offset = 0x1000, .mask = 0xFFFF},  // PBA.RXA
    .receive_addresses = 15,
    .txdctl = 1U << 22,  // [82574] 10.2.6.9: must be 1
    .tipg = 0,
    .segments_ipv6 = true,
    .max_mtu = 9212,
    .rss = {.entries = 128,
            .enable = 1,
            .queue_shift = 7,
            .types = {{{kRssTcpIpv4, 1U << 0},
                       {kRssIpv4, 1U << 1},
                       {kRssTcpIpv6, 1U << 2},
                       {kRssIpv6, 1U << 3 | 1U << 4}}}},
    .offloads = Offload::kRxVlanStrip | Offload::kTxVlanInsert | Offload::kTxChecksum |
                Offload::kTxIpChecksum | Offload::kTxSegment | Offload::kRxChecksum | Offload::kRxHash |
                Offload::kRss,
    .statistics = kStatRegisters,
};

/// 82576.
inline constexpr Family k82576{
    .name = "82576",
    .register_bytes = 128 << 10,
    .rx = RxFormat::kExtended,
    .tx = TxFormat::kAdvanced,
    .rx_base = 0xC000,
    .tx_base = 0xE000,
    .queue_stride = 0x40,
    .queues = 8,
    .queue_enable = true,
    .express = true,
    .virtual_function = false,
    .extended_rx = false,
    .msix = MsixRoute::k82576,
    .nvm = {.done = 1U << 1, .address_shift = 2},
    .phy_lock = PhyLock::kSwFwSync,
    .rx_memory = {.offset = 0x2404, .mask = 0x7F},  // RXPBS
    .receive_addresses = 16,
    .txdctl = 0,
    .tipg = 0,
    .segments_ipv6 = true,
    .max_mtu = 9216,
    .rss = {.entries = 128,
            .enable = 2,
            .queue_shift = 0,
            .types = {{{kRssTcpIpv4, 1U << 0},
                       {kRssIpv4, 1U << 1},
                       {kRssTcpIpv6, 1U << 2 | 1U << 5},
                       {kRssIpv6, 1U << 3 | 1U << 4},
                       {kRssUdpIpv4, 1U << 6},
                       {kRssUdpIpv6, 1U << 7}}}},
    .offloads = Offload::kRxVlanStrip | Offload::kTxVlanInsert | Offload::kTxChecksum |
                Offload::kTxIpChecksum | Offload::kTxSegment | Offload::kRxChecksum | Offload::kRxHash |
                Offload::kRss | Offload::kTxSctpChecksum | Offload::kRxTimestamp,
    .statistics = kStatRegisters,
};

/// A virtual function of the 82576: [82576] 7.8 and 8.14. Its registers are those of the 82576's queues, at
/// the places that the 82575 had them.
inline constexpr Family k82576Vf{
    .name = "82576 VF",
    .register_bytes = 16 << 10,
    .rx = RxFormat::kExtended,
    .tx = TxFormat::kAdvanced,
    .rx_base = 0x2800,
    .tx_base = 0x3800,
    .queue_stride = 0x100,
    .queues = 2,
    .queue_enable = true,
    .express = true,
    .virtual_function = true,
    .extended_rx = false,
    .msix = MsixRoute::k82576Vf,
    .nvm = {},
    .phy_lock = PhyLock::kNone,
    .rx_memory = {},
    .receive_addresses = 0,
    .txdctl = 0,
    .tipg = 0,
    .segments_ipv6 = true,
    .max_mtu = 9216,
    .rss = {},
    .offloads = Offload::kRxVlanStrip | Offload::kTxVlanInsert | Offload::kTxChecksum |
                Offload::kTxIpChecksum | Offload::kTxSegment | Offload::kRxChecksum,
    .statistics = kVfStatRegisters,
};

inline constexpr Model k82540em{"e1000 (82540EM)", &k8254x};
inline constexpr Model k82544gc{"e1000 (82544GC)", &k8254x};
inline constexpr Model k82545em{"e1000 (82545EM)", &k8254x};
inline constexpr Model k82574l{"e1000e (82574L)", &k82574};
inline constexpr Model k82576eb{"igb (82576)", &k82576};
inline constexpr Model k82576vf{"igbvf (82576 VF)", &k82576Vf};

}  // namespace spinring::pmd::e1000
