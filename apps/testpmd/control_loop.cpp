#include "apps/testpmd/control_loop.hpp"

#include <poll.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "apps/testpmd/commands.hpp"

namespace spinring::testpmd {
namespace {

using namespace std::chrono_literals;

/// Between looks at the devices' fault bits.
constexpr auto kTick = 100ms;
/// Between reads of a link that reports no events, in ticks.
constexpr unsigned kTicksPerLinkPoll = 5;

int to_ms(Clock::duration duration) {
  // Rounded up: a wait that ends early would only be repeated.
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(duration).count();
  return static_cast<int>(std::clamp<decltype(ms)>(ms, 0, 60'000));
}

Clock::duration seconds(double count) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(count));
}

}  // namespace

ControlLoop::ControlLoop(Session& session, const StopSignals& signals, Prompt* prompt, Print print)
    : session_(session),
      signals_(signals),
      prompt_(prompt),
      print_(print),
      link_events_(session.port_count()),
      removals_(session.port_count()),
      next_tick_(Clock::now() + kTick),
      last_print_(Clock::now()),
      last_report_(session.report()) {}

Result<void> ControlLoop::run() {
  const ForwardOptions& options = session_.options();
  while (!end_) {
    wait();
    if (signals_.received() != nullptr) {
      spdlog::info("{}: ending", signals_.received());
      return {};
    }
    if (auto ok = serve_port_events(); !ok) return ok;
    if (prompt_ready_) serve_prompt();
    if (Clock::now() >= next_tick_) {
      if (auto ok = tick(); !ok) return ok;
    }
    if (options.stats_period_s > 0 && Clock::now() - last_print_ >= seconds(options.stats_period_s)) {
      print_period();
    }
    if (!session_.any_port_left()) {
      spdlog::warn("no port is left");
      return {};
    }
    if (options.duration_s > 0 && session_.duration_s() >= options.duration_s) return {};
  }
  return {};
}

int ControlLoop::timeout_ms() const {
  const ForwardOptions& options = session_.options();
  Clock::duration wait = next_tick_ - Clock::now();
  if (options.stats_period_s > 0) {
    wait = std::min(wait, last_print_ + seconds(options.stats_period_s) - Clock::now());
  }
  if (options.duration_s > 0 && session_.forwarding()) {
    wait = std::min(wait, seconds(options.duration_s - session_.duration_s()));
  }
  return to_ms(wait);
}

void ControlLoop::wait() {
  // The descriptors change as ports restart and go, so they are listed anew each time: ten times a second.
  std::vector<pollfd> watched{{signals_.fd(), POLLIN, 0}};
  prompt_ready_ = false;
  std::vector<std::pair<std::vector<bool>*, std::size_t>> meaning{{nullptr, 0}};
  const auto watch = [&](int fd, std::vector<bool>* events, std::size_t port) {
    if (fd < 0) return;
    watched.push_back({fd, POLLIN, 0});
    meaning.emplace_back(events, port);
  };
  for (std::size_t port = 0; port < session_.port_count(); ++port) {
    link_events_[port] = false;
    removals_[port] = false;
    PortSlot& slot = session_.port(port);
    if (!slot.present()) continue;
    watch(slot.port().link_event_fd(), &link_events_, port);
    watch(slot.port().removal_fd(), &removals_, port);
  }
  if (prompt_ != nullptr) watch(prompt_->fd(), nullptr, 0);

  if (::poll(watched.data(), watched.size(), timeout_ms()) <= 0) return;
  for (std::size_t i = 1; i < watched.size(); ++i) {
    if (watched[i].revents == 0) continue;
    if (meaning[i].first == nullptr) {
      prompt_ready_ = true;
    } else {
      (*meaning[i].first)[meaning[i].second] = true;
    }
  }
}

Result<void> ControlLoop::serve_port_events() {
  for (std::size_t port = 0; port < session_.port_count(); ++port) {
    PortSlot& slot = session_.port(port);
    if (removals_[port]) {
      if (auto ok = session_.remove_port(slot); !ok) return ok;
    } else if (link_events_[port]) {
      slot.port().acknowledge_link_event();
      session_.refresh_link(slot);
    }
  }
  return {};
}

void ControlLoop::serve_prompt() {
  std::vector<std::string> lines;
  const bool more = prompt_->read(lines);
  for (const std::string& line : lines) {
    const CommandResult result = execute(session_, line);
    print_(result.text);
    if (result.quit) {
      end_ = true;
      return;
    }
  }
  if (!more) end_ = true;
}

Result<void> ControlLoop::tick() {
  next_tick_ = Clock::now() + kTick;
  ++ticks_;
  if (auto ok = session_.check_ports(); !ok) return ok;
  for (std::size_t port = 0; port < session_.port_count(); ++port) {
    PortSlot& slot = session_.port(port);
    const bool polled = slot.present() && slot.port().link_event_fd() < 0;
    if (polled && ticks_ % kTicksPerLinkPoll == 0) session_.refresh_link(slot);
  }
  return {};
}

void ControlLoop::print_period() {
  const Clock::time_point now = Clock::now();
  Report report = session_.report();
  print_(to_rates(last_report_, report, std::chrono::duration<double>(now - last_print_).count()));
  last_print_ = now;
  last_report_ = std::move(report);
}

}  // namespace spinring::testpmd
