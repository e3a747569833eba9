#pragma once

#include <initializer_list>
#include <memory>
#include <span>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "base/time.hpp"
#include "pmd/e1000/device.hpp"
#include "pmd/e1000/mailbox.hpp"

namespace spinring::pmd::e1000 {

/// A virtual function of the 82576: [82576] 7.8. It has queues; its address, filters and longest frame are
/// kept by the physical function, which is asked by mailbox and may refuse. When the physical function is
/// reset the link is down, and check() asks for a restart once the reset is over.
class VfDevice final : public Device {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Device>> open(std::unique_ptr<PciFunction> function,
                                                            const Model& model);

  [[nodiscard]] Result<void> prepare(const StartRequest& request) override;
  [[nodiscard]] Result<void> run() override;
  void stop() noexcept override;
  [[nodiscard]] Result<void> check() override;
  [[nodiscard]] LinkState link() override;
  [[nodiscard]] std::vector<NamedStat> extended_stats() override;
  [[nodiscard]] int link_event_fd() const noexcept override;
  void acknowledge_link_event() noexcept override;

  /// Refused: a virtual function receives what is for it.
  [[nodiscard]] Result<void> set_promiscuous(bool on) override;
  [[nodiscard]] Result<void> set_all_multicast(bool on) override;
  [[nodiscard]] Result<void> set_mac(const MacAddress& mac) override;
  [[nodiscard]] Result<void> set_mac_filter(std::span<const MacAddress> addresses) override;
  [[nodiscard]] Result<void> set_vlan_filter(std::uint16_t vlan_id, bool on) override;

 private:
  VfDevice(std::unique_ptr<PciFunction> function, const Model& model, RegisterBlock& registers)
      : Device(std::move(function), model, registers), mailbox_(registers, name()) {}

  void reset_function();
  [[nodiscard]] Result<void> introduce();
  [[nodiscard]] Result<void> take_address(const MacAddress& given);
  [[nodiscard]] Result<void> arm_mailbox_event();
  void collect();

  // vf_filters.cpp
  /// Asks the physical function; `cure`: what helps if it refuses.
  [[nodiscard]] Result<void> tell(std::span<const std::uint32_t> message, const char* cure);
  [[nodiscard]] Result<void> tell(std::initializer_list<std::uint32_t> message, const char* cure) {
    return tell(std::span(message.begin(), message.size()), cure);
  }
  [[nodiscard]] Result<void> tell_address(std::uint32_t information, const MacAddress& mac, const char* cure);
  [[nodiscard]] Result<void> tell_multicast(std::span<const MacAddress> addresses);

  Mailbox mailbox_;
  Fd events_;  ///< readable when one of the vectors has fired
  Clock::time_point collected_;
  bool unicast_filters_ = false;
};

}  // namespace spinring::pmd::e1000
