// Devices that show what no honest device does, before they run: capabilities, registers, the bus.

#include <linux/pci_regs.h>

#include <array>
#include <utility>

#include "mempool/errors.hpp"
#include "tests/unit/pmd/virtio_rig.hpp"

namespace spinring::pmd {
namespace {

using sim::feature;
using sim::SimConfigSpace;

void expect_works(Rig& rig) {
  const Bytes frame = make_frame(1, 300);
  ASSERT_TRUE(rig.device.deliver(frame));
  EXPECT_EQ(rig.receive(), Frames{frame});
  ASSERT_TRUE(rig.send(rig.packet(frame)));
  EXPECT_EQ(rig.sent(), Frames{frame});
}

// --- the capability list ---

TEST(Capabilities, LayoutsOtherThanQemusAreFollowed) {
  RigConfig config;
  config.device.layout = {.bar = 2,
                          .bar_bytes = 0x900,
                          .common = 0x700,
                          .isr = 0x600,
                          .device = 0x100,
                          .notify = 0x300,
                          .structure_bytes = 0x100,
                          .notify_multiplier = 2};
  config.device.interrupt_vectors = 0;
  Rig rig(config);
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  expect_works(rig);
}

TEST(Capabilities, NoListAtAllIsALegacyDevice) {
  Rig rig;
  rig.device.config_space.write(PCI_STATUS, 2, 0);
  EXPECT_FAILS(rig.open(), Errc::kBadDevice, "disable-legacy=on");
}

TEST(Capabilities, AnEmptyListIsALegacyDevice) {
  Rig rig;
  rig.device.config_space.write(PCI_CAPABILITY_LIST, 1, 0);
  EXPECT_FAILS(rig.open(), Errc::kBadDevice, "no common configuration structure");
}

TEST(Capabilities, AListThatLoopsEnds) {
  Rig rig;
  rig.device.config_space.write(SimConfigSpace::kCommonCap + PCI_CAP_LIST_NEXT, 1,
                                SimConfigSpace::kNotifyCap);
  EXPECT_FAILS(rig.open(), Errc::kBadDevice, "loops");
  rig.device.config_space.write(SimConfigSpace::kNotifyCap + PCI_CAP_LIST_NEXT, 1,
                                SimConfigSpace::kNotifyCap);
  EXPECT_FAILS(rig.open(), Errc::kBadDevice, "loops");
}

TEST(Capabilities, AListOfAllOnesEnds) {
  Rig rig;
  for (std::size_t at = 0x40; at < 0x100; ++at) rig.device.config_space.bytes[at] = 0xff;
  EXPECT_FAILS(rig.open(), Errc::kBadDevice, "");
}

TEST(Capabilities, EachStructureThatIsNeededIsMissed) {
  for (const std::uint8_t cap :
       {SimConfigSpace::kCommonCap, SimConfigSpace::kIsrCap, SimConfigSpace::kNotifyCap}) {
    Rig rig;
    rig.device.config_space.write(cap + VIRTIO_PCI_CAP_CFG_TYPE, 1, 9);
    EXPECT_FAILS(rig.open(), Errc::kBadDevice, "structure");
  }
}

TEST(Capabilities, BarIndexesAboveFiveAreReserved) {
  for (const std::uint8_t bar : std::array<std::uint8_t, 4>{6, 7, 64, 255}) {
    Rig rig;
    rig.device.config_space.write(SimConfigSpace::kCommonCap + VIRTIO_PCI_CAP_BAR, 1, bar);
    EXPECT_FAILS(rig.open(), Errc::kBadDevice, "no common configuration structure");
  }
}

TEST(Capabilities, ABarThatIsNotThereIsAnError) {
  Rig rig;
  rig.device.config_space.write(SimConfigSpace::kCommonCap + VIRTIO_PCI_CAP_BAR, 1, 3);
  EXPECT_FAILS(rig.open(), Errc::kBadArgument, "no such BAR");
}

TEST(Capabilities, StructuresOutsideTheirBarAreRefused) {
  const std::uint8_t caps[] = {SimConfigSpace::kCommonCap, SimConfigSpace::kIsrCap,
                               SimConfigSpace::kDeviceCap, SimConfigSpace::kNotifyCap};
  struct Place {
    std::uint32_t offset;
    std::uint32_t length;
  };
  const Place places[] = {{0x4000, 0x1000},         {0x3001, 0x1000},        {0, 0x4001},
                          {0xfffffff0, 0x1000},     {0xffffffff, 1},         {1, 0xffffffff},
                          {0x80000000, 0x80000000}, {0xffffffff, 0xffffffff}};
  for (const std::uint8_t cap : caps) {
    for (const Place& place : places) {
      Rig rig;
      rig.device.config_space.write(cap + VIRTIO_PCI_CAP_OFFSET, 4, place.offset);
      rig.device.config_space.write(cap + VIRTIO_PCI_CAP_LENGTH, 4, place.length);
      EXPECT_FAILS(rig.open(), Errc::kBadDevice, "of BAR 4");
    }
  }
}

TEST(Capabilities, TruncatedStructuresAreRefused) {
  Rig rig;
  rig.device.config_space.write(SimConfigSpace::kCommonCap + VIRTIO_PCI_CAP_LENGTH, 4, 0x37);
  EXPECT_FAILS(rig.open(), Errc::kBadDevice, "common configuration structure has 55 bytes, 56 are needed");
  Rig no_notify;
  no_notify.device.config_space.write(SimConfigSpace::kNotifyCap + VIRTIO_PCI_CAP_LENGTH, 4, 1);
  EXPECT_FAILS(no_notify.open(), Errc::kBadDevice, "notification structure");
  Rig no_isr;
  no_isr.device.config_space.write(SimConfigSpace::kIsrCap + VIRTIO_PCI_CAP_LENGTH, 4, 0);
  EXPECT_FAILS(no_isr.open(), Errc::kBadDevice, "ISR status structure");
}

TEST(Capabilities, ACapabilityCutOffByTheEndOfTheSpaceIsAnError) {
  Rig rig;
  rig.device.config_space.write(PCI_CAPABILITY_LIST, 1, 0xfc);
  rig.device.config_space.write(0xfc, 1, PCI_CAP_ID_VNDR);
  rig.device.config_space.write(0xfd, 1, 0);
  rig.device.config_space.write(0xff, 1, VIRTIO_PCI_CAP_COMMON_CFG);
  // Behind it lies extended configuration space, all zero: BAR 0, which the device does not have.
  EXPECT_FAILS(rig.open(), Errc::kBadArgument, "no such BAR");
}

TEST(Capabilities, TheFirstOfTwoStructuresOfAKindIsTaken) {
  Rig rig;
  // The list meets PCI-cfg (at 0x84) first: turn it into a second notify structure whose BAR is reserved, to
  // be skipped for the next.
  rig.device.config_space.write(SimConfigSpace::kPciCfgCap + VIRTIO_PCI_CAP_CFG_TYPE, 1,
                                VIRTIO_PCI_CAP_NOTIFY_CFG);
  rig.device.config_space.write(SimConfigSpace::kPciCfgCap + VIRTIO_PCI_CAP_BAR, 1, 7);
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  expect_works(rig);
}

// --- registers ---

TEST(HostileRegisters, ADeviceThatHasGoneIsSaidToHaveGone) {
  Rig rig;
  rig.device.knobs.removed = true;
  EXPECT_FAILS(rig.open(), Errc::kUnknownDevice, "ffff:ffff");
}

TEST(HostileRegisters, GoneBetweenOpenAndStart) {
  Rig rig;
  ASSERT_OK(rig.open());
  rig.device.knobs.removed = true;
  EXPECT_FAILS(rig.start(), Errc::kRemoved, "reset");
  EXPECT_FAILS(rig.port->check(), Errc::kRemoved, "all ones");
}

TEST(HostileRegisters, GoneWhileItRuns) {
  Rig rig;
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  ASSERT_OK(rig.port->check());
  ASSERT_TRUE(rig.send(rig.packet(make_frame(1, 60))));
  rig.device.knobs.removed = true;
  EXPECT_TRUE(rig.receive().empty());
  EXPECT_FAILS(rig.port->check(), Errc::kRemoved, "all ones");
  EXPECT_FAILS(rig.port->set_promiscuous(true), Errc::kTimeout, "control queue");
}

TEST(HostileRegisters, AResetThatNeverEndsIsGivenUp) {
  Rig rig;
  rig.device.knobs.resets_that_complete = 0;
  EXPECT_FAILS(rig.open(), Errc::kTimeout, "status does not become 0");
}

TEST(HostileRegisters, AResetThatHangsOnStopStillEndsAllDma) {
  Rig rig;
  ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
  ASSERT_TRUE(rig.send(rig.packet(make_frame(1, 60))));
  rig.device.knobs.resets_that_complete = 0;
  rig.port->stop();
  EXPECT_FALSE(rig.device.iommu().bus_master());
  rig.cache->flush();
  EXPECT_EQ(rig.pool->available(), rig.pool->capacity());
}

TEST(HostileRegisters, QueueSizesThatCannotBeAreRefused) {
  for (const unsigned queue : {0U, 1U, 2U}) {
    for (const std::uint16_t size : std::array<std::uint16_t, 6>{0, 3, 6, 60, 32769, 65535}) {
      if (queue == 2 && size > 64) continue;  // the control queue uses 64 of whatever it is given
      Rig rig;
      rig.device.knobs.queue_size[queue] = size;
      ASSERT_OK(rig.open());
      EXPECT_FAILS(rig.start(), Errc::kBadDevice, "a size of");
    }
  }
}

TEST(HostileRegisters, APackedRingOfAnySizeIsUsedUpToAPowerOfTwo) {
  for (const std::uint16_t size : std::array<std::uint16_t, 3>{6, 60, 0x7fff}) {
    RigConfig config;
    config.device = with(sim::feature(VIRTIO_F_RING_PACKED));
    Rig rig(config);
    for (const unsigned queue : {0U, 1U, 2U}) rig.device.knobs.queue_size[queue] = size;
    ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
    EXPECT_EQ(rig.port->info().max_rx_ring, std::bit_floor(size));
    for (int i = 0; i < 10; ++i) expect_works(rig);
    rig.port->stop();
    auto wanted = rig.port_config();
    wanted.tx[0].ring_size = size;
    EXPECT_FAILS(rig.port->start(wanted), Errc::kBadArgument, "power of two up to");
  }
}

TEST(HostileRegisters, SmallQueuesWork) {
  for (const std::uint16_t size : std::array<std::uint16_t, 3>{4, 8, 32}) {
    Rig rig;
    for (const unsigned queue : {0U, 1U, 2U}) rig.device.knobs.queue_size[queue] = size;
    ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
    expect_works(rig);
  }
}

TEST(HostileRegisters, RingsOfOneAndTwoEntriesWork) {
  for (const std::uint16_t size : std::array<std::uint16_t, 2>{1, 2}) {
    RigConfig config;
    config.ring_size = size;
    Rig rig(config);
    ASSERT_NO_FATAL_FAILURE(rig.open_and_start());
    for (int i = 0; i < 10; ++i) expect_works(rig);
  }
}

TEST(HostileRegisters, AbsurdNumbersOfPairsAreRefused) {
  for (const std::uint16_t pairs : std::array<std::uint16_t, 4>{0x8001, 0xffff, 300, 2}) {
    RigConfig config;
    config.device.registers.max_virtqueue_pairs = pairs;
    Rig rig(config);
    EXPECT_FAILS(rig.open(), Errc::kBadDevice, "max_virtqueue_pairs");
  }
  Rig none;
  none.device.registers.max_virtqueue_pairs = 0;
  EXPECT_FAILS(none.open(), Errc::kBadDevice, "max_virtqueue_pairs 0");
}

TEST(HostileRegisters, FewerQueuesThanAPairAreRefused) {
  for (const int queues : {0, 1}) {
    RigConfig config;
    config.device.features &= ~feature(VIRTIO_NET_F_MQ);
    Rig rig(config);
    rig.device.knobs.num_queues = queues;
    EXPECT_FAILS(rig.open(), Errc::kBadDevice, "queues");
  }
}

TEST(HostileRegisters, ATinyMtuIsRefused) {
  for (const std::uint16_t mtu : std::array<std::uint16_t, 3>{0, 1, 67}) {
    RigConfig config;
    config.device.registers.mtu = mtu;
    Rig rig(config);
    EXPECT_FAILS(rig.open(), Errc::kBadDevice, "MTU");
  }
}

TEST(HostileRegisters, FeaturesThatChangeBetweenReadsDoNoHarm) {
  const std::uint64_t flips[] = {feature(VIRTIO_NET_F_MRG_RXBUF), feature(VIRTIO_NET_F_MQ),
                                 feature(VIRTIO_NET_F_CTRL_VQ),   feature(VIRTIO_NET_F_MTU),
                                 feature(VIRTIO_NET_F_MAC),       ~feature(VIRTIO_F_VERSION_1),
                                 feature(VIRTIO_F_VERSION_1)};
  for (const std::uint64_t flip : flips) {
    RigConfig config;
    config.device.max_pairs = 2;
    config.queues = 2;
    Rig rig(config);
    rig.forgive_device();  // it may well find that an unoffered feature was accepted
    rig.device.knobs.flipping_features = flip;
    // It may work or be refused; either way nothing is lost and nothing is left running.
    if (!rig.open()) continue;
    for (int i = 0; i < 3; ++i) {
      if (rig.start()) {
        ASSERT_OK(rig.port->check());
        rig.port->stop();
      }
      EXPECT_EQ(rig.device.status(), 0);
    }
  }
}

TEST(HostileRegisters, QueuesThatTheFeaturesNoLongerGiveAreNotStarted) {
  RigConfig config;
  config.device.max_pairs = 2;
  config.queues = 2;
  Rig rig(config);
  ASSERT_OK(rig.open());
  // The device offered MQ when it was opened, and does not when it is started.
  rig.device.knobs.flipping_features = feature(VIRTIO_NET_F_MQ);
  (void)rig.device.mmio_read(4, VIRTIO_PCI_COMMON_DF, 4);  // an odd number of reads
  bool refused = false;
  for (int i = 0; i < 2 && !refused; ++i) {
    auto started = rig.start();
    refused = !started.has_value();
    if (refused) {
      EXPECT_EQ(started.error().code, make_error_code(Errc::kFeature)) << started.error().message();
    } else {
      EXPECT_TRUE(rig.device.negotiated(VIRTIO_NET_F_MQ)) << "two pairs run without MQ";
      rig.port->stop();
    }
    (void)rig.device.mmio_read(4, VIRTIO_PCI_COMMON_DF, 4);
  }
  EXPECT_TRUE(refused);
}

// --- the bus ---

TEST(FailingBus, EachCallThatFailsIsReportedAndLeavesNothingBehind) {
  const std::pair<bool sim::BusKnobs::*, bool> knobs[] = {{&sim::BusKnobs::config_reads_fail, true},
                                                          {&sim::BusKnobs::bars_fail, true},
                                                          {&sim::BusKnobs::doorbells_fail, false},
                                                          {&sim::BusKnobs::bus_master_fails, false},
                                                          {&sim::BusKnobs::interrupts_fail, false}};
  for (const auto& [knob, at_open] : knobs) {
    RigConfig config;
    config.device.interrupt_vectors = 1;
    Rig rig(config);
    rig.device.bus.*knob = true;
    if (at_open) {
      EXPECT_FAILS(rig.open(), Errc::kUnsupported, "asked for this failure");
      continue;
    }
    ASSERT_OK(rig.open());
    EXPECT_FAILS(rig.start(), Errc::kUnsupported, "asked for this failure");
    EXPECT_EQ(rig.device.status(), 0);
    EXPECT_FALSE(rig.device.iommu().bus_master());
    rig.device.bus.*knob = false;
    ASSERT_OK(rig.start());
    expect_works(rig);
  }
}

TEST(FailingBus, MemoryThatIsTooSmallForTheRingsIsAnError) {
  RigConfig config;
  config.packets = 16;
  config.memory_bytes = 64U << 10;  // 16 packets, and 27 KiB left
  config.device.max_pairs = 4;
  config.queues = 4;
  Rig rig(config);
  ASSERT_OK(rig.open());
  const auto started = rig.start();
  ASSERT_FALSE(started.has_value());
  EXPECT_EQ(started.error().code, make_error_code(mempool::Errc::kOutOfMemory)) << started.error().message();
  EXPECT_EQ(rig.device.status(), 0);
}

// --- configurations that cannot be ---

TEST(BadConfiguration, IsRefusedWithACure) {
  Rig rig;
  ASSERT_OK(rig.open());
  auto config = rig.port_config();
  config.rx[0].ring_size = 512;
  EXPECT_FAILS(rig.port->start(config), Errc::kBadArgument, "power of two up to 256");
  config.rx[0].ring_size = 100;
  EXPECT_FAILS(rig.port->start(config), Errc::kBadArgument, "power of two");
  config.rx[0].ring_size = 64;
  config.tx[0].cache = nullptr;
  EXPECT_FAILS(rig.port->start(config), Errc::kBadArgument, "cache");
  config = rig.port_config();
  config.rx.push_back(config.rx[0]);
  config.tx.push_back(config.tx[0]);
  EXPECT_FAILS(rig.port->start(config), Errc::kBadArgument, "the device has 1 of each");
  EXPECT_FAILS(rig.port->start({}), Errc::kBadArgument, "at least one");
  ASSERT_OK(rig.start());
  EXPECT_FAILS(rig.start(), Errc::kBadState, "Stop it first");
  EXPECT_TRUE(rig.device.running()) << "a second start leaves the first alone";
}

}  // namespace
}  // namespace spinring::pmd
