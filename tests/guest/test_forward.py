"""Two NICs of one kind behind the virtual IOMMU, and the forwarder between two sockets: every frame arrives, byte for
byte, in both directions; the statistics say the same; and SIGTERM gives back all that was taken."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from typing import Any

import sriov
import traffic
from errors import HarnessError
from forwarder import PROGRAM, Forwarder, vfio_group_free
from harness import Arguments, Report, main
from machine import MODELS, Guest, GuestConfig, Nic
from wire import StreamPeer

FRAMES = 4000  # in each direction
KERNEL_DRIVERS = {"virtio": "virtio-pci", "e1000-82545em": "e1000"}  # the others' are called as they are
MACS = ("52:54:00:5b:00:01", "52:54:00:5b:00:02")
OWNERS_MACS = ("52:54:00:5b:01:01", "52:54:00:5b:01:02")  # of the physical functions, where the test is of virtual ones


def mac_mode(out_port: int) -> traffic.Rewrite:
    """--forward-mode=mac, as DPDK's testpmd does it: from the sending port's address to 02:00:00:00:00:PORT."""
    head = bytes([2, 0, 0, 0, 0, out_port]) + traffic.mac_bytes(MACS[out_port])
    return lambda frame: head + frame[12:]


def plug(guest: Guest, arguments: Arguments, report: Report) -> tuple[list[str], list[sriov.PhysicalFunction]]:
    """PCI addresses of the NICs under test; for virtual functions, those that they belong to as well."""
    if arguments.nic != "igbvf":
        return [guest.pci_address(0), guest.pci_address(1)], []
    owners = [sriov.PhysicalFunction(guest, nic) for nic in range(2)]
    addresses = [owner.create(mac) for owner, mac in zip(owners, MACS)]
    report.say(f"virtual functions {addresses} of {[owner.address for owner in owners]}, whose interfaces are up")
    return addresses, owners


def run(arguments: Arguments, report: Report) -> None:
    with ExitStack() as stack:
        left, right = (stack.enter_context(closing(StreamPeer())) for _ in range(2))
        model = MODELS[arguments.nic]
        virtual = arguments.nic == "igbvf"
        macs = OWNERS_MACS if virtual else MACS
        config = GuestConfig(arguments.kernel, arguments.iommu, [Nic(left, macs[0], model), Nic(right, macs[1], model)],
                             {PROGRAM: arguments.program} | (sriov.programs() if virtual else {}))
        guest = stack.enter_context(Guest(config, arguments.logs))
        report.say(f"the guest is up: {guest.text('uname -r')}, {guest.accelerator}, after {guest.boot_seconds:.1f} s")
        if arguments.iommu == "intel":
            report.check(guest.uses_x2apic(), "its CPUs end their interrupts by an MSR (x2APIC)")
        left.accept()
        right.accept()
        addresses, owners = plug(guest, arguments, report)
        groups = [guest.iommu_group(address) for address in addresses]
        report.check(groups[0] != groups[1], f"{addresses} are in IOMMU groups of their own: {groups}")

        former = [guest.driver_of(address) for address in addresses]
        # A kernel for clouds has no driver for the others.
        known = {KERNEL_DRIVERS.get(arguments.nic, arguments.nic), "virtio-pci" if arguments.nic == "virtio" else ""}
        report.check(former[0] == former[1] and former[0] in known, f"before, their drivers are {former}")
        hugepages = guest.free_hugepages()

        forwarder = Forwarder(guest, addresses, mode="mac")
        forwarder.start()
        # The others are promiscuous.
        targets = [traffic.mac_bytes(mac) for mac in MACS] if virtual else [traffic.OTHER, traffic.OTHER]
        took = traffic.wait_until_forwarding(left, right, 60, targets[0])
        report.say(f"the first frame came through {took:.2f} s after the start")
        report.check(all(guest.driver_of(address) == "vfio-pci" for address in addresses), "both are bound to vfio-pci")

        streams = [traffic.Stream("left to right", left, right, traffic.random_frames(FRAMES, 1, targets[0]), mac_mode(1)),
                   traffic.Stream("right to left", right, left, traffic.random_frames(FRAMES, 2, targets[1]), mac_mode(0))]
        seconds = traffic.exchange(streams, 90)
        report.check(True, f"{2 * FRAMES} frames of 60 to 1514 bytes arrived in order and byte for byte, "
                           f"{2 * FRAMES / seconds:.0f}/s with {traffic.WINDOW} under way each way")

        check_link(guest, forwarder, report)
        if owners:
            check_owner_reset(owners[0], forwarder, report)
            took = traffic.wait_until_forwarding(left, right, 60, targets[0])
            report.check(True, f"it forwards again after {took:.2f} s")
        status = forwarder.signal("TERM")
        report.check(status == 0, f"SIGTERM ends it with status {status}")
        check_statistics(forwarder.statistics(), report)
        after = [guest.driver_of(address) for address in addresses]
        report.check(after == former, f"after, their drivers are {after} again")
        names = guest.text("cd /sys/class/net && ls | grep eth || true").split()
        report.check(len(names) == len(owners) + (2 if former[0] else 0), f"the kernel has its interfaces again: {names}")
        report.check(guest.free_hugepages() == hugepages, f"{hugepages} hugepages are free, as before")
        report.check(all(vfio_group_free(guest, group) for group in groups), "nobody holds a VFIO group")


def expect_word(forwarder: Forwarder, word: str, before: int) -> None:
    """Waits until the forwarder has said it once more."""
    end = time.monotonic() + 20
    while forwarder.log().count(word) == before:
        if time.monotonic() > end:
            raise HarnessError(f"no '{word}' in 20 s:\n{forwarder.log(40)}")
        time.sleep(0.05)


def check_link(guest: Guest, forwarder: Forwarder, report: Report) -> None:
    """A cable that is pulled and put back is seen, by an interrupt: the program does not poll a NIC that has one."""
    for up, word in ((False, "link down"), (True, "link up")):
        before = forwarder.log().count(word)
        guest.qmp("set_link", name="nic0", up=up)
        expect_word(forwarder, word, before)
        report.check(True, f"set_link up={up} is seen: {word}")


def check_owner_reset(owner: sriov.PhysicalFunction, forwarder: Forwarder, report: Report) -> None:
    """A physical function that goes down takes its virtual one along; that one comes back with it."""
    downs, restarts = (forwarder.log().count(word) for word in ("link down", "restarted after a fault"))
    owner.down()
    expect_word(forwarder, "link down", downs)
    report.check(True, f"{owner.interface} goes down: link down")
    owner.up()
    expect_word(forwarder, "restarted after a fault", restarts)
    report.check(True, f"{owner.interface} is up again: the port is restarted")


def check_statistics(statistics: dict[str, Any], report: Report) -> None:
    """What the program counted is what was sent: the frames of the test, and the probes before them."""
    ports = statistics["ports"]
    probes = ports[0]["rx"] - FRAMES
    report.check(probes >= 1 and ports[1]["tx"] == ports[0]["rx"] and ports[0]["tx"] == ports[1]["rx"] == FRAMES,
                 f"it counted {FRAMES} frames each way and {probes} probes: paths {ports[0]['rx_path']}, {ports[0]['tx_path']}")
    report.check(statistics["totals"]["tx_dropped"] == statistics["totals"]["tx_rejected"] == 0, "it dropped none")
    pool = statistics["pool"]
    report.check(pool["available"] == pool["capacity"], f"its pool is whole: {pool['available']} packets")


if __name__ == "__main__":
    main("guest forwarding", run)
