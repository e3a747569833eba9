// The one interrupt that the driver wants: the link's. Frames are polled for.

#include <unistd.h>

#include "base/log.hpp"
#include "pmd/e1000/device.hpp"
#include "pmd/e1000/registers.hpp"

namespace spinring::pmd::e1000 {
namespace {

constexpr unsigned kVector = 0;

}  // namespace

/// Whether the bus has chosen MSI-X: PCI local bus 3.0, 6.8.2.
Result<bool> Device::uses_msix() {
  constexpr std::uint16_t kCapabilities = 0x34;
  constexpr std::uint32_t kMsix = 0x11;
  constexpr std::uint32_t kEnable = 1U << 31;  // of Message Control, above id and next pointer
  constexpr unsigned kMostCapabilities = 48;   // as many as fit; a device may make a ring of them
  auto at = function_->read_config(kCapabilities, 1);
  for (unsigned left = kMostCapabilities; at && *at >= 0x40 && left > 0; --left) {
    auto head = function_->read_config(static_cast<std::uint16_t>(*at & 0xFCU), 4);
    if (!head) return fail(std::move(head));
    if ((*head & 0xFFU) == kMsix) return (*head & kEnable) != 0;
    at = *head >> 8 & 0xFFU;
  }
  if (!at) return fail(std::move(at));
  return false;
}

Result<void> Device::arm_link_event() {
  if (vectors_ == 0) {
    auto vectors = function_->enable_interrupts(1);
    if (!vectors) return fail(std::move(vectors));
    vectors_ = *vectors;
  }
  if (vectors_ == 0) return {};
  auto msix = uses_msix();
  if (!msix) return fail(std::move(msix));
  Ims causes = Ims::kLsc(1);
  if (*msix && family().msix == MsixRoute::k82574) {
    mmio::write(*registers_, mmio::read<CtrlExt>(*registers_) | CtrlExt::kPbaClr(1));
    mmio::write(*registers_, Ivar82574::kOtherVector(kVector) | Ivar82574::kOtherValid(1));
    causes = causes | Ims::kOther(1);
  } else if (*msix && family().msix == MsixRoute::k82576) {
    mmio::write(*registers_, Gpie::kMultipleMsix(1) | Gpie::kNsicr(1));
    mmio::write(*registers_, IvarMisc::kOtherVector(kVector) | IvarMisc::kOtherValid(1));
    mmio::write(*registers_, Eims{1U << kVector});
  }
  mmio::write(*registers_, causes);
  return {};
}

int Device::link_event_fd() const noexcept { return vectors_ == 0 ? -1 : function_->interrupt_fd(kVector); }

void Device::acknowledge_link_event() noexcept {
  const int fd = link_event_fd();
  std::uint64_t count = 0;
  if (fd < 0 || ::read(fd, &count, sizeof(count)) < 0) return;  // nothing had happened
  // The cause first, or the vector's would come again.
  mmio::write(*registers_, mmio::read<Icr>(*registers_));
  if (family().msix == MsixRoute::k82576) mmio::write(*registers_, Eicr{1U << kVector});
  auto unmasked = function_->unmask_interrupt(kVector);
  if (!unmasked) log(LogLevel::kWarning, unmasked.error().message());
}

}  // namespace spinring::pmd::e1000
