#pragma once

#include <system_error>

namespace spinring::pmd {

enum class Errc {
  kUnknownDevice = 1,  ///< no driver here knows this vendor and device id
  kBadDevice,          ///< the device's registers or capabilities contradict the specification
  kFeature,            ///< a feature without which the driver cannot run was refused
  kTimeout,            ///< the device did not answer before the deadline
  kRejected,           ///< the device answered a command with an error
  kUnsupported,        ///< this device or bus cannot do that
  kBadArgument,        ///< a configuration that cannot be
  kBadState,           ///< not in this state: not started, or already
  kDeviceFault,        ///< the device stopped: it asked for a reset or broke the ring's rules
  kRemoved,            ///< the device has gone
  kQemu,               ///< QEMU could not be started or has ended (qtest bus)
};

std::error_code make_error_code(Errc code) noexcept;

}  // namespace spinring::pmd

template <>
struct std::is_error_code_enum<spinring::pmd::Errc> : std::true_type {};
