#include "pmd/e1000/device.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <thread>

#include "base/log.hpp"
#include "base/time.hpp"
#include "mempool/packet.hpp"
#include "pmd/e1000/addresses.hpp"
#include "pmd/e1000/dump.hpp"
#include "pmd/e1000/nvm.hpp"
#include "pmd/e1000/phy.hpp"
#include "pmd/e1000/registers.hpp"
#include "pmd/errors.hpp"

namespace spinring::pmd::e1000 {

using namespace std::chrono_literals;

namespace {

constexpr std::uint16_t kMinRing = 8;  // RDLEN counts in 128 bytes
constexpr std::uint16_t kMaxRing = 4096;
constexpr std::uint16_t kDefaultRing = 512;
constexpr std::uint16_t kDescriptorBytes = 16;

/// [8254x] 13.4.22: BSIZE and BSEX. The largest first.
struct BufferSize {
  std::uint16_t bytes;
  Rctl fields;
};
constexpr std::array kBufferSizes{
    BufferSize{16384, Rctl::kBsex(1) | Rctl::kBsize(1)},
    BufferSize{8192, Rctl::kBsex(1) | Rctl::kBsize(2)},
    BufferSize{4096, Rctl::kBsex(1) | Rctl::kBsize(3)},
    BufferSize{2048, Rctl::kBsize(0)},
    BufferSize{1024, Rctl::kBsize(1)},
    BufferSize{512, Rctl::kBsize(2)},
    BufferSize{256, Rctl::kBsize(3)},
};

struct Meaning {
  Offload offload;
  std::uint32_t bits;
};
constexpr std::array kRxMeanings{
    Meaning{Offload::kRxChecksum, mempool::kRxChecksumGood | mempool::kRxChecksumBad},
    Meaning{Offload::kRxVlanStrip, mempool::kRxVlanStripped},
    Meaning{Offload::kRxHash, mempool::kRxHashValid},
    Meaning{Offload::kRxTimestamp, mempool::kRxTimestampKept},
};
constexpr std::array kTxMeanings{
    Meaning{Offload::kTxChecksum, mempool::kTxChecksum},
    Meaning{Offload::kTxIpChecksum, mempool::kTxIpChecksum},
    Meaning{Offload::kTxSegment, mempool::kTxSegment},
    Meaning{Offload::kTxVlanInsert, mempool::kTxVlanInsert},
    Meaning{Offload::kTxSctpChecksum, mempool::kTxSctpChecksum},
};

template <class Meanings>
std::uint32_t bits_of(const Meanings& meanings, Offloads offloads) noexcept {
  std::uint32_t bits = 0;
  for (const Meaning& meaning : meanings) bits |= offloads.has(meaning.offload) ? meaning.bits : 0;
  return bits;
}

/// Several queues are fed by RSS alone, and the hash is RSS's.
bool needs_rss(const StartRequest& request) noexcept {
  return request.rx_queues > 1 || request.offloads.has(Offload::kRss) ||
         request.offloads.has(Offload::kRxHash);
}

}  // namespace

std::uint32_t rx_notes(Offloads offloads) noexcept { return bits_of(kRxMeanings, offloads); }
std::uint32_t tx_offloads(Offloads offloads) noexcept { return bits_of(kTxMeanings, offloads); }

Result<RegisterBlock*> Device::take(PciFunction& function, const Model& model) {
  auto registers = function.bar(0);
  if (!registers) return fail(std::move(registers));
  if ((*registers)->size() < model.family->register_bytes) {
    return fail(Errc::kBadDevice, fmt::format("BAR 0 of {} bytes", (*registers)->size()), function.name(), 0,
                fmt::format("{} has {} bytes of registers", model.name, model.family->register_bytes));
  }
  // QUIRK(QEMU): the e1000 models ignore CTRL.RST, so what a former driver wrote is left to the bus's reset.
  if (auto done = function.reset(); !done) log(LogLevel::kInfo, done.error().message());
  return *registers;
}

Result<std::unique_ptr<Device>> Device::open(std::unique_ptr<PciFunction> function, const Model& model) {
  auto registers = take(*function, model);
  if (!registers) return fail(std::move(registers));
  std::unique_ptr<Device> device(new Device(std::move(function), model, **registers));
  if (auto done = device->reset(); !done) return fail(std::move(done));
  if (auto done = device->read_address(); !done) return fail(std::move(done));
  device->describe();
  return device;
}

void Device::describe() {
  const Family& of = family();
  info_.name = name();
  info_.driver = model_->name;
  info_.iommu_group = function_->iommu_group();
  info_.numa_node = function_->numa_node();
  info_.max_rx_queues = of.rss.entries == 0 ? std::uint16_t{1} : of.queues;
  info_.max_tx_queues = of.queues;
  info_.max_rx_ring = kMaxRing;
  info_.max_tx_ring = kMaxRing;
  info_.max_mtu = of.max_mtu;
  info_.offloads = of.offloads;
  info_.rss_table = of.rss.entries;
}

Result<void> Device::check() { return check_there(); }

Result<void> Device::check_there() const {
  if (mmio::read<Status>(*registers_).raw != Status::kGone) return {};
  return fail(Errc::kRemoved, "reading STATUS", name(), 0, "The device was unplugged or its bus is down");
}

/// Neither receives nor sends nor interrupts from here on.
void Device::quiesce() {
  mmio::write(*registers_, Imc{0xFFFF'FFFF});
  mmio::write(*registers_, Rctl{});
  mmio::write(*registers_, Tctl::kPsp(1));
  if (!family().express) return;
  // [82574] 3.1.3.10, [82576] 5.2.3.3: a device that is reset amid a request hangs the bus.
  mmio::write(*registers_, mmio::read<Ctrl>(*registers_) | Ctrl::kGioMasterDisable(1));
  const auto silent = [&] { return Status::kGioMasterEnable.get(mmio::read<Status>(*registers_)) == 0; };
  if (!wait_until(silent, Deadline(100ms))) log(LogLevel::kWarning, name() + ": requests are still pending");
}

/// [8254x] 14.2, [82574] 4.6.2, [82576] 4.5.3: interrupts off, reset, interrupts off.
Result<void> Device::reset() {
  if (auto there = check(); !there) return there;
  quiesce();
  mmio::write(*registers_, mmio::read<Ctrl>(*registers_) | Ctrl::kRst(1));
  // [8254x] 13.4.1: registers must be left alone for a moment; the NVM is read again within 5 ms.
  std::this_thread::sleep_for(5ms);
  const auto done = [&] { return Ctrl::kRst.get(mmio::read<Ctrl>(*registers_)) == 0; };
  if (!wait_until(done, Deadline(1s))) {
    if (auto there = check(); !there) return there;
    return fail(Errc::kTimeout, "reset: CTRL.RST stays set", name());
  }
  if (family().express) {
    // QUIRK(QEMU): igb has no AUTO_RD. The NVM's own checksum is looked at anyway.
    const auto read = [&] { return Eecd::kAutoRd.get(mmio::read<Eecd>(*registers_)) != 0; };
    (void)wait_until(read, Deadline(20ms), 1ms);
    mmio::write(*registers_, mmio::read<CtrlExt>(*registers_) | CtrlExt::kDrvLoad(1));
  }
  mmio::write(*registers_, Imc{0xFFFF'FFFF});
  (void)mmio::read<Icr>(*registers_);
  return {};
}

/// The device has read its address from the NVM at reset: [8254x] 13.5.2. If not, we do.
Result<void> Device::read_address() {
  Nvm nvm(*registers_, family().nvm, name());
  const auto words =
      family().nvm.done == 0 ? fail(Errc::kUnsupported, "reading the NVM", name()) : nvm.read_all();
  const bool sound = words && Nvm::is_sound(*words);
  if (!sound && family().nvm.done != 0)
    log(LogLevel::kWarning, name() + (words ? ": the NVM's checksum is wrong" : ": no NVM"));
  const std::uint32_t low = mmio::read<Ral>(*registers_).raw;
  const Rah high = mmio::read<Rah>(*registers_);
  for (std::size_t i = 0; i < info_.mac.size(); ++i) {
    info_.mac[i] = static_cast<std::uint8_t>((i < 4 ? low : Rah::kAddress.get(high)) >> 8 * (i % 4));
  }
  if (Rah::kAv.get(high) != 0 && is_unicast(info_.mac)) return {};
  if (sound && is_unicast(Nvm::address(*words))) {
    info_.mac = Nvm::address(*words);
    return {};
  }
  return fail(Errc::kBadDevice, "reading the MAC address", name(), 0,
              "Neither RAL/RAH nor the NVM have a valid one: the NVM must be written again");
}

Result<std::uint16_t> Device::ring_size(std::uint16_t wanted) const {
  if (wanted == 0) return kDefaultRing;
  if (wanted >= kMinRing && wanted <= kMaxRing && wanted % 8 == 0) return wanted;
  return fail(Errc::kBadArgument, fmt::format("a ring of {}", wanted), name(), 0,
              fmt::format("The ring size must be a multiple of 8 from {} to {}", kMinRing, kMaxRing));
}

std::uint16_t Device::rx_buffer(std::uint32_t room) const noexcept {
  constexpr std::uint32_t kStep = 1024;  // [82576] 8.10.2: BSIZEPACKET
  if (family().queue_enable && room >= kStep) {
    return static_cast<std::uint16_t>(std::min<std::uint32_t>(room / kStep * kStep, kBufferSizes[0].bytes));
  }
  if (family().virtual_function) return 0;  // RCTL.BSIZE is the physical function's
  const auto* const fits = std::find_if(kBufferSizes.begin(), kBufferSizes.end(),
                                        [&](const BufferSize& size) { return size.bytes <= room; });
  return fits == kBufferSizes.end() ? std::uint16_t{0} : fits->bytes;
}

Result<void> Device::check_request(const StartRequest& request) const {
  if (const Offloads more = request.offloads.without(info_.offloads); !more.empty()) {
    return fail(Errc::kUnsupported, "offloads " + to_string(more), name(), 0,
                "The device offers: " + to_string(info_.offloads));
  }
  const std::vector<std::uint16_t>& table = request.rss.table;
  if (needs_rss(request) && !table.empty() &&
      (!std::has_single_bit(table.size()) || table.size() > info_.rss_table ||
       *std::max_element(table.begin(), table.end()) >= request.rx_queues)) {
    return fail(Errc::kBadArgument, fmt::format("an RSS table of {} entries", table.size()), name(), 0,
                fmt::format("It has a power of two up to {} entries, each an rx queue that is started",
                            info_.rss_table));
  }
  if (request.mtu > info_.max_mtu) {
    return fail(Errc::kBadArgument, fmt::format("an MTU of {}", request.mtu), name(), 0,
                fmt::format("The device takes up to {}", info_.max_mtu));
  }
  return {};
}

Result<void> Device::prepare(const StartRequest& request) {
  if (auto ok = check_request(request); !ok) return ok;
  // [8254x] 13.4.1: CTRL.VME is for both directions.
  if (request.offloads.has(Offload::kTxVlanInsert) && !request.offloads.has(Offload::kRxVlanStrip)) {
    return fail(Errc::kUnsupported, "offload tx-vlan-insert without rx-vlan-strip", name(), 0,
                "The device inserts VLAN tags only while it strips them as well: ask for both");
  }
  if (auto done = reset(); !done) return done;
  running_ = true;
  promiscuous_ = request.promiscuous;
  all_multicast_ = false;
  vlan_filter_ = request.vlan_filter;
  if (auto done = function_->set_bus_master(true); !done) return done;
  // [8254x] 13.4.1: the link comes up by autonegotiation alone.
  Ctrl ctrl = mmio::read<Ctrl>(*registers_);
  for (const auto field :
       {Ctrl::kLrst(1), Ctrl::kIlos(1), Ctrl::kFrcspd(1), Ctrl::kFrcdplx(1), Ctrl::kRfce(1), Ctrl::kTfce(1),
        Ctrl::kPhyRst(1), Ctrl::kGioMasterDisable(1), Ctrl::kVme(1)}) {
    ctrl.raw &= ~field.raw;
  }
  if (!family().express) ctrl = ctrl | Ctrl::kAsde(1);
  if (request.offloads.has(Offload::kRxVlanStrip)) ctrl = ctrl | Ctrl::kVme(1);
  mmio::write(*registers_, ctrl | Ctrl::kSlu(1));
  if (auto done = start_link(); !done) return done;
  clear_filters();
  write_address(0, info_.mac, true);
  set_up_receive(request);
  set_up_transmit();
  if (request.mtu != 0) mtu_ = request.mtu;
  apply_flow_control();
  if (request.offloads.has(Offload::kRxTimestamp)) set_up_timestamps();
  statistics_.restart(*registers_);
  return {};
}

/// A link that is up is left so.
Result<void> Device::start_link() {
  if (link().up) return {};
  // QUIRK(QEMU): igb sets STATUS.LU only at the end of an autonegotiation that was asked for.
  return Phy(*registers_, name(), family().phy_lock).restart_autonegotiation();
}

void Device::set_up_receive(const StartRequest& request) {
  const std::uint16_t mtu = request.mtu == 0 ? kStandardMtu : request.mtu;
  const bool jumbo = mtu > kStandardMtu;
  const auto* const size =
      std::find_if(kBufferSizes.begin(), kBufferSizes.end(),
                   [&](const BufferSize& candidate) { return candidate.bytes <= request.buffer; });
  Rctl rctl = size->fields | Rctl::kBam(1) | Rctl::kSecrc(1) | Rctl::kLpe(jumbo ? 1 : 0) |
              Rctl::kVfe(vlan_filter_ ? 1 : 0) | Rctl::kUpe(promiscuous_ ? 1 : 0) |
              Rctl::kMpe(promiscuous_ ? 1 : 0);
  mmio::write(*registers_, rctl);
  const bool checksum = request.offloads.has(Offload::kRxChecksum);
  const bool hash = needs_rss(request);
  mmio::write(*registers_,
              Rxcsum::kIpofl(checksum ? 1 : 0) | Rxcsum::kTuofl(checksum ? 1 : 0) |
                  Rxcsum::kCrcofl(checksum && info_.offloads.has(Offload::kTxSctpChecksum) ? 1 : 0) |
                  Rxcsum::kPcsd(hash ? 1 : 0));
  if (family().extended_rx) mmio::write(*registers_, mmio::read<Rfctl>(*registers_) | Rfctl::kExsten(1));
  // [82576] 8.2.7 has two types in VET, which are right after a reset.
  constexpr std::uint32_t kVlanType = 0x8100;
  if (!family().queue_enable) mmio::write(*registers_, Vet{kVlanType});
  constexpr std::uint32_t kFcs = 4;
  if (family().queue_enable) mmio::write(*registers_, Rlpml{longest_frame(mtu) + kFcs});
  if (family().rss.entries != 0) mmio::write(*registers_, Mrqc{});
  if (hash) set_up_rss(request);
}

/// [82574] 7.1.11, [82576] 7.1.2.8: key, redirection table, then what is hashed.
void Device::set_up_rss(const StartRequest& request) {
  const RssLayout& layout = family().rss;
  for (std::uint64_t i = 0; i < kRssKeyBytes; i += 4) {
    std::uint32_t word = 0;
    for (unsigned byte = 0; byte < 4; ++byte) word |= std::uint32_t{request.rss.key[i + byte]} << 8 * byte;
    mmio::write(*registers_, Rssrk{word}, i);
  }
  const std::vector<std::uint16_t>& table = request.rss.table;
  for (std::uint64_t i = 0; i < layout.entries; i += 4) {
    std::uint32_t word = 0;
    for (unsigned entry = 0; entry < 4; ++entry) {
      const std::size_t at = i + entry;
      const std::size_t queue = table.empty() ? at % request.rx_queues : table[at % table.size()];
      word |= static_cast<std::uint32_t>(queue) << layout.queue_shift << 8 * entry;
    }
    mmio::write(*registers_, Reta{word}, i);
  }
  std::uint32_t fields = 0;
  for (const RssLayout::Type& type : layout.types) {
    if ((request.rss.types & type.type) != 0) fields |= type.fields;
  }
  mmio::write(*registers_, Mrqc::kEnable(layout.enable) | Mrqc::kFields(fields));
}

void Device::set_up_transmit() {
  // [8254x] 13.4.33: as recommended for full duplex.
  constexpr std::uint32_t kCollisionThreshold = 0x0F;
  constexpr std::uint32_t kCollisionDistance = 0x40;
  mmio::write(*registers_, Tctl::kPsp(1) | Tctl::kCt(kCollisionThreshold) | Tctl::kCold(kCollisionDistance));
  if (family().tipg != 0) mmio::write(*registers_, Tipg{family().tipg});
}

/// [8254x] 14.4 and 14.5, [82576] 4.5.9 and 4.5.10: ring first, then ENABLE where a queue has one, which
/// takes a while. Tail moves only afterwards.
Result<Doorbell> Device::enable_queue(std::uint64_t base, const Ring& ring, std::uint32_t control) {
  const std::uint64_t address = to_u64(ring.address);
  mmio::write(*registers_, queue::Dbal{static_cast<std::uint32_t>(address)}, base);
  mmio::write(*registers_, queue::Dbah{static_cast<std::uint32_t>(address >> 32)}, base);
  mmio::write(*registers_, queue::Dlen{std::uint32_t{ring.size} * kDescriptorBytes}, base);
  mmio::write(*registers_, queue::Dh{0}, base);
  mmio::write(*registers_, queue::Dt{0}, base);
  if (family().queue_enable) {
    mmio::write(*registers_, queue::Dctl{control} | queue::Dctl::kEnable(1), base);
    const auto on = [&] { return queue::Dctl::kEnable.get(mmio::read<queue::Dctl>(*registers_, base)) != 0; };
    if (!wait_until(on, Deadline(100ms))) {
      return fail(Errc::kTimeout, fmt::format("queue at {:#x}: ENABLE stays clear", base), name());
    }
  } else {
    mmio::write(*registers_, queue::Dctl{control}, base);
  }
  return function_->doorbell(0, base + queue::kTail, 32);
}

Result<Doorbell> Device::enable_rx(std::uint16_t index, const Ring& ring, std::uint16_t buffer) {
  const std::uint64_t base = rx_block(index);
  if (family().queue_enable) {
    // BSIZEPACKET 0: RCTL.BSIZE holds.
    mmio::write(*registers_,
                queue::Srrctl::kBsizepacket(buffer / 1024U) |
                    queue::Srrctl::kDesctype(queue::Srrctl::kAdvancedOneBuffer),
                base);
  }
  return enable_queue(base, ring, 0);
}

Result<Doorbell> Device::enable_tx(std::uint16_t index, const Ring& ring) {
  return enable_queue(tx_block(index), ring, family().txdctl);
}

Result<void> Device::run() {
  if (auto armed = arm_link_event(); !armed) return armed;
  mmio::write(*registers_, mmio::read<Tctl>(*registers_) | Tctl::kEn(1));
  mmio::write(*registers_, mmio::read<Rctl>(*registers_) | Rctl::kEn(1));
  return {};
}

void Device::stop() noexcept {
  if (!std::exchange(running_, false)) return;
  statistics_.collect(*registers_);
  if (auto done = reset(); !done) log(LogLevel::kWarning, done.error().message());
  if (auto done = function_->set_bus_master(false); !done) log(LogLevel::kWarning, done.error().message());
}

std::vector<NamedStat> Device::extended_stats() {
  if (running_) statistics_.collect(*registers_);
  return statistics_.report();
}

std::vector<RegisterDump> Device::registers(std::uint16_t rx_queues, std::uint16_t tx_queues) const {
  return dump(*registers_, family(), rx_queues, tx_queues);
}

LinkState Device::link() {
  const Status status = mmio::read<Status>(*registers_);
  if (status.raw == Status::kGone || Status::kLu.get(status) == 0) return {};
  constexpr std::array<std::uint32_t, 4> kSpeeds{10, 100, 1000, 1000};
  return {.up = true,
          .speed_mbps = kSpeeds[Status::kSpeed.get(status)],
          .full_duplex = Status::kFd.get(status) != 0};
}

}  // namespace spinring::pmd::e1000
