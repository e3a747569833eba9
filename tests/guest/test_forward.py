"""Two virtio-net NICs behind the virtual IOMMU, and the forwarder between two sockets: every frame arrives, byte for
byte, in both directions, and the statistics say the same."""

from __future__ import annotations

from contextlib import ExitStack, closing

import traffic
from forwarder import PROGRAM, Forwarder
from harness import Arguments, Report, main
from machine import Guest, GuestConfig, Nic
from wire import StreamPeer

FRAMES = 4000  # in each direction
MACS = ("52:54:00:5b:00:01", "52:54:00:5b:00:02")


def mac_mode(out_port: int) -> traffic.Rewrite:
    """--forward-mode=mac, as DPDK's testpmd does it: from the sending port's address to 02:00:00:00:00:PORT."""
    head = bytes([2, 0, 0, 0, 0, out_port]) + bytes.fromhex(MACS[out_port].replace(":", ""))
    return lambda frame: head + frame[12:]


def run(arguments: Arguments, report: Report) -> None:
    with ExitStack() as stack:
        left, right = (stack.enter_context(closing(StreamPeer())) for _ in range(2))
        config = GuestConfig(arguments.kernel, arguments.iommu, [Nic(left, MACS[0]), Nic(right, MACS[1])],
                             {PROGRAM: arguments.program})
        guest = stack.enter_context(Guest(config, arguments.logs))
        report.say(f"the guest is up: {guest.text('uname -r')}, {guest.accelerator}, after {guest.boot_seconds:.1f} s")
        left.accept()
        right.accept()
        addresses = [guest.pci_address(0), guest.pci_address(1)]
        groups = [guest.iommu_group(address) for address in addresses]
        report.check(groups[0] != groups[1], f"{addresses} are in IOMMU groups of their own: {groups}")

        forwarder = Forwarder(guest, addresses, mode="mac")
        forwarder.start()
        took = traffic.wait_until_forwarding(left, right, 30)
        report.say(f"the first frame came through {took:.2f} s after the start")
        report.check(all(guest.driver_of(address) == "vfio-pci" for address in addresses), "both are bound to vfio-pci")

        streams = [traffic.Stream("left to right", left, right, traffic.random_frames(FRAMES, 1), mac_mode(1)),
                   traffic.Stream("right to left", right, left, traffic.random_frames(FRAMES, 2), mac_mode(0))]
        seconds = traffic.exchange(streams, 60)
        report.check(True, f"{2 * FRAMES} frames of 60 to 1514 bytes arrived in order and byte for byte, "
                           f"{2 * FRAMES / seconds:.0f}/s with {traffic.WINDOW} under way each way")

        status = forwarder.signal("TERM")
        report.check(status == 0, f"SIGTERM ends it with status {status}")
        report.say(f"statistics: {forwarder.statistics()}")


if __name__ == "__main__":
    main("guest forwarding", run)
