#include "vfio_glue/irq.hpp"

#include <fmt/format.h>
#include <linux/vfio.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "vfio_glue/errors.hpp"
#include "vfio_glue/info_chain.hpp"

namespace spinring::vfio_glue {
namespace {

static_assert(static_cast<int>(IrqKind::kIntx) == VFIO_PCI_INTX_IRQ_INDEX);
static_assert(static_cast<int>(IrqKind::kMsi) == VFIO_PCI_MSI_IRQ_INDEX);
static_assert(static_cast<int>(IrqKind::kMsix) == VFIO_PCI_MSIX_IRQ_INDEX);
static_assert(static_cast<int>(IrqKind::kError) == VFIO_PCI_ERR_IRQ_INDEX);
static_assert(static_cast<int>(IrqKind::kRequest) == VFIO_PCI_REQ_IRQ_INDEX);

/// struct vfio_irq_set with the eventfds behind it.
std::vector<std::byte> trigger_request(IrqKind kind, const std::vector<Fd>& events) {
  std::vector<std::byte> request(sizeof(vfio_irq_set) + events.size() * sizeof(std::int32_t));
  auto header = zeroed<vfio_irq_set>();
  header.argsz = static_cast<std::uint32_t>(request.size());
  header.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
  header.index = static_cast<std::uint32_t>(kind);
  header.count = static_cast<std::uint32_t>(events.size());
  std::memcpy(request.data(), &header, sizeof(header));
  std::byte* at = request.data() + sizeof(header);
  for (const Fd& event : events) {
    const std::int32_t fd = event.get();
    std::memcpy(at, &fd, sizeof(fd));
    at += sizeof(fd);
  }
  return request;
}

}  // namespace

const char* to_string(IrqKind kind) noexcept {
  switch (kind) {
    case IrqKind::kIntx:
      return "INTx";
    case IrqKind::kMsi:
      return "MSI";
    case IrqKind::kMsix:
      return "MSI-X";
    case IrqKind::kError:
      return "error";
    case IrqKind::kRequest:
      return "request";
  }
  return "unknown";
}

Result<unsigned> count_irqs(Sys& sys, int device_fd, const std::string& name, IrqKind kind) {
  auto info = zeroed<vfio_irq_info>();
  info.argsz = sizeof(info);
  info.index = static_cast<std::uint32_t>(kind);
  const SysResult<int> done = ioctl_with(sys, device_fd, VFIO_DEVICE_GET_IRQ_INFO, &info);
  if (!done) {
    // EINVAL: this function has none of that kind (ERR on a function that is not PCI Express).
    if (done.error() == EINVAL) return 0U;
    return fail(Errc::kKernel, fmt::format("VFIO_DEVICE_GET_IRQ_INFO {}", to_string(kind)), name,
                done.error());
  }
  return (info.flags & VFIO_IRQ_INFO_EVENTFD) != 0 ? info.count : 0U;
}

Result<IrqVectors> IrqVectors::arm(Sys& sys, int device_fd, const std::string& name, IrqKind kind,
                                   unsigned count) {
  const std::string operation = fmt::format("arming {} {} vectors", count, to_string(kind));
  Result<unsigned> available = count_irqs(sys, device_fd, name, kind);
  if (!available) return fail(std::move(available));
  if (count == 0 || *available == 0) return fail(Errc::kNoInterrupt, operation, name);

  IrqVectors vectors(sys, device_fd, name, kind);
  for (unsigned i = 0; i < std::min(count, *available); ++i) {
    SysResult<Fd> event = sys.eventfd();
    if (!event) return fail(Errc::kKernel, "eventfd", name, event.error());
    vectors.events_.push_back(std::move(*event));
  }
  // A positive answer says that the machine has only so many vectors left, and none is armed: try with those.
  // It shrinks each time, so this ends.
  while (!vectors.events_.empty()) {
    std::vector<std::byte> request = trigger_request(kind, vectors.events_);
    const SysResult<int> done = ioctl_with(sys, device_fd, VFIO_DEVICE_SET_IRQS, request.data());
    if (!done) {
      return fail(Errc::kKernel, fmt::format("VFIO_DEVICE_SET_IRQS: {}", operation), name, done.error());
    }
    if (*done == 0) {
      vectors.armed_ = true;
      return vectors;
    }
    if (static_cast<std::size_t>(*done) >= vectors.events_.size()) break;
    vectors.events_.resize(static_cast<std::size_t>(*done));
  }
  return fail(Errc::kNoInterrupt, operation, name, 0, "The machine has no interrupt vectors left");
}

IrqVectors::IrqVectors(IrqVectors&& other) noexcept
    : sys_(other.sys_),
      fd_(other.fd_),
      name_(std::move(other.name_)),
      kind_(other.kind_),
      events_(std::move(other.events_)),
      armed_(std::exchange(other.armed_, false)) {}

IrqVectors::~IrqVectors() {
  // DATA_NONE, count 0, ACTION_TRIGGER takes all vectors of the kind down. If it fails, closing the device
  // does the same.
  if (!armed_) return;
  auto request = zeroed<vfio_irq_set>();
  request.argsz = sizeof(request);
  request.flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER;
  request.index = static_cast<std::uint32_t>(kind_);
  static_cast<void>(ioctl_with(*sys_, fd_, VFIO_DEVICE_SET_IRQS, &request));
}

int IrqVectors::event_fd(unsigned vector) const noexcept {
  return vector < events_.size() ? events_[vector].get() : -1;
}

Result<void> IrqVectors::act(std::uint32_t action, const char* operation) const {
  auto request = zeroed<vfio_irq_set>();
  request.argsz = sizeof(request);
  request.flags = VFIO_IRQ_SET_DATA_NONE | action;
  request.index = static_cast<std::uint32_t>(kind_);
  request.count = 1;
  const SysResult<int> done = ioctl_with(*sys_, fd_, VFIO_DEVICE_SET_IRQS, &request);
  if (done) return {};
  return fail(Errc::kKernel, fmt::format("VFIO_DEVICE_SET_IRQS: {} {}", operation, to_string(kind_)), name_,
              done.error());
}

Result<void> IrqVectors::mask() const { return act(VFIO_IRQ_SET_ACTION_MASK, "masking"); }
Result<void> IrqVectors::unmask() const { return act(VFIO_IRQ_SET_ACTION_UNMASK, "unmasking"); }

}  // namespace spinring::vfio_glue
