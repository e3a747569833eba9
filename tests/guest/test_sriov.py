"""What only a virtual function meets: a physical function that is down, one that gives no address, jumbo frames that it
must let through, a second TX queue, and offloads that the physical function has a say in."""

from __future__ import annotations

import os
import re
import time
from contextlib import ExitStack, closing
from pathlib import Path

import offloads
import sriov
import traffic
from errors import HarnessError
from forwarder import PROGRAM, Forwarder
from harness import Arguments, Report, main
from machine import MODELS, Guest, GuestConfig, Nic
from wire import StreamPeer, drain, pump

JUMBO = 9014  # with header, without FCS
# A frame takes up to five buffers, so what is under way takes more of a ring than usual.
RING = 1024
RINGS = f"--rxd={RING} --rx-fill=1000 --txd={RING}"
FRAMES = 200
SECONDS = 2
ECHO = "offload_echo"
ECHO_LOG = "/tmp/echo.log"


def run(arguments: Arguments, report: Report) -> None:
    with ExitStack() as stack:
        left, right = (stack.enter_context(closing(StreamPeer())) for _ in range(2))
        nics = [Nic(left, "52:54:00:5b:01:01", MODELS["igbvf"]), Nic(right, "52:54:00:5b:01:02", MODELS["igbvf"])]
        programs = {PROGRAM: arguments.program, ECHO: Path(os.environ["SPINRING_OFFLOAD_ECHO"])}
        config = GuestConfig(arguments.kernel, arguments.iommu, nics, programs | sriov.programs())
        guest = stack.enter_context(Guest(config, arguments.logs))
        report.say(f"the guest is up: {guest.text('uname -r')}, {guest.accelerator}, after {guest.boot_seconds:.1f} s")
        left.accept()
        right.accept()
        owners = [sriov.PhysicalFunction(guest, nic) for nic in range(2)]
        addresses = [owner.create("") for owner in owners]
        owner_that_is_down(guest, owners[0], addresses[0], report)
        jumbo_frames(guest, owners, addresses, (left, right), report)
        second_queue(guest, addresses, (left, right), report)
        offloads_through(guest, addresses[0], left, report)


def owner_that_is_down(guest: Guest, owner: sriov.PhysicalFunction, address: str, report: Report) -> None:
    owner.down()
    forwarder = Forwarder(guest, [address])
    forwarder.start()
    end = time.monotonic() + 30
    while forwarder.status() is None:
        if time.monotonic() > end:
            raise HarnessError(f"the forwarder does not give up:\n{forwarder.log(20)}")
        time.sleep(0.1)
    report.check(forwarder.status() == 1, "a physical function that is down: the program ends with status 1")
    report.check("ip link set DEVICE up" in forwarder.log(), f"it says: {forwarder.log(1)}")
    owner.up()


def jumbo_frames(guest: Guest, owners: list[sriov.PhysicalFunction], addresses: list[str],
                 wires: tuple[StreamPeer, StreamPeer], report: Report) -> None:
    left, right = wires
    forwarder = Forwarder(guest, addresses, mode="io", options=f"--max-pkt-len={JUMBO + 4} {RINGS}")
    forwarder.start()
    end = time.monotonic() + 30
    while len(chosen := re.findall(r"so ([0-9a-f:]{17}) by chance", forwarder.log())) < 2:
        if forwarder.status() is not None or time.monotonic() > end:
            raise HarnessError(f"the forwarder chose no addresses:\n{forwarder.log(20)}")
        time.sleep(0.1)
    macs = [traffic.mac_bytes(mac) for mac in chosen]
    took = traffic.wait_until_forwarding(left, right, 60, macs[0])
    report.say(f"the first frame came through after {took:.2f} s")
    for owner, mac in zip(owners, chosen):
        report.check(owner.knows(mac), f"{owner.interface} knows the address that its virtual function chose: {mac}")
    streams = [traffic.Stream("left to right", left, right, traffic.random_frames(FRAMES, 1, macs[0], JUMBO)),
               traffic.Stream("right to left", right, left, traffic.random_frames(FRAMES, 2, macs[1], JUMBO))]
    traffic.exchange(streams, 60)
    report.check(True, f"{2 * FRAMES} frames of 60 to {JUMBO} bytes arrived in order and byte for byte")
    report.check(forwarder.signal("TERM") == 0, "SIGTERM ends it")


def second_queue(guest: Guest, addresses: list[str], wires: tuple[StreamPeer, StreamPeer], report: Report) -> None:
    forwarder = Forwarder(guest, addresses[:1], mode="txonly", options=f"--txq=2 --duration={SECONDS}")
    for wire in wires:
        wire.received.clear()
    forwarder.start()
    end = time.monotonic() + 60
    while forwarder.status() is None:
        if time.monotonic() > end:
            raise HarnessError(f"the forwarder does not end:\n{forwarder.log(20)}")
        pump(wires, 0.2)
    pump(wires, 0.2)
    queues = [queue["tx"]["packets"] for queue in forwarder.statistics()["ports"][0]["queues"]]
    # A queue that the device does not serve stops when its ring is full. (QEMU throws away what the wire cannot take.)
    report.check(len(queues) == 2 and min(queues) > RING, f"both TX queues send: {queues}")
    report.check(len(wires[0].received) > 0, f"{len(wires[0].received)} frames came out while the wire had room")


def answer(wire: StreamPeer, sent: bytes, count: int, timeout: float = 5.0) -> list[bytes]:
    """Sends a frame; what comes of `count` frames until then."""
    wire.received.clear()
    wire.queue(sent)
    end = time.monotonic() + timeout
    while len(wire.received) < count and time.monotonic() < end:
        pump([wire], 0.05)
    return list(wire.received)


def offloads_through(guest: Guest, address: str, wire: StreamPeer, report: Report) -> None:
    """What the virtual function's device makes of checksums, tags and long TCP packets, byte for byte."""
    guest.run(f"({ECHO} {address} >{ECHO_LOG} 2>&1; echo status $? >>{ECHO_LOG}) &")

    def said(word: str) -> str:
        end = time.monotonic() + 30
        while not (found := re.search(rf"^{word} (.*)", log := guest.text(f"cat {ECHO_LOG}"), re.MULTILINE)):
            if "error" in log or time.monotonic() > end:
                raise HarnessError(f"{ECHO} says no '{word}':\n{log}")
            time.sleep(0.1)
        return found.group(1)

    nic = traffic.mac_bytes(said("ready"))
    # Frames under 60 bytes are left out: QUIRK(QEMU e1000e, igb), padding is taken for payload.
    cases = offloads.cases(nic, (30, 101, 777, 1400, 5000, 8900))
    drain([wire], limit=30)  # what the last program sent
    probe = nic + offloads.sender(offloads.NOTHING) + b"\x88\xb5" + bytes(46)
    end = time.monotonic() + 30
    while not answer(wire, probe, 1, 0.5):  # not receiving yet
        if time.monotonic() > end:
            raise HarnessError(f"{ECHO} sends nothing back:\n{guest.text(f'cat {ECHO_LOG}')}")
    for case in cases:
        back = answer(wire, case.sent, len(case.back))
        if back != case.back:
            wrong = next((index for index, (got, wanted) in enumerate(zip(back, case.back)) if got != wanted), -1)
            raise HarnessError(f"{case.name}: {len(back)} frames for {len(case.back)}; the first that differs is {wrong}:\n"
                               f"  wanted {case.back[wrong][:80].hex()}\n  got    {back[wrong][:80].hex() if back else '-'}")
    report.check(True, f"checksums, VLAN tags and segments: {len(cases)} frames came back byte for byte")
    for bad in offloads.bad_ones(nic):
        report.check(len(answer(wire, bad, 1)) == 1, "a frame with a wrong checksum is received")
    other = offloads.ethernet(nic, offloads.sender(0), offloads.FLOWS[0], offloads.FLOWS[0].packet(bytes(100), True), 6)
    wire.received.clear()
    wire.queue(other)
    pump([wire], 0.5)
    report.check(not wire.received, "a frame of another VLAN is not received")
    answer(wire, nic + offloads.sender(offloads.END) + bytes(50), 1)
    notes = said("notes")
    plain = sum(case.name.startswith(("plain", "tag")) for case in cases)
    stripped = sum(case.name.startswith("strip") for case in cases)
    report.check(f" bad {len(cases) - plain - stripped + len(offloads.bad_ones(nic))} " in f" {notes} " and f"stripped {stripped};" in notes
                 and notes.endswith("rejected 0") and f"good {plain + stripped} " in notes, f"the notes of what it received: {notes}")
    report.check(said("status") == "0", "it ends")


if __name__ == "__main__":
    main("guest virtual functions", run)
