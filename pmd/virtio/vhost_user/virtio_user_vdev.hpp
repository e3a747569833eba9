#pragma once

#include <string_view>

#include "base/result.hpp"
#include "pmd/virtio/vhost_user/config.hpp"

namespace spinring::pmd::virtio::vhost_user {

/// A port on a vhost-user socket as DPDK's users name it on a command line:
/// `virtio_user0,path=/tmp/vhost.sock,queues=2,queue_size=1024,server=1`. `net_virtio_user0` is the same.
///
/// | key | value |
/// | --- | --- |
/// | path | the unix socket; it must be given |
/// | queues | queue pairs, 1 to 128; 1 if not given |
/// | queue_size | entries of a ring, a power of two; 256 if not given |
/// | server | 1: listen at path and let the switch connect; 0 if not given |
/// | mac | the port's address; one is made up if not given |
/// | mrg_rxbuf | 0: do not negotiate VIRTIO_NET_F_MRG_RXBUF; 1 if not given |
/// | in_order | 0: do not negotiate VIRTIO_F_IN_ORDER; 1 where the driver has it, if not given |
/// | packed, packed_vq | 1: negotiate VIRTIO_F_RING_PACKED; 0 if not given |
/// | aligned | 0: received frames do not begin on a cache line; Config::aligned_frames; 1 if not given |

/// True if a --vdev string is for this transport: its name begins with "virtio_user" or "net_virtio_user".
[[nodiscard]] bool is_virtio_user_vdev(std::string_view text) noexcept;

/// Errors: Errc::kBadArgument, which name the part that is wrong and what it may be; Errc::kUnsupported for a
/// feature that the driver does not have.
[[nodiscard]] Result<Config> parse_virtio_user_vdev(std::string_view text);

}  // namespace spinring::pmd::virtio::vhost_user
