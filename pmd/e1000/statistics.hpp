#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/mmio.hpp"
#include "pmd/port.hpp"

namespace spinring::pmd::e1000 {

/// A statistics register. [8254x] 13.7, [82574] 10.2.7, [82576] 8.18 and 8.14.
struct StatRegister {
  /// kCounter: reading clears it. kWide: two registers, low and high; reading the high one clears both.
  /// kRunning: counts on, and wraps. The kinds with Bytes count the four bytes of FCS of each packet of the
  /// row before theirs.
  enum class Kind : std::uint8_t { kCounter, kWide, kWideBytes, kRunning, kRunningBytes };
  std::string_view name;  ///< DPDK's
  std::uint64_t offset;
  Kind kind = Kind::kCounter;
};

inline constexpr std::array kStatRegisters{
    StatRegister{"rx_good_packets", 0x4074},                                // GPRC
    StatRegister{"rx_good_bytes", 0x4088, StatRegister::Kind::kWideBytes},  // GORC
    StatRegister{"tx_good_packets", 0x4080},                                // GPTC
    StatRegister{"tx_good_bytes", 0x4090, StatRegister::Kind::kWideBytes},  // GOTC
    StatRegister{"rx_missed_errors", 0x4010},                               // MPC
    StatRegister{"rx_crc_errors", 0x4000},                                  // CRCERRS
    StatRegister{"rx_align_errors", 0x4004},                                // ALGNERRC
    StatRegister{"rx_symbol_errors", 0x4008},                               // SYMERRS
    StatRegister{"rx_errors", 0x400C},                                      // RXERRC
    StatRegister{"tx_single_collision_packets", 0x4014},                    // SCC
    StatRegister{"tx_excessive_collision_packets", 0x4018},                 // ECOL
    StatRegister{"tx_multiple_collision_packets", 0x401C},                  // MCC
    StatRegister{"tx_late_collisions", 0x4020},                             // LATECOL
    StatRegister{"tx_total_collisions", 0x4028},                            // COLC
    StatRegister{"tx_deferred_packets", 0x4030},                            // DC
    StatRegister{"tx_no_carrier_sense_packets", 0x4034},                    // TNCRS
    StatRegister{"rx_carrier_ext_errors", 0x403C},                          // CEXTERR
    StatRegister{"rx_length_errors", 0x4040},                               // RLEC
    StatRegister{"rx_xon_packets", 0x4048},                                 // XONRXC
    StatRegister{"tx_xon_packets", 0x404C},                                 // XONTXC
    StatRegister{"rx_xoff_packets", 0x4050},                                // XOFFRXC
    StatRegister{"tx_xoff_packets", 0x4054},                                // XOFFTXC
    StatRegister{"rx_flow_control_unsupported_packets", 0x4058},            // FCRUC
    StatRegister{"rx_size_64_packets", 0x405C},                             // PRC64
    StatRegister{"rx_size_65_to_127_packets", 0x4060},                      // PRC127
    StatRegister{"rx_size_128_to_255_packets", 0x4064},                     // PRC255
    StatRegister{"rx_size_256_to_511_packets", 0x4068},                     // PRC511
    StatRegister{"rx_size_512_to_1023_packets", 0x406C},                    // PRC1023
    StatRegister{"rx_size_1024_to_max_packets", 0x4070},                    // PRC1522
    StatRegister{"rx_broadcast_packets", 0x4078},                           // BPRC
    StatRegister{"rx_multicast_packets", 0x407C},                           // MPRC
    StatRegister{"rx_no_buffer_packets", 0x40A0},                           // RNBC
    StatRegister{"rx_undersize_errors", 0x40A4},                            // RUC
    StatRegister{"rx_fragment_errors", 0x40A8},                             // RFC
    StatRegister{"rx_oversize_errors", 0x40AC},                             // ROC
    StatRegister{"rx_jabber_errors", 0x40B0},                               // RJC
    StatRegister{"rx_management_packets", 0x40B4},                          // MGTPRC
    StatRegister{"rx_management_dropped", 0x40B8},                          // MGTPDC
    StatRegister{"tx_management_packets", 0x40BC},                          // MGTPTC
    StatRegister{"rx_total_packets", 0x40D0},                               // TPR
    StatRegister{"rx_total_bytes", 0x40C0, StatRegister::Kind::kWide},      // TOR
    StatRegister{"tx_total_packets", 0x40D4},                               // TPT
    StatRegister{"tx_total_bytes", 0x40C8, StatRegister::Kind::kWide},      // TOT
    StatRegister{"tx_size_64_packets", 0x40D8},                             // PTC64
    StatRegister{"tx_size_65_to_127_packets", 0x40DC},                      // PTC127
    StatRegister{"tx_size_128_to_255_packets", 0x40E0},                     // PTC255
    StatRegister{"tx_size_256_to_511_packets", 0x40E4},                     // PTC511
    StatRegister{"tx_size_512_to_1023_packets", 0x40E8},                    // PTC1023
    StatRegister{"tx_size_1024_to_max_packets", 0x40EC},                    // PTC1522
    StatRegister{"tx_multicast_packets", 0x40F0},                           // MPTC
    StatRegister{"tx_broadcast_packets", 0x40F4},                           // BPTC
    StatRegister{"tx_tso_packets", 0x40F8},                                 // TSCTC
    StatRegister{"tx_tso_errors", 0x40FC},                                  // TSCTFC
};

/// Of a virtual function.
inline constexpr std::array kVfStatRegisters{
    StatRegister{"rx_good_packets", 0x0F10, StatRegister::Kind::kRunning},       // VFGPRC
    StatRegister{"rx_good_bytes", 0x0F18, StatRegister::Kind::kRunningBytes},    // VFGORC
    StatRegister{"tx_good_packets", 0x0F14, StatRegister::Kind::kRunning},       // VFGPTC
    StatRegister{"tx_good_bytes", 0x0F34, StatRegister::Kind::kRunningBytes},    // VFGOTC
    StatRegister{"rx_multicast_packets", 0x0F3C, StatRegister::Kind::kRunning},  // VFMPRC
    // Between the functions of the NIC.
    StatRegister{"rx_good_loopback_packets", 0x0F40, StatRegister::Kind::kRunning},     // VFGPRLBC
    StatRegister{"rx_good_loopback_bytes", 0x0F48, StatRegister::Kind::kRunningBytes},  // VFGORLBC
    StatRegister{"tx_good_loopback_packets", 0x0F44, StatRegister::Kind::kRunning},     // VFGPTLBC
    StatRegister{"tx_good_loopback_bytes", 0x0F50, StatRegister::Kind::kRunningBytes},  // VFGOTLBC
};

/// The device's counters in 64 bits. The registers have 32: at 1 Gb/s the first overflows after 48 minutes,
/// of a virtual function after 34 seconds, so collect() is to be called before that. Control thread.
class Statistics {
 public:
  explicit Statistics(std::span<const StatRegister> rows)
      : rows_(rows), totals_(rows.size()), last_(rows.size()) {}
  /// From 0; `registers` forgets what it has.
  void restart(RegisterBlock& registers);
  /// Adds what the registers have counted since the last call.
  void collect(RegisterBlock& registers);
  [[nodiscard]] std::vector<NamedStat> report() const;

 private:
  std::span<const StatRegister> rows_;
  std::vector<std::uint64_t> totals_;
  std::vector<std::uint32_t> last_;  ///< what a running register had
};

}  // namespace spinring::pmd::e1000
