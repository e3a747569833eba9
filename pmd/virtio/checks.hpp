#pragma once

namespace spinring::pmd::virtio {

#ifdef SPINRING_MEASURE_WITHOUT_CHECKS
inline constexpr bool kChecksDevice = false;
#else
/// Whether values that the device wrote are checked. Always; to measure what that costs, `bench/` builds one
/// more forwarder without (spinring-testpmd-unchecked), which is not installed and must meet no device that
/// is not trusted.
inline constexpr bool kChecksDevice = true;
#endif

/// A check of what the device wrote: true if it is `wrong`. Every check on the data path goes through here.
[[nodiscard]] constexpr bool refused(bool wrong) noexcept { return kChecksDevice && wrong; }

}  // namespace spinring::pmd::virtio
