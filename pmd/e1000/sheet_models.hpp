#pragma once

#include "pmd/e1000/models.hpp"

/// Devices that this project has not met, neither as silicon nor as a model: by their data sheets (Intel's
/// I210, I211, I350, I217 and I219) they have the registers of one that it knows, but for what is said here.
/// Copper ports alone: a SerDes would want a set-up of its own.
namespace spinring::pmd::e1000 {

/// I350: the 82576's queues, RSS and interrupts. Its clock is another, and its buffer is told in steps of a
/// table.
inline constexpr Family kI350 = [] {
  Family family = k82576;
  family.name = "I350";
  family.rx_memory = {.kib = 36};
  family.offloads = family.offloads.without(Offload::kRxTimestamp);
  return family;
}();

/// I210: four queues.
inline constexpr Family kI210 = [] {
  Family family = kI350;
  family.name = "I210";
  family.queues = 4;
  family.rx_memory = {.offset = 0x2404, .mask = 0x3F};  // RXPBSIZE
  return family;
}();

/// I211: two queues; its NVM is inside, and not read by EERD.
inline constexpr Family kI211 = [] {
  Family family = kI210;
  family.name = "I211";
  family.queues = 2;
  family.nvm = {};
  return family;
}();

/// I217 and I219, whose MAC is the chipset's: the 82574's queues without MSI-X, an NVM in the chipset's
/// flash, and seven receive addresses.
inline constexpr Family kI217 = [] {
  Family family = k82574;
  family.name = "I217";
  family.msix = MsixRoute::kNone;
  family.nvm = {};
  family.receive_addresses = 7;
  family.max_mtu = 9000;
  return family;
}();

inline constexpr Model kI350Copper{"igb (I350)", &kI350};
inline constexpr Model kI210Copper{"igb (I210)", &kI210};
inline constexpr Model kI211Copper{"igb (I211)", &kI211};
inline constexpr Model kI217Lm{"e1000e (I217)", &kI217};
inline constexpr Model kI219Lm{"e1000e (I219)", &kI217};

}  // namespace spinring::pmd::e1000
