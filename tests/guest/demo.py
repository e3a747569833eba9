"""The demonstration behind demo.sh: two hosts, a guest between them, and spinring-testpmd forwarding in it."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import scene
import sriov
from errors import HarnessError, Unavailable
from forwarder import PROGRAM, Forwarder
from harness import Report, install_signals
from load import Load
from machine import MODELS, Guest, GuestConfig

DEADLINE = 600.0
LOAD = Load(probes=20, file_bytes=32 << 20, seconds=10)
TABLE = ("port", "PCI address", "IOMMU group", "path", "rx packets", "tx packets", "drops", "rx/s", "cycles/packet")
TCG_NOTE = ";\n  without KVM the guest's code is translated, so they are many times what a CPU takes"


def boot(stack: ExitStack, report: Report, options: argparse.Namespace, between: scene.Scene) -> tuple[Guest, Forwarder]:
    """The guest, with the forwarder running on its two NICs."""
    programs = {PROGRAM: options.program} | (sriov.programs() if options.nic == "igbvf" else {})
    config = GuestConfig(options.kernel, options.iommu, scene.nics(between, options.nic), programs)
    report.say(f"booting Linux {options.kernel} behind a virtual IOMMU ({options.iommu}), two {options.nic} NICs")
    guest = stack.enter_context(Guest(config, options.logs))
    report.say(f"the guest is up after {guest.boot_seconds:.1f} s under {guest.accelerator}: {guest.text('uname -r')}")
    between.connect()
    addresses = scene.plug(guest, options.nic)
    before = [guest.driver_of(address) or "none" for address in addresses]
    forwarder = scene.start_forwarder(guest, options.nic, addresses, "--stats-period=1")
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


def run(stack: ExitStack, report: Report, options: argparse.Namespace) -> tuple[Guest, Forwarder]:
    (between,) = scene.build(stack, report, [""])
    guest, forwarder = boot(stack, report, options, between)
    ticker = Ticker(report, forwarder, 2)
    ticker.start()
    try:
        between.run(report, LOAD, virtual_function=options.nic == "igbvf")
    finally:
        ticker.stop()
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
          "  ring full for too long. Cycles: TSC ticks, in polls that had packets"
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
            guest, forwarder = run(stack, report, options)
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
