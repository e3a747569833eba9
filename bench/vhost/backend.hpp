#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "bench/vhost/memory_table.hpp"
#include "bench/vhost/packed_ring.hpp"
#include "bench/vhost/protocol.hpp"
#include "bench/vhost/split_ring.hpp"
#include "bench/vhost/traffic.hpp"

namespace spinring::bench::vhost {

struct BackendOptions {
  unsigned pairs = 1;          ///< most queue pairs
  unsigned ports = 1;          ///< devices that are to share their traffic
  std::uint64_t withheld = 0;  ///< virtio features not to offer
  bool batch_in_order = true;  ///< IN_ORDER: one used entry for a batch of TX buffers
  TrafficOptions traffic;
  std::uint64_t patience_ticks = 0;  ///< of the time-stamp counter: how long in_flight frames are waited for
};

/// What a front end negotiated.
struct Negotiated {
  std::uint64_t features = 0;
  std::uint64_t protocol = 0;

  [[nodiscard]] bool has(unsigned feature) const noexcept { return (features & bit(feature)) != 0; }
};

/// The device behind one front end: vhost-user's messages change it, pass() moves its packets. One thread
/// does both, so a ring never changes under a pass.
class Backend {
 public:
  explicit Backend(const BackendOptions& options);
  /// One more of options.ports: frames that the front end of one gets may come back to another.
  Backend(const Backend& first, unsigned number);

  [[nodiscard]] std::uint64_t offered() const noexcept { return offered_; }
  [[nodiscard]] static std::uint64_t offered_protocol() noexcept;

  /// Carries one message out. The reply, if there is to be one. An error: this front end cannot be served on.
  [[nodiscard]] Result<std::optional<Message>> handle(Message message);

  /// One pass over every running queue. True: something was completed. Hot.
  bool pass(std::uint64_t now) noexcept;

  /// Whether a queue runs that this run's traffic needs.
  [[nodiscard]] bool running() const noexcept { return running_ > 0; }
  /// Forgets rings and memory: the front end has gone. Counters stay.
  void disconnect() noexcept;

  [[nodiscard]] const Negotiated& negotiated() const noexcept { return negotiated_; }
  [[nodiscard]] const Violations& violations() const noexcept { return shared_->violations; }
  [[nodiscard]] const Traffic& traffic() const noexcept { return shared_->traffic; }
  [[nodiscard]] Traffic& traffic() noexcept { return traffic_; }
  [[nodiscard]] std::uint64_t interrupts() const noexcept { return interrupts_; }
  [[nodiscard]] std::uint16_t ring_size() const noexcept { return ring_size_; }
  [[nodiscard]] unsigned most_running() const noexcept { return most_running_; }
  /// Where the front end has a queue's ring, by its own addresses: descriptors, available and used ring.
  struct Area {
    std::uint64_t start = 0;
    std::uint64_t bytes = 0;
  };
  [[nodiscard]] std::array<Area, 3> ring_areas(std::size_t index) const noexcept;
  [[nodiscard]] std::uint64_t unknown_requests() const noexcept { return unknown_requests_; }

 private:
  using Ring = std::variant<std::monostate, SplitRing, PackedRing>;

  struct Queue {
    std::uint32_t size = 0;
    std::uint32_t base = 0;
    std::optional<VringAddress> address;
    bool started = false;
    bool enabled = false;
    Fd kick;
    Fd call;
    Ring ring;

    [[nodiscard]] bool runs() const noexcept { return enabled && ring.index() != 0; }
  };

  [[nodiscard]] Result<void> apply(Message& message);
  [[nodiscard]] Result<std::optional<std::uint64_t>> answer(const Message& message);
  [[nodiscard]] Result<void> set_features(const Message& message);
  [[nodiscard]] Result<void> set_memory(Message& message);
  [[nodiscard]] Result<void> set_vring(const Message& message);
  [[nodiscard]] Result<void> set_vring_address(const Message& message);
  [[nodiscard]] Result<void> set_vring_fd(Message& message);
  [[nodiscard]] Result<Message> vring_base(const Message& message);
  [[nodiscard]] Result<Queue*> queue_of(const Message& message, std::uint64_t index);
  [[nodiscard]] Result<void> start(std::size_t index);
  void stop(Queue& queue) noexcept;
  void recount() noexcept;

  bool serve_pair(unsigned pair, std::uint64_t now) noexcept;
  template <class R>
  void interrupt(const R& ring, const Queue& queue) noexcept;

  /// Of all ports.
  struct Shared {
    explicit Shared(const BackendOptions& options)
        : traffic(options.traffic, options.pairs * options.ports, options.patience_ticks, violations) {}
    Violations violations;
    Traffic traffic;
  };
  Backend(const BackendOptions& options, std::shared_ptr<Shared> shared, unsigned number);

  BackendOptions options_;
  std::uint64_t offered_;
  Negotiated negotiated_;
  std::shared_ptr<Shared> shared_;
  Violations& violations_;
  Traffic& traffic_;
  unsigned first_stream_;
  MemoryTable memory_;         // before the queues: their rings point into it
  std::vector<Queue> queues_;  // 2i: receiveq i, 2i+1: transmitq i (5.1.2)
  unsigned running_ = 0;
  unsigned most_running_ = 0;
  std::uint16_t ring_size_ = 0;
  std::uint64_t interrupts_ = 0;
  std::uint64_t status_ = 0;
  std::uint64_t unknown_requests_ = 0;
};

}  // namespace spinring::bench::vhost
