#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.hpp"
#include "bench/vhost/limit/frames.hpp"
#include "mempool/memory.hpp"
#include "pmd/virtio/transport.hpp"
#include "pmd/virtio/vhost_user/config.hpp"

namespace spinring::bench::limit {

/// A vhost-user port without a driver: the project's transport brings one queue pair up, and who drives it is
/// not said. Control thread.
class FrontEnd {
 public:
  /// Connects, negotiates what `config` names and nothing else, and has memory for rings and buffers.
  static Result<FrontEnd> open(const pmd::virtio::vhost_user::Config& config, std::uint16_t buffers);

  [[nodiscard]] std::byte* rx() const noexcept { return rx_.data(); }
  [[nodiscard]] std::byte* tx() const noexcept { return tx_.data(); }
  [[nodiscard]] const Buffers& buffers() const noexcept { return buffers_; }

  /// The device runs from now on.
  Result<void> start();
  /// Whether the other side is there still.
  [[nodiscard]] bool alive() const;

 private:
  FrontEnd() = default;
  [[nodiscard]] Result<void> negotiate(const pmd::virtio::vhost_user::Config& config);
  [[nodiscard]] Result<void> add_queue(std::uint16_t index, std::uint16_t size, bool packed,
                                       mempool::DmaBlock& ring);

  // Teardown runs upwards: the switch lets go of the memory before it goes.
  std::unique_ptr<mempool::Memory> memory_;
  mempool::DmaBlock rx_;
  mempool::DmaBlock tx_;
  mempool::DmaBlock storage_;
  std::vector<std::uint32_t> places_;
  std::unique_ptr<pmd::virtio::Transport> transport_;
  Doorbell receive_doorbell_;
  Buffers buffers_;
};

}  // namespace spinring::bench::limit
