"""The demonstration behind demo.sh: two hosts, a guest between them, and spinring-testpmd forwarding in it."""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import sriov
import traffic
import traffic_tcp
from errors import HarnessError, Unavailable
from forwarder import PROGRAM, Forwarder
from harness import Report, install_signals
from machine import MODELS, Guest, GuestConfig, Nic
from namespaces import Host
from wire import StreamPeer

MACS = ("52:54:00:de:00:01", "52:54:00:de:00:02")  # of the NICs
HOST_MACS = ("52:54:00:de:01:01", "52:54:00:de:01:02")  # of the two hosts, left and right
DEADLINE = 600.0
SOCKET_BYTES = 32 << 20
TABLE = ("port", "PCI address", "IOMMU group", "path", "rx packets", "tx packets", "drops", "rx/s", "cycles/packet")
TCG_NOTE = ";\n  without KVM the guest's code is translated, so they are many times what a CPU takes"


def plug(guest: Guest, nic: str) -> list[str]:
    """PCI addresses of the two NICs. A virtual function receives what is for its own address alone, so each has that of
    the host behind the other."""
    if nic != "igbvf":
        return [guest.pci_address(index) for index in range(2)]
    return [sriov.PhysicalFunction(guest, index).create(mac) for index, mac in enumerate(reversed(HOST_MACS))]


def boot(stack: ExitStack, report: Report, options: argparse.Namespace, nics: list[Nic]) -> tuple[Guest, Forwarder]:
    """The guest, with the forwarder running on its two NICs."""
    programs = {PROGRAM: options.program} | (sriov.programs() if options.nic == "igbvf" else {})
    config = GuestConfig(options.kernel, options.iommu, nics, programs)
    report.say(f"booting Linux {options.kernel} behind a virtual IOMMU ({options.iommu}), two {options.nic} NICs")
    guest = stack.enter_context(Guest(config, options.logs))
    report.say(f"the guest is up after {guest.boot_seconds:.1f} s under {guest.accelerator}: {guest.text('uname -r')}")
    addresses = plug(guest, options.nic)
    before = [guest.driver_of(address) or "none" for address in addresses]
    forwarder = Forwarder(guest, addresses, mode="io", options="--stats-period=1")
    forwarder.start()
    end = time.monotonic() + 30
    while any(guest.driver_of(address) != "vfio-pci" for address in addresses):
        if forwarder.status() is not None or time.monotonic() > end:
            raise HarnessError(f"the forwarder did not come up:\n{forwarder.log(40)}")
        time.sleep(0.1)
    report.say(f"spinring-testpmd forwards between {' and '.join(addresses)}; vfio-pci holds them (before: "
               f"{', '.join(before)})")
    return guest, forwarder


class Ticker(threading.Thread):
    """What the forwarder moves, every two seconds, as its --stats-period tells."""

    LINE = re.compile(r"^ *(\d+) +\S+ +(\d+) +(\d+) ", re.MULTILINE)  # port, name, rx pps, tx pps

    def __init__(self, report: Report, forwarder: Forwarder, ports: int) -> None:
        super().__init__(daemon=True)
        self._report = report
        self._forwarder = forwarder
        self._ports = ports
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.wait(2):
            try:
                rates = self.LINE.findall(self._forwarder.log(self._ports))
            except HarnessError:
                return  # the main thread meets the same trouble, and tells
            self._report.say("  now: " + ", ".join(f"port {port} receives {rx} and sends {tx} packets/s"
                                                   for port, rx, tx in rates))

    def stop(self) -> None:
        self._done.set()
        self.join(60)


def between_namespaces(stack: ExitStack, report: Report, options: argparse.Namespace) -> tuple[Guest, Forwarder]:
    left = stack.enter_context(Host("spinring-left", "10.77.0.1", HOST_MACS[0]))
    right = stack.enter_context(Host("spinring-right", "10.77.0.2", HOST_MACS[1]))
    model = MODELS[options.nic]
    guest, forwarder = boot(stack, report, options, [Nic(left.tap, MACS[0], model), Nic(right.tap, MACS[1], model)])
    report.say(f"namespaces {left.name} ({left.address}) and {right.name} ({right.address}) have no other way to each other")
    ticker = Ticker(report, forwarder, 2)
    ticker.start()
    try:
        traffic_tcp.run_all(report, left, right)
    finally:
        ticker.stop()
    return guest, forwarder


def between_sockets(stack: ExitStack, report: Report, options: argparse.Namespace) -> tuple[Guest, Forwarder]:
    report.say("no root: the frames come from this script over unix sockets, not from network namespaces")
    left, right = (stack.enter_context(closing(StreamPeer())) for _ in range(2))
    model = MODELS[options.nic]
    guest, forwarder = boot(stack, report, options, [Nic(left, MACS[0], model), Nic(right, MACS[1], model)])
    left.accept()
    right.accept()
    to_left, to_right = (traffic.mac_bytes(mac) for mac in HOST_MACS)
    traffic.wait_until_forwarding(left, right, 30, to_right)
    probes = [traffic.Stream("echo", left, right, traffic.random_frames(20, 3, to_right)),
              traffic.Stream("reply", right, left, traffic.random_frames(20, 4, to_left))]
    seconds = traffic.exchange(probes, 60)
    report.check(all(probe.done() for probe in probes), f"20 frames each way, 0 lost, in {seconds:.2f} s")
    content = os.urandom(SOCKET_BYTES)
    pieces = [content[at: at + 1486] for at in range(0, len(content), 1486)]
    frames = [traffic.frame(to_left, to_right, len(piece).to_bytes(2, "big") + piece)
              for piece in pieces]
    sent, received = hashlib.sha256(content).hexdigest(), hashlib.sha256()

    def take(frame: bytes) -> None:
        length = int.from_bytes(frame[14:16], "big")
        received.update(frame[16: 16 + length])

    seconds = traffic.exchange([traffic.Stream("file", left, right, frames, on_frame=take)], 300)
    report.check(received.hexdigest() == sent,
                 f"a file of {SOCKET_BYTES >> 20} MiB in {len(frames)} frames, {seconds:.1f} s "
                 f"({SOCKET_BYTES * 8 / seconds / 1e6:.0f} Mbit/s), SHA-256 {sent[:16]}... equal")
    return guest, forwarder


def print_table(statistics: dict[str, Any], accelerator: str) -> None:
    seconds = statistics["totals"]["duration_s"]
    # One lcore forwards for all ports.
    cycles = next((lcore["cycles_per_packet"] for lcore in statistics["lcores"] if lcore["packets"]), 0.0)
    rows = [TABLE]
    for port in statistics["ports"]:
        bad = sum(value for queue in port["queues"] for side in ("rx", "tx") for name, value in queue.get(side, {}).items()
                  if name in ("bad_completions", "truncated", "rejected"))
        rows.append((str(port["port"]), port["name"], str(port["iommu_group"]), f"{port['rx_path']}, {port['tx_path']}",
                     str(port["rx"]), str(port["tx"]), str(port["tx_dropped"] + bad), f"{port['rx'] / seconds:.0f}",
                     f"{cycles:.0f}"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(TABLE))]
    print()
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    print(f"\n  rx/s: mean over the {seconds:.1f} s of forwarding, pauses included. Drops: frames that found the other port's\n"
          "  ring full; TCP sends faster and faster until that happens. Cycles: TSC ticks, in polls that had packets"
          f"{TCG_NOTE if accelerator == 'tcg' else ''}.\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nic", choices=sorted(MODELS), default="virtio")
    parser.add_argument("--kernel", default="6.12")
    parser.add_argument("--iommu", choices=("intel", "virtio"), default="intel")
    parser.add_argument("--program", type=Path, required=True)
    parser.add_argument("--logs", type=Path, required=True)
    parser.add_argument("--elapsed", type=float, default=0.0, help="seconds that demo.sh has taken so far")
    options = parser.parse_args()
    report = Report("demo", options.elapsed)
    install_signals(DEADLINE)
    try:
        with ExitStack() as stack:
            scene = between_namespaces if os.geteuid() == 0 else between_sockets
            guest, forwarder = scene(stack, report, options)
            status = forwarder.signal("TERM")
            report.check(status == 0, "SIGTERM ends the forwarder with status 0")
            statistics = forwarder.statistics()
            held = [port["name"] for port in statistics["ports"] if guest.driver_of(port["name"]) == "vfio-pci"]
            report.check(not held, "both NICs are back with the kernel's driver")
            print_table(statistics, guest.accelerator)
    except KeyboardInterrupt:
        print("demo.sh: interrupted; everything was given back", file=sys.stderr)
        return 130
    except (HarnessError, Unavailable, OSError, subprocess.SubprocessError) as error:
        print(f"demo.sh: {error}\nlogs: {options.logs}", file=sys.stderr)
        return 1
    report.say("done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
