// The fuzzer writes what a device shows before it runs: configuration space with its capability list, queue
// sizes, doorbell offsets, features and the device configuration. The driver refuses it with an error that
// has a text, or runs; either way it reaches outside no BAR and leaves nothing behind (the rig looks).

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <stdexcept>

#include "tests/fuzz/fuzz_input.hpp"
#include "tests/unit/pmd/virtio_rig.hpp"

namespace spinring::fuzz {
namespace {

using sim::SimConfigSpace;

void require(bool good, const char* what) {
  if (!good) throw std::runtime_error(what);
}

pmd::RigConfig choose_device(FuzzInput& input) {
  static const auto memory = pmd::take_memory(512U << 10);
  pmd::RigConfig config;
  config.memory = memory;
  config.packets = 32;
  config.ring_size = input.u8() % 4 == 0 ? input.u16() : std::uint16_t{0};
  config.device.identity.device = input.u8() % 8 == 0 ? 0x1000 : 0x1041;
  config.device.max_pairs = 1 + input.u8() % 3U;
  config.device.interrupt_vectors = input.u8() % 3U;
  // Without CTRL_RX no command is sent at start: one that goes unanswered would cost a second.
  const std::uint64_t flips = std::uint64_t{input.u32()} << 32 | input.u32();
  config.device.features = (sim::SimNetConfig::kUsualFeatures ^ flips) & ~sim::feature(VIRTIO_NET_F_CTRL_RX);
  if (input.u8() % 4 != 0) config.device.features |= sim::feature(VIRTIO_F_VERSION_1);
  const auto registers = input.take(sizeof config.device.registers);
  if (!registers.empty()) std::memcpy(&config.device.registers, registers.data(), registers.size());
  return config;
}

void bend_config_space(SimConfigSpace& space, FuzzInput& input) {
  const std::uint8_t caps[] = {SimConfigSpace::kCommonCap, SimConfigSpace::kIsrCap,
                               SimConfigSpace::kDeviceCap, SimConfigSpace::kNotifyCap,
                               SimConfigSpace::kPciCfgCap};
  for (unsigned left = input.u8() % 8U; left > 0; --left) {
    const std::uint8_t cap = caps[input.u8() % std::size(caps)];
    const std::uint8_t field = input.u8() % 20U;
    space.write(static_cast<std::uint16_t>(cap + field), 1U << (input.u8() % 3U), input.u32());
  }
  for (unsigned left = input.u8() % 8U; left > 0; --left) space.bytes[input.u8()] = input.u8();
}

void bend_registers(sim::VirtioKnobs& knobs, FuzzInput& input) {
  for (unsigned left = input.u8() % 4U; left > 0; --left) knobs.queue_size[input.u8() % 8U] = input.u16();
  for (unsigned left = input.u8() % 4U; left > 0; --left) knobs.notify_off[input.u8() % 8U] = input.u16();
  if (input.u8() % 4 == 0) knobs.num_queues = input.u16();
  if (input.u8() % 4 == 0) knobs.flipping_features = std::uint64_t{input.u32()} << 32 | input.u32();
  knobs.features_ok_sticks = input.u8() % 8 != 7;
  knobs.generation_changes = input.u8() % 32;
  knobs.refuse_vectors = input.u8() % 4 == 3;
}

void run(FuzzInput input) {
  ::testing::GTEST_FLAG(throw_on_failure) = true;
  pmd::Rig rig(choose_device(input));
  rig.forgive_device();
  bend_config_space(rig.device.config_space, input);
  bend_registers(rig.device.knobs, input);
  const auto opened = rig.open();
  if (!opened) {
    require(!opened.error().message().empty(), "an error without a text");
    return;
  }
  const pmd::PortInfo& info = rig.port->info();
  require((info.mac[0] & 1U) == 0 && info.mac != pmd::MacAddress{}, "an address that cannot be one");
  require(info.max_rx_queues >= 1 && info.max_mtu >= 68, "a port that cannot work");
  for (int round = 0; round < 2; ++round) {
    if (!rig.start()) continue;
    const auto frame = pmd::make_frame(1, 60);
    if (rig.device.deliver(frame)) (void)rig.receive();
    mempool::Packet* const packet = rig.packet(frame);
    if (!rig.send(packet)) rig.cache->put_chain(packet);
    (void)rig.device.collect();
    (void)rig.port->check();
    (void)rig.port->link();
    rig.port->stop();
  }
}

}  // namespace
}  // namespace spinring::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  spinring::fuzz::run(spinring::fuzz::FuzzInput(std::span(data, size)));
  return 0;
}
