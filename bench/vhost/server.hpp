#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "bench/vhost/backend.hpp"
#include "bench/vhost/channel.hpp"
#include "bench/vhost/ledger.hpp"
#include "bench/vhost/shared_stats.hpp"
#include "bench/vhost/slices.hpp"

namespace spinring::bench::vhost {

struct ServerOptions {
  std::string socket;
  std::vector<std::string> further;  ///< sockets of further ports; they listen
  bool client = false;               ///< the front end listens
  int cpu = -1;                      ///< pinned to it; -1: not pinned
  double warm_up = 0.2;
  double seconds = 1.0;      ///< measured; 0: until the front end goes or a signal comes
  double timeout = 30.0;     ///< waiting for the front end and its first frame
  double rate = 0;           ///< M frames a second given to the driver; 0: as many as it takes
  double gap = kGapSeconds;  ///< a side that is away for longer was pre-empted
  unsigned sessions = 1;     ///< front ends served, one after the other
  unsigned idle_pauses = 2;  ///< pause instructions after a pass that moved nothing
  std::string stats_file;
  std::string ledger;  ///< file of a sequence run that goes on after this process
  bool verbose = false;
  BackendOptions backend;
};

/// How a run ended, beside its figures.
enum class Ending { kDone, kDisconnected, kSignal, kNoTraffic };

/// One more measurement on the same connection.
struct Window {
  double warm_up = 0;
  double seconds = 0;
  double rate = 0;  ///< as ServerOptions::rate
};

/// Serves front ends and measures, in the calling thread.
class Server {
 public:
  /// Asked whenever the time is over, while nothing moves: what is to be measured next. None: nothing, the
  /// run ends.
  using NextWindow = std::function<std::optional<Window>(const Server&)>;

  static Result<std::unique_ptr<Server>> open(const ServerOptions& options);

  /// Until the time is over, the last front end has gone, or `interrupted` is set.
  [[nodiscard]] Result<Ending> run(const std::atomic<bool>& interrupted, const NextWindow& next_window = {});

  [[nodiscard]] const Backend& backend() const noexcept { return backend_; }
  [[nodiscard]] const Negotiated& negotiated() const noexcept { return negotiated_; }
  [[nodiscard]] SliceReport slices() const { return recorder_.report(); }
  [[nodiscard]] unsigned sessions() const noexcept { return sessions_; }

 private:
  /// A port beside the first.
  struct Further {
    Listener listener;
    Backend backend;
    std::optional<Channel> channel;
  };

  Server(const ServerOptions& options, std::unique_ptr<Listener> listener, std::unique_ptr<StatsFile> stats,
         std::optional<Ledger> ledger);
  [[nodiscard]] Result<void> add_further();

  [[nodiscard]] Result<Channel> next_front_end();
  [[nodiscard]] Result<Ending> serve(Channel& channel, const std::atomic<bool>& interrupted,
                                     const NextWindow& next_window);
  [[nodiscard]] bool go_on(const NextWindow& next_window);
  [[nodiscard]] Result<void> messages(Backend& backend, Channel& channel, int milliseconds);
  [[nodiscard]] Result<void> all_messages(Channel& channel);
  [[nodiscard]] bool pass(std::uint64_t now) noexcept;
  [[nodiscard]] bool running() const noexcept;
  void disconnect() noexcept;
  [[nodiscard]] bool measuring() noexcept;
  void drain() noexcept;
  void publish() noexcept;
  void publish_rings() noexcept;

  ServerOptions options_;
  std::unique_ptr<Listener> listener_;
  std::unique_ptr<StatsFile> stats_;
  std::optional<Ledger> ledger_;  // before the backend, which points into it
  Backend backend_;
  std::vector<Further> further_;
  SliceRecorder recorder_;
  Negotiated negotiated_;  ///< of the last front end that had a queue running
  bool flowing_ = false;
  unsigned sessions_ = 0;
};

}  // namespace spinring::bench::vhost
