#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/mmio.hpp"
#include "base/result.hpp"
#include "base/time.hpp"

namespace spinring::pmd::e1000 {

/// How long a virtual function waits for its physical one.
struct MailboxPatience {
  Clock::duration reset = std::chrono::seconds(3);          ///< for the end of its reset
  Clock::duration answer = std::chrono::seconds(2);         ///< for the answer to a message
  Clock::duration buffer = std::chrono::milliseconds(200);  ///< until it lets go of the buffer
};

/// A virtual function's mailbox, by which it asks the physical function's driver for what it cannot do
/// itself: [82576] 7.8.2.9. One message at a time; what the physical function sends by itself is taken note
/// of. The other side is not trusted: each wait has an end, and an answer is looked at before it is believed.
/// Control thread only.
class Mailbox {
 public:
  using Words = std::array<std::uint32_t, 3>;
  struct Reply {
    bool accepted = false;
    Words words{};
  };

  /// `registers` outlives this; `name` is what messages call the device.
  Mailbox(RegisterBlock& registers, const std::string& name, MailboxPatience patience = {})
      : registers_(registers), name_(name), patience_(patience) {}

  /// From the start, after a reset of the virtual function: waits until no reset of the physical one is under
  /// way. Errc::kTimeout if that takes too long.
  [[nodiscard]] Result<void> begin();
  /// Sends a message and waits for the answer to it. Errc::kTimeout without one, Errc::kDeviceFault if the
  /// physical function was reset meanwhile.
  [[nodiscard]] Result<Reply> ask(std::span<const std::uint32_t> message);
  /// Takes note of what has happened since.
  void look();

  /// The physical function is being reset: nothing can be done but wait.
  [[nodiscard]] bool resetting() const noexcept { return resetting_; }
  /// The physical function has forgotten this one, by its reset or by its driver's word: all that it was told
  /// must be told again, from begin() on.
  [[nodiscard]] bool lost() const noexcept { return lost_; }

  /// "SET_MAC_ADDR": what messages call a command.
  [[nodiscard]] static std::string name_of(std::uint32_t head);

 private:
  void gather();
  [[nodiscard]] bool lock();
  [[nodiscard]] std::optional<Words> read();
  void note(std::uint32_t head) noexcept;
  [[nodiscard]] Result<void> post(std::span<const std::uint32_t> message);

  RegisterBlock& registers_;
  const std::string& name_;
  MailboxPatience patience_;
  std::uint32_t events_ = 0;  ///< PFSTS and PFACK that have been read, and so cleared, but not served
  bool resetting_ = false;
  bool lost_ = false;
};

}  // namespace spinring::pmd::e1000
