#include "pmd/e1000/dump.hpp"

#include <fmt/format.h>

#include <array>
#include <span>
#include <string_view>

#include "pmd/e1000/registers.hpp"
#include "pmd/e1000/vf_registers.hpp"

namespace spinring::pmd::e1000 {
namespace {

struct NamedField {
  std::string_view name;
  std::uint64_t mask;
};

/// A register of the list. `where`: the families that have it, by the features that say so.
struct Row {
  enum class Where : std::uint8_t { kAll, kPhysical, kVirtual, kExpress, k82574, k82576 };
  std::string_view name;
  std::uint64_t offset;
  std::span<const NamedField> fields;
  Where where = Where::kPhysical;
};

template <class Reg, unsigned Hi, unsigned Lo>
constexpr NamedField field(std::string_view name, Field<Reg, Hi, Lo> typed) {
  return {name, typed.mask()};
}

constexpr std::array kCtrl{
    field("FD", Ctrl::kFd),          field("GIO_MD", Ctrl::kGioMasterDisable),
    field("ASDE", Ctrl::kAsde),      field("SLU", Ctrl::kSlu),
    field("ILOS", Ctrl::kIlos),      field("SPEED", Ctrl::kSpeed),
    field("FRCSPD", Ctrl::kFrcspd),  field("FRCDPLX", Ctrl::kFrcdplx),
    field("RST", Ctrl::kRst),        field("RFCE", Ctrl::kRfce),
    field("TFCE", Ctrl::kTfce),      field("VME", Ctrl::kVme),
    field("PHY_RST", Ctrl::kPhyRst),
};
constexpr std::array kStatus{
    field("FD", Status::kFd),       field("LU", Status::kLu),       field("LAN_ID", Status::kLanId),
    field("TXOFF", Status::kTxoff), field("SPEED", Status::kSpeed), field("GIO_ME", Status::kGioMasterEnable),
};
constexpr std::array kEecd{field("PRES", Eecd::kPres), field("AUTO_RD", Eecd::kAutoRd)};
constexpr std::array kCtrlExt{field("LINK_MODE", CtrlExt::kLinkMode), field("DRV_LOAD", CtrlExt::kDrvLoad)};
constexpr std::array kCauses{field("LSC", Ims::kLsc), field("OTHER", Ims::kOther)};
constexpr std::array kRctl{
    field("EN", Rctl::kEn),   field("SBP", Rctl::kSbp),   field("UPE", Rctl::kUpe),
    field("MPE", Rctl::kMpe), field("LPE", Rctl::kLpe),   field("LBM", Rctl::kLbm),
    field("MO", Rctl::kMo),   field("BAM", Rctl::kBam),   field("BSIZE", Rctl::kBsize),
    field("VFE", Rctl::kVfe), field("BSEX", Rctl::kBsex), field("SECRC", Rctl::kSecrc),
};
constexpr std::array kTctl{field("EN", Tctl::kEn), field("PSP", Tctl::kPsp), field("CT", Tctl::kCt),
                           field("COLD", Tctl::kCold), field("RTLC", Tctl::kRtlc)};
constexpr std::array kRxcsum{field("IPOFL", Rxcsum::kIpofl), field("TUOFL", Rxcsum::kTuofl),
                             field("PCSD", Rxcsum::kPcsd)};
constexpr std::array kRfctl{field("EXSTEN", Rfctl::kExsten)};
constexpr std::array kMrqc{field("ENABLE", Mrqc::kEnable), field("FIELDS", Mrqc::kFields)};
constexpr std::array kRah{field("AV", Rah::kAv)};
constexpr std::array kVtIvarMisc{field("VECTOR", vf::IvarMisc::kVector),
                                 field("VALID", vf::IvarMisc::kValid)};
constexpr std::array kSrrctl{field("BSIZEPACKET", queue::Srrctl::kBsizepacket),
                             field("DESCTYPE", queue::Srrctl::kDesctype)};
constexpr std::array kDctl{field("ENABLE", queue::Dctl::kEnable)};

using Where = Row::Where;
constexpr std::array kRegisters{
    Row{"CTRL", Ctrl::kOffset, kCtrl, Where::kAll},
    Row{"STATUS", Status::kOffset, kStatus, Where::kAll},
    Row{"EECD", Eecd::kOffset, kEecd},
    Row{"CTRL_EXT", CtrlExt::kOffset, kCtrlExt},
    Row{"FCAL", Fcal::kOffset, {}},
    Row{"FCAH", Fcah::kOffset, {}},
    Row{"FCT", Fct::kOffset, {}},
    Row{"VET", Vet::kOffset, {}},
    Row{"FCTTV", Fcttv::kOffset, {}},
    Row{"FCRTL", Fcrtl::kOffset, {}},
    Row{"FCRTH", Fcrth::kOffset, {}},
    Row{"IMS", Ims::kOffset, kCauses},
    Row{"IVAR", Ivar82574::kOffset, {}, Where::k82574},
    Row{"GPIE", Gpie::kOffset, {}, Where::k82576},
    Row{"EIMS", Eims::kOffset, {}, Where::k82576},
    Row{"IVAR_MISC", IvarMisc::kOffset, {}, Where::k82576},
    Row{"RCTL", Rctl::kOffset, kRctl},
    Row{"TCTL", Tctl::kOffset, kTctl},
    Row{"TIPG", Tipg::kOffset, {}},
    Row{"PBA", Pba::kOffset, {}},
    Row{"RXCSUM", Rxcsum::kOffset, kRxcsum},
    Row{"RLPML", Rlpml::kOffset, {}, Where::k82576},
    Row{"RFCTL", Rfctl::kOffset, kRfctl, Where::kExpress},
    Row{"MRQC", Mrqc::kOffset, kMrqc, Where::kExpress},
    Row{"RAL0", Ral::kOffset, {}},
    Row{"RAH0", Rah::kOffset, kRah},
    Row{"VTFRTIMER", vf::Frtimer::kOffset, {}, Where::kVirtual},
    Row{"VTEIMS", Eims::kOffset, {}, Where::kVirtual},
    Row{"VTIVAR", vf::Ivar0::kOffset, {}, Where::kVirtual},
    Row{"VTIVAR_MISC", vf::IvarMisc::kOffset, kVtIvarMisc, Where::kVirtual},
    Row{"PSRTYPE", vf::Psrtype::kOffset, {}, Where::kVirtual},
};
/// Of each queue, behind "R" or "T".
constexpr std::array kQueueRegisters{
    Row{"DBAL", queue::Dbal::kOffset, {}}, Row{"DBAH", queue::Dbah::kOffset, {}},
    Row{"DLEN", queue::Dlen::kOffset, {}}, Row{"DH", queue::Dh::kOffset, {}},
    Row{"DT", queue::Dt::kOffset, {}},     Row{"XDCTL", queue::Dctl::kOffset, kDctl},
};

bool has(const Family& family, Where where) noexcept {
  switch (where) {
    case Where::kAll:
      return true;
    case Where::kPhysical:
      return !family.virtual_function;
    case Where::kVirtual:
      return family.virtual_function;
    case Where::kExpress:
      return family.express && !family.virtual_function;
    case Where::k82574:
      return family.extended_rx;
    case Where::k82576:
      return family.queue_enable && !family.virtual_function;
  }
  return false;
}

RegisterDump read(RegisterBlock& registers, std::string name, std::uint64_t offset,
                  std::span<const NamedField> fields) {
  const std::uint64_t value = registers.read32(offset);
  std::string words;
  for (const NamedField& one : fields) {
    const std::uint64_t part = (value & one.mask) / (one.mask & -one.mask);
    if (part == 0) continue;
    if (!words.empty()) words += ' ';
    words += (one.mask & (one.mask - 1)) == 0 ? std::string(one.name) : fmt::format("{}={}", one.name, part);
  }
  return {std::move(name), offset, value, std::move(words)};
}

void add_queues(std::vector<RegisterDump>& all, RegisterBlock& registers, const Family& family,
                char direction, std::uint16_t queues) {
  for (std::uint16_t index = 0; index < queues; ++index) {
    const std::uint64_t base =
        (direction == 'R' ? family.rx_base : family.tx_base) + std::uint64_t{index} * family.queue_stride;
    for (const Row& row : kQueueRegisters) {
      all.push_back(
          read(registers, fmt::format("{}{}{}", direction, row.name, index), base + row.offset, row.fields));
    }
    if (direction == 'R' && family.queue_enable) {
      all.push_back(read(registers, fmt::format("SRRCTL{}", index), base + queue::Srrctl::kOffset, kSrrctl));
    }
  }
}

}  // namespace

std::vector<RegisterDump> dump(RegisterBlock& registers, const Family& family, std::uint16_t rx_queues,
                               std::uint16_t tx_queues) {
  std::vector<RegisterDump> all;
  for (const Row& row : kRegisters) {
    if (has(family, row.where)) all.push_back(read(registers, std::string(row.name), row.offset, row.fields));
  }
  add_queues(all, registers, family, 'R', rx_queues);
  add_queues(all, registers, family, 'T', tx_queues);
  return all;
}

}  // namespace spinring::pmd::e1000
