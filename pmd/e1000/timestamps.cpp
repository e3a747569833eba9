// When PTP's event messages came, by the device's own clock: [82576] 7.9.

#include "pmd/e1000/device.hpp"
#include "pmd/e1000/registers.hpp"
#include "pmd/errors.hpp"

namespace spinring::pmd::e1000 {
namespace {

/// SYSTIM counts in 2^-19 ns: 16 ns, as long as a tick of the device, fit TIMINCA's increment so.
constexpr unsigned kFraction = 19;
constexpr std::uint32_t kTick = 16;

std::chrono::nanoseconds nanoseconds(std::uint32_t low, std::uint32_t high) noexcept {
  return std::chrono::nanoseconds((std::uint64_t{high} << 32 | low) >> kFraction);
}

}  // namespace

/// QUIRK(QEMU): igb looks at TSYNCRXCFG's message for every type of TSYNCRXCTL: there only Sync gets a time.
void Device::set_up_timestamps() {
  constexpr std::uint32_t kPtp = 0x88F7;
  mmio::write(*registers_, Timinca{1U << 24 | kTick << kFraction});
  mmio::write(*registers_, Systiml{});
  mmio::write(*registers_, Systimh{});
  mmio::write(*registers_, Tsyncrxcfg{});
  mmio::write(*registers_, Etqf::kEtype(kPtp) | Etqf::kFilterEnable(1) | Etqf::k1588(1));
  mmio::write(*registers_, Tsyncrxctl::kEn(1) | Tsyncrxctl::kType(Tsyncrxctl::kEventV2));
  stamps_ = true;
  (void)rx_timestamp();  // one of before would keep the others out
}

Result<void> Device::check_timestamps(const char* what) const {
  if (auto ok = check_running(what); !ok || stamps_) return ok;
  return fail(Errc::kBadState, what, name(), 0,
              "Start the port with Offload::kRxTimestamp, where it is offered");
}

Result<std::optional<std::chrono::nanoseconds>> Device::rx_timestamp() {
  if (auto ok = check_timestamps("reading a time of arrival"); !ok) return fail(std::move(ok));
  if (Tsyncrxctl::kRxtt.get(mmio::read<Tsyncrxctl>(*registers_)) == 0)
    return std::optional<std::chrono::nanoseconds>{};
  const std::uint32_t low = mmio::read<Rxstmpl>(*registers_).raw;
  const std::uint32_t high = mmio::read<Rxstmph>(*registers_).raw;
  // QUIRK(QEMU): igb lets the next time in when RXSATRH is read, [82576] 7.9.2 when RXSTMPH is.
  (void)mmio::read<Rxsatrh>(*registers_);
  return nanoseconds(low, high);
}

Result<std::chrono::nanoseconds> Device::device_time() {
  if (auto ok = check_timestamps("reading the device's clock"); !ok) return fail(std::move(ok));
  const std::uint32_t low = mmio::read<Systiml>(*registers_).raw;  // keeps the high half for the next read
  return nanoseconds(low, mmio::read<Systimh>(*registers_).raw);
}

}  // namespace spinring::pmd::e1000
