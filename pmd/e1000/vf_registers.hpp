#pragma once

#include <cstdint>

#include "base/mmio.hpp"
#include "pmd/e1000/registers.hpp"

/// Registers of a virtual function of the 82576 that its physical function has elsewhere or not at all:
/// [82576] 8.14. CTRL (of which only RST is left), STATUS, EICR, EIMS and the queues' registers are those of
/// registers.hpp.
namespace spinring::pmd::e1000::vf {

using Frtimer = Plain<0x1048, Access::kReadOnly>;  ///< VTFRTIMER: milliseconds
using Eimc = Plain<0x1528, Access::kWriteOnly>;    ///< VTEIMC: a bit for each MSI-X vector, as in EIMS
using Ivar0 = Plain<0x1700>;                       ///< VTIVAR: the MSI-X vectors of the queues
using Psrtype = Plain<0x0F0C>;                     ///< which headers are split off: none

/// VTIVAR_MISC: the MSI-X vector of the mailbox.
struct IvarMisc {
  static constexpr std::uint64_t kOffset = 0x1740;
  static constexpr Access kAccess = Access::kReadWrite;
  static constexpr Field<IvarMisc, 1, 0> kVector{};
  static constexpr Field<IvarMisc, 7> kValid{};
  std::uint32_t raw = 0;
};

/// VFMailbox: who has the buffer VMBMEM, and what has happened to it. PFSTS, PFACK and RSTD clear when they
/// are read; writing REQ, ACK or nothing at all gives the buffer back. [82576] 7.8.2.9.
struct Vfmb {
  static constexpr std::uint64_t kOffset = 0x0C40;
  static constexpr Access kAccess = Access::kReadWrite;
  static constexpr Field<Vfmb, 0> kReq{};  ///< to the physical function: there is a message
  static constexpr Field<Vfmb, 1> kAck{};  ///< its message was read
  static constexpr Field<Vfmb, 2> kVfu{};  ///< the buffer is the virtual function's; only while PFU is clear
  static constexpr Field<Vfmb, 3> kPfu{};  ///< the buffer is the physical function's
  static constexpr Field<Vfmb, 4> kPfsts{};  ///< it has written a message
  static constexpr Field<Vfmb, 5> kPfack{};  ///< it has read ours
  static constexpr Field<Vfmb, 6> kRsti{};   ///< it is being reset
  static constexpr Field<Vfmb, 7> kRstd{};   ///< it has been reset
  std::uint32_t raw = 0;
};

/// VMBMEM, the buffer for both directions; index times 4 is the base.
using Vmbmem = Plain<0x0800>;
inline constexpr std::uint64_t kVmbmemRegisters = 16;

/// What a message's first word says. The data sheet leaves that to the drivers: it is what Linux's igb, the
/// driver of the physical function, understands.
namespace message {
inline constexpr std::uint32_t kReset =
    1;  ///< answered with the function's address, or refused if it has none
inline constexpr std::uint32_t kSetMac = 2;
inline constexpr std::uint32_t kSetMulticast = 3;  ///< information: how many; then their hashes of 16 bits
inline constexpr std::uint32_t kSetVlan = 4;       ///< information: 1 adds
inline constexpr std::uint32_t kSetLpe = 5;        ///< longest frame, with FCS
inline constexpr std::uint32_t kSetPromiscuous = 6;
inline constexpr std::uint32_t kCommand = 0xFFFF;        ///< mask of the above
inline constexpr unsigned kInformationShift = 16;        ///< 8 bits
inline constexpr std::uint32_t kClearUnicast = 1;        ///< information of kSetMac
inline constexpr std::uint32_t kAddUnicast = 2;          ///< information of kSetMac
inline constexpr std::uint32_t kAllMulticast = 2;        ///< information of kSetPromiscuous
inline constexpr std::uint32_t kClearToSend = 1U << 29;  ///< the physical function knows this function
inline constexpr std::uint32_t kNack = 1U << 30;
inline constexpr std::uint32_t kAck = 1U << 31;
inline constexpr std::uint64_t kMostHashes = 30;  ///< that fit
}  // namespace message

}  // namespace spinring::pmd::e1000::vf
