"""The demonstration's traffic for each kind of NIC, in one guest: ping, a file over HTTP and iperf3 between two network
namespaces (without root: frames between two sockets), and nothing of it is lost, in no counter."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import scene
import sriov
from forwarder import PROGRAM
from harness import Arguments, Report, main
from load import Load
from machine import Guest, GuestConfig

LOAD = Load(probes=10, file_bytes=4 << 20, seconds=2)
PAIRS = ("virtio", "e1000", "e1000e", "igb")  # two of each


def run(arguments: Arguments, report: Report) -> None:
    with ExitStack() as stack:
        scenes = scene.build(stack, report, [str(pair) for pair in range(len(PAIRS))])
        nics = [nic for pair, kind in enumerate(PAIRS) for nic in scene.nics(scenes[pair], kind, pair)]
        config = GuestConfig(arguments.kernel, arguments.iommu, nics, {PROGRAM: arguments.program} | sriov.programs())
        guest = stack.enter_context(Guest(config, arguments.logs))
        report.say(f"the guest is up: {guest.text('uname -r')}, {guest.accelerator}, after {guest.boot_seconds:.1f} s")
        for one in scenes:
            one.connect()
        for pair, kind in enumerate(PAIRS):
            one_kind(guest, kind, scenes[pair], 2 * pair, report)
        # The functions of the last pair are back with the kernel's driver, which makes virtual ones.
        one_kind(guest, "igbvf", scenes[-1], 2 * PAIRS.index("igb"), report)


def one_kind(guest: Guest, kind: str, between: scene.Scene, first: int, report: Report) -> None:
    addresses = scene.plug(guest, kind, first)
    report.say(f"--- {kind}: {' and '.join(addresses)}")
    forwarder = scene.start_forwarder(guest, kind, addresses)
    between.run(report, LOAD, virtual_function=kind == "igbvf")
    report.check(forwarder.signal("TERM") == 0, f"{kind}: SIGTERM ends it with status 0")
    statistics = forwarder.statistics()
    ports = statistics["ports"]
    report.check(ports[0]["rx"] == ports[1]["tx"] > 0 and ports[1]["rx"] == ports[0]["tx"] > 0,
                 f"{kind}: what it received it sent, {ports[0]['rx']} and {ports[1]['rx']} frames")
    bad = losses(statistics)
    report.check(not bad, f"{kind}: no counter tells of a loss{': ' + ', '.join(bad) if bad else ''}")


def losses(statistics: dict[str, Any]) -> list[str]:
    """The forwarder's counters of frames that went astray, of those that are not 0."""
    found = {f"port {port['port']} tx_dropped": port["tx_dropped"] for port in statistics["ports"]}
    for port in statistics["ports"]:
        for queue in port["queues"]:
            for side in ("rx", "tx"):
                found |= {f"port {port['port']} {side} {name}": value for name, value in queue.get(side, {}).items()
                          if name in ("bad_completions", "truncated", "rejected", "restart_dropped", "sent_again")}
    found["packets missing in the pool"] = statistics["pool"]["capacity"] - statistics["pool"]["available"]
    return [f"{name} {value}" for name, value in found.items() if value]


if __name__ == "__main__":
    main("guest traffic", run)
