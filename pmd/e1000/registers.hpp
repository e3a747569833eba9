#pragma once

#include <cstdint>

#include "base/mmio.hpp"

/// Registers of the e1000 family, with the data sheets' names: [8254x] is the PCI/PCI-X Family of Gigabit
/// Ethernet Controllers Software Developer's Manual (revision 4.0), [82574] and [82576] are the data sheets
/// of those. Where only [8254x] is cited, the others have the register at the same place. Registers of a
/// queue are relative to its block (Family::rx_base, Family::tx_base): they lie in the same order in all of
/// them.
namespace spinring::pmd::e1000 {

/// A register of 32 bits without fields, or whose fields are written whole.
template <std::uint64_t Offset, Access Mode = Access::kReadWrite>
struct Plain {
  static constexpr std::uint64_t kOffset = Offset;
  static constexpr Access kAccess = Mode;
  std::uint32_t raw = 0;
};

template <mmio::Register R>
[[nodiscard]] constexpr R operator|(R a, R b) noexcept {
  return R{a.raw | b.raw};
}

/// Device Control: [8254x] 13.4.1, [82574] 10.2.2.1, [82576] 8.2.1.
struct Ctrl {
  static constexpr std::uint64_t kOffset = 0x0000;
  static constexpr Access kAccess = Access::kReadWrite;
  static constexpr Field<Ctrl, 0> kFd{};
  static constexpr Field<Ctrl, 2> kGioMasterDisable{};  ///< PCI Express devices alone
  static constexpr Field<Ctrl, 3> kLrst{};              ///< [8254x] alone
  static constexpr Field<Ctrl, 5> kAsde{};
  static constexpr Field<Ctrl, 6> kSlu{};
  static constexpr Field<Ctrl, 7> kIlos{};
  static constexpr Field<Ctrl, 9, 8> kSpeed{};
  static constexpr Field<Ctrl, 11> kFrcspd{};
  static constexpr Field<Ctrl, 12> kFrcdplx{};
  static constexpr Field<Ctrl, 26> kRst{};
  static constexpr Field<Ctrl, 27> kRfce{};
  static constexpr Field<Ctrl, 28> kTfce{};
  static constexpr Field<Ctrl, 30> kVme{};
  static constexpr Field<Ctrl, 31> kPhyRst{};
  std::uint32_t raw = 0;
};

/// Device Status: [8254x] 13.4.2, [82574] 10.2.2.2, [82576] 8.2.2.
struct Status {
  static constexpr std::uint64_t kOffset = 0x0008;
  static constexpr Access kAccess = Access::kReadOnly;
  static constexpr Field<Status, 0> kFd{};
  static constexpr Field<Status, 1> kLu{};
  static constexpr Field<Status, 3, 2> kLanId{};
  static constexpr Field<Status, 4> kTxoff{};
  static constexpr Field<Status, 7, 6> kSpeed{};          ///< 0: 10 Mb/s, 1: 100 Mb/s, 2 and 3: 1000 Mb/s
  static constexpr Field<Status, 19> kGioMasterEnable{};  ///< PCI Express devices alone
  static constexpr std::uint32_t kGone = 0xFFFF'FFFF;     ///< what a device that is not there reads as
  std::uint32_t raw = 0;
};

/// EEPROM/Flash Control: [8254x] 13.4.3, [82574] 10.2.2.3, [82576] 8.4.1 (EEC).
struct Eecd {
  static constexpr std::uint64_t kOffset = 0x0010;
  static constexpr Access kAccess = Access::kReadWrite;
  static constexpr Field<Eecd, 8> kPres{};
  static constexpr Field<Eecd, 9> kAutoRd{};  ///< [82574], [82576]: the NVM has been read into the registers
  std::uint32_t raw = 0;
};

/// EEPROM Read: [8254x] 13.4.4, [82574] 10.2.2.4, [82576] 8.4.2. Where the address and DONE lie is the
/// family's own: NvmLayout.
struct Eerd {
  static constexpr std::uint64_t kOffset = 0x0014;
  static constexpr Access kAccess = Access::kReadWrite;
  static constexpr Field<Eerd, 0> kStart{};
  static constexpr Field<Eerd, 31, 16> kData{};
  std::uint32_t raw = 0;
};

/// Extended Device Control: [8254x] 13.4.6, [82574] 10.2.2.5, [82576] 8.2.3.
struct CtrlExt {
  static constexpr std::uint64_t kOffset = 0x0018;
  static constexpr Access kAccess = Access::kReadWrite;
  static constexpr Field<CtrlExt, 23, 22> kLinkMode{};
  static constexpr Field<CtrlExt, 31> kPbaClr{};   ///< [82574]: MSI-X pending bits clear by themselves
  static constexpr Field<CtrlExt, 28> kDrvLoad{};  ///< [82574], [82576]: the firmware leaves the device to us
  std::uint32_t raw = 0;
};

/// MDI Control, the way to the PHY's registers: [8254x] 13.4.7, [82574] 10.2.2.7, [82576] 8.2.4.
struct Mdic {
  static constexpr std::uint64_t kOffset = 0x0020;
  static constexpr Access kAccess = Access::kReadWrite;
  static constexpr Field<Mdic, 15, 0> kData{};
  static constexpr Field<Mdic, 20, 16> kRegadd{};
  static constexpr Field<Mdic, 25, 21> kPhyadd{};
  static constexpr Field<Mdic, 27, 26> kOp{};
  static constexpr Field<Mdic, 28> kReady{};
  static constexpr Field<Mdic, 30> kError{};
  static constexpr std::uint32_t kWrite = 1;
  static constexpr std::uint32_t kRead = 2;
  std::uint32_t raw = 0;
};

using Fcal = Plain<0x0028>;   ///< Flow Control Address Low: [8254x] 13.4.8
using Fcah = Plain<0x002C>;   ///< Flow Control Address High: [8254x] 13.4.9
using Fct = Plain<0x0030>;    ///< Flow Control Type: [8254x] 13.4.10
using Vet = Plain<0x0038>;    ///< VLAN Ether Type: [8254x] 13.4.11
using Fcttv = Plain<0x0170>;  ///< Flow Control Transmit Timer Value: [8254x] 13.4.32
/// Flow Control Receive Threshold Low: [8254x] 13.4.23. A low mark in bytes, a multiple of 16.
struct Fcrtl {
  static constexpr std::uint64_t kOffset = 0x2160;
  static constexpr Access kAccess = Access::kReadWrite;
  static constexpr Field<Fcrtl, 15, 4> kRtl{};
  static constexpr Field<Fcrtl, 31> kXone{};
  std::uint32_t raw = 0;
};
using Fcrth = Plain<0x2168>;  ///< Flow Control Receive Threshold High: [8254x] 13.4.24
using Tipg = Plain<0x0410>;   ///< Transmit Inter Packet Gap: [8254x] 13.4.34
using Pba = Plain<0x1000>;    ///< Packet Buffer Allocation: [8254x] 13.4.5

/// Interrupt causes: ICR [8254x] 13.4.17 (writing ones clears them; so does reading, but not with MSI-X), and
/// the masks of the same bits.
template <std::uint64_t Offset, Access Mode>
struct Causes {
  static constexpr std::uint64_t kOffset = Offset;
  static constexpr Access kAccess = Mode;
  static constexpr Field<Causes, 2> kLsc{};     ///< link status change
  static constexpr Field<Causes, 24> kOther{};  ///< [82574]: an MSI-X cause that is no queue's
  std::uint32_t raw = 0;
};
using Icr = Causes<0x00C0, Access::kWriteOneClears>;
using Ics = Causes<0x00C8, Access::kWriteOnly>;  ///< [8254x] 13.4.19
using Ims = Causes<0x00D0, Access::kReadWrite>;  ///< [8254x] 13.4.20
using Imc = Causes<0x00D8, Access::kWriteOnly>;  ///< [8254x] 13.4.21

/// [82574] 10.2.4.9 Interrupt Vector Allocation: which MSI-X vector a cause goes to.
struct Ivar82574 {
  static constexpr std::uint64_t kOffset = 0x00E4;
  static constexpr Access kAccess = Access::kReadWrite;
  static constexpr Field<Ivar82574, 18, 16> kOtherVector{};
  static constexpr Field<Ivar82574, 19> kOtherValid{};
  std::uint32_t raw = 0;
};
/// [82576] 8.8.14 IVAR_MISC: the MSI-X vector of the causes that are no queue's.
struct IvarMisc {
  static constexpr std::uint64_t kOffset = 0x1740;
  static constexpr Access kAccess = Access::kReadWrite;
  static constexpr Field<IvarMisc, 14, 8> kOtherVector{};
  static constexpr Field<IvarMisc, 15> kOtherValid{};
  std::uint32_t raw = 0;
};
/// [82576] 8.8.12 General Purpose Interrupt Enable.
struct Gpie {
  static constexpr std::uint64_t kOffset = 0x1514;
  static constexpr Access kAccess = Access::kReadWrite;
  static constexpr Field<Gpie, 0> kNsicr{};
  static constexpr Field<Gpie, 4> kMultipleMsix{};
  std::uint32_t raw = 0;
};
using Eims = Plain<0x1524>;  ///< [82576] 8.8.3 Extended Interrupt Mask Set: a bit for each MSI-X vector
using Eicr =
    Plain<0x1580, Access::kWriteOneClears>;  ///< [82576] 8.8.1 Extended Interrupt Cause: the same bits

/// Receive Control: [8254x] 13.4.22, [82574] 10.2.5.1, [82576] 8.10.1.
struct Rctl {
  static constexpr std::uint64_t kOffset = 0x0100;
  static constexpr Access kAccess = Access::kReadWrite;
  static constexpr Field<Rctl, 1> kEn{};
  static constexpr Field<Rctl, 2> kSbp{};
  static constexpr Field<Rctl, 3> kUpe{};
  static constexpr Field<Rctl, 4> kMpe{};
  static constexpr Field<Rctl, 5> kLpe{};
  static constexpr Field<Rctl, 7, 6> kLbm{};
  static constexpr Field<Rctl, 13, 12> kMo{};
  static constexpr Field<Rctl, 15> kBam{};
  static constexpr Field<Rctl, 17, 16> kBsize{};
  static constexpr Field<Rctl, 18> kVfe{};
  static constexpr Field<Rctl, 25> kBsex{};
  static constexpr Field<Rctl, 26> kSecrc{};
  std::uint32_t raw = 0;
};

/// Transmit Control: [8254x] 13.4.33, [82574] 10.2.6.1, [82576] 8.12.1.
struct Tctl {
  static constexpr std::uint64_t kOffset = 0x0400;
  static constexpr Access kAccess = Access::kReadWrite;
  static constexpr Field<Tctl, 1> kEn{};
  static constexpr Field<Tctl, 3> kPsp{};
  static constexpr Field<Tctl, 11, 4> kCt{};
  static constexpr Field<Tctl, 21, 12> kCold{};
  static constexpr Field<Tctl, 24> kRtlc{};
  std::uint32_t raw = 0;
};

/// Receive Checksum Control: [8254x] 13.4.47, [82574] 10.2.5.15, [82576] 8.10.
struct Rxcsum {
  static constexpr std::uint64_t kOffset = 0x5000;
  static constexpr Access kAccess = Access::kReadWrite;
  static constexpr Field<Rxcsum, 8> kIpofl{};
  static constexpr Field<Rxcsum, 9> kTuofl{};
  static constexpr Field<Rxcsum, 11> kCrcofl{};  ///< [82576]: SCTP's as well
  static constexpr Field<Rxcsum, 13>
      kPcsd{};  ///< not [8254x]: the descriptor has the RSS hash, not a checksum
  std::uint32_t raw = 0;
};
using Rlpml = Plain<0x5004>;  ///< [82576] 8.10 Receive Long Packet Maximum Length, with FCS

/// [82574] 10.2.5.16 Receive Filter Control.
struct Rfctl {
  static constexpr std::uint64_t kOffset = 0x5008;
  static constexpr Access kAccess = Access::kReadWrite;
  static constexpr Field<Rfctl, 15> kExsten{};  ///< extended receive descriptors
  std::uint32_t raw = 0;
};

/// Multiple Receive Queues Command: [82574] 10.2.5.18, [82576] 8.10.
struct Mrqc {
  static constexpr std::uint64_t kOffset = 0x5818;
  static constexpr Access kAccess = Access::kReadWrite;
  static constexpr Field<Mrqc, 2, 0> kEnable{};    ///< the family's own value: RssLayout::enable
  static constexpr Field<Mrqc, 31, 16> kFields{};  ///< RssLayout::types
  std::uint32_t raw = 0;
};

/// [82576] 8.16: IEEE 1588 times.
struct Tsyncrxctl {
  static constexpr std::uint64_t kOffset = 0xB620;
  static constexpr Access kAccess = Access::kReadWrite;
  static constexpr Field<Tsyncrxctl, 0> kRxtt{};  ///< RXSTMPL and RXSTMPH have a time
  static constexpr Field<Tsyncrxctl, 3, 1> kType{};
  static constexpr Field<Tsyncrxctl, 4> kEn{};
  static constexpr std::uint32_t kEventV2 = 5;
  std::uint32_t raw = 0;
};
using Rxstmpl = Plain<0xB624, Access::kReadOnly>;
using Rxstmph = Plain<0xB628, Access::kReadOnly>;
using Rxsatrh = Plain<0xB630, Access::kReadOnly>;  ///< from whom the message came
using Systiml = Plain<0xB600>;
using Systimh = Plain<0xB604>;
using Timinca = Plain<0xB608>;     ///< period in 16 ns 31:24, increment 23:0
using Tsyncrxcfg = Plain<0x5F50>;  ///< the message of version 2 15:8
/// [82576] 8.10: EtherType Queue Filter, the first of eight.
struct Etqf {
  static constexpr std::uint64_t kOffset = 0x5CB0;
  static constexpr Access kAccess = Access::kReadWrite;
  static constexpr Field<Etqf, 15, 0> kEtype{};
  static constexpr Field<Etqf, 26> kFilterEnable{};
  static constexpr Field<Etqf, 30> k1588{};
  std::uint32_t raw = 0;
};

/// Who has the PHY, software or firmware. [82576] 8.7: SWSM and SW_FW_SYNC.
struct Swsm {
  static constexpr std::uint64_t kOffset = 0x5B50;
  static constexpr Access kAccess = Access::kReadWrite;
  static constexpr Field<Swsm, 0> kSmbi{};  ///< reads as 0 once, then as 1 until it is cleared
  static constexpr Field<Swsm, 1> kSwesmbi{};
  std::uint32_t raw = 0;
};
using SwFwSync = Plain<0x5B5C>;  ///< a bit of each resource for software, and 16 above it for firmware
/// [82574] 10.2.2.9 Extended Configuration Control.
struct ExtcnfCtrl {
  static constexpr std::uint64_t kOffset = 0x0F00;
  static constexpr Access kAccess = Access::kReadWrite;
  static constexpr Field<ExtcnfCtrl, 5> kMdioSwOwnership{};
  std::uint32_t raw = 0;
};

// Arrays: the offset of the first; index times 4 (receive addresses: 8) is the base.
using Mta = Plain<0x5200>;    ///< [8254x] 13.5.1 Multicast Table Array, 128 registers
using Ral = Plain<0x5400>;    ///< [8254x] 13.5.2 Receive Address Low
using Vfta = Plain<0x5600>;   ///< [8254x] 13.5.4 VLAN Filter Table Array, 128 registers
using Reta = Plain<0x5C00>;   ///< [82574] 10.2.5.19 Redirection Table, 4 entries in each of 32 registers
using Rssrk = Plain<0x5C80>;  ///< [82574] 10.2.5.20 RSS Random Key, 10 registers
/// [8254x] 13.5.3 Receive Address High.
struct Rah {
  static constexpr std::uint64_t kOffset = 0x5404;
  static constexpr Access kAccess = Access::kReadWrite;
  static constexpr Field<Rah, 15, 0> kAddress{};
  static constexpr Field<Rah, 31> kAv{};
  std::uint32_t raw = 0;
};
inline constexpr std::uint64_t kMtaRegisters = 128;
inline constexpr std::uint64_t kVftaRegisters = 128;
inline constexpr std::uint64_t kReceiveAddressStride = 8;

/// Registers of one RX or TX queue, relative to its block: [8254x] 13.4.25 to 13.4.46, [82576] 8.10 and 8.12.
namespace queue {
using Dbal = Plain<0x00>;  ///< RDBAL, TDBAL: the ring's address, low half
using Dbah = Plain<0x04>;  ///< RDBAH, TDBAH: high half
using Dlen = Plain<0x08>;  ///< RDLEN, TDLEN: bytes, a multiple of 128
using Dh = Plain<0x10>;    ///< RDH, TDH: the device's next descriptor
using Dt = Plain<0x18>;    ///< RDT, TDT: behind the last descriptor that is the device's
/// [82576] 8.10.2 Split and Replication Receive Control.
struct Srrctl {
  static constexpr std::uint64_t kOffset = 0x0C;
  static constexpr Access kAccess = Access::kReadWrite;
  static constexpr Field<Srrctl, 6, 0> kBsizepacket{};  ///< KiB
  static constexpr Field<Srrctl, 27, 25> kDesctype{};
  static constexpr std::uint32_t kAdvancedOneBuffer = 1;
  std::uint32_t raw = 0;
};
/// RXDCTL, TXDCTL: [8254x] 13.4.46 and 13.4.43, [82576] 8.10.10 and 8.12.15. The thresholds' widths differ;
/// at 0 they mean the same: each descriptor is written back at once.
struct Dctl {
  static constexpr std::uint64_t kOffset = 0x28;
  static constexpr Access kAccess = Access::kReadWrite;
  static constexpr Field<Dctl, 25> kEnable{};  ///< [82576]
  std::uint32_t raw = 0;
};
inline constexpr std::uint64_t kTail = Dt::kOffset;
}  // namespace queue

/// Registers of the PHY, by MDIC: IEEE 802.3, clause 22.2.4.
namespace phy {
inline constexpr std::uint8_t kControl = 0;
inline constexpr std::uint16_t kRestartAutoNegotiation = 1U << 9;
inline constexpr std::uint16_t kPowerDown = 1U << 11;
inline constexpr std::uint16_t kAutoNegotiation = 1U << 12;
inline constexpr std::uint8_t kStatus = 1;
inline constexpr std::uint16_t kLinkStatus = 1U << 2;
inline constexpr std::uint16_t kAutoNegotiationComplete = 1U << 5;
inline constexpr std::uint8_t kId1 = 2;
inline constexpr std::uint8_t kId2 = 3;
}  // namespace phy

}  // namespace spinring::pmd::e1000
