"""Two hosts with the guest between them, and the traffic that they have with each other: network namespaces, whose kernel
speaks TCP, where this user is root; unix sockets, and frames of this program, where not."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import ExitStack, closing
from typing import Protocol

import sriov
import traffic
import traffic_tcp
from errors import HarnessError
from forwarder import Forwarder
from harness import Report
from load import Load
from machine import MODELS, Guest, Netdev, Nic
from namespaces import Host, remove_leftovers
from wire import StreamPeer

HOST_MACS = ("52:54:00:de:ff:01", "52:54:00:de:ff:02")  # left and right
FILE_PIECE = 1486


class Scene(Protocol):
    """Left and right."""

    def netdevs(self) -> tuple[Netdev, Netdev]:
        """What the guest's NICs are plugged into."""

    def connect(self) -> None:
        """Once QEMU runs."""

    def run(self, report: Report, load: Load, virtual_function: bool = False) -> None:
        """All traffic, and checks that nothing of it was lost. The forwarder has been started, on virtual functions or
        others."""


class Namespaces:
    """Ping, a file over HTTP, iperf3."""

    def __init__(self, stack: ExitStack, label: str) -> None:
        self.left = stack.enter_context(Host(f"left{label}", "10.77.0.1", HOST_MACS[0]))
        self.right = stack.enter_context(Host(f"right{label}", "10.77.0.2", HOST_MACS[1]))

    def netdevs(self) -> tuple[Netdev, Netdev]:
        return self.left.tap, self.right.tap

    def connect(self) -> None:
        pass

    def run(self, report: Report, load: Load, virtual_function: bool = False) -> None:
        if virtual_function:
            self.left.spares(self.right)
            self.right.spares(self.left)
        report.say(f"namespaces {self.left.name} ({self.left.address}) and {self.right.name} ({self.right.address}) have "
                   "no other way to each other")
        traffic_tcp.run_all(report, self.left, self.right, load)


class Sockets:
    """Frames there and back, and a file in frames."""

    def __init__(self, stack: ExitStack) -> None:
        self._left, self._right = (stack.enter_context(closing(StreamPeer())) for _ in range(2))

    def netdevs(self) -> tuple[Netdev, Netdev]:
        return self._left, self._right

    def connect(self) -> None:
        self._left.accept()
        self._right.accept()

    def run(self, report: Report, load: Load, virtual_function: bool = False) -> None:
        left, right = self._left, self._right
        to_left, to_right = (traffic.mac_bytes(mac) for mac in HOST_MACS)
        traffic.wait_until_forwarding(left, right, 30, to_right)
        probes = [traffic.Stream("echo", left, right, traffic.random_frames(load.probes, 3, to_right)),
                  traffic.Stream("reply", right, left, traffic.random_frames(load.probes, 4, to_left))]
        seconds = traffic.exchange(probes, 60)
        report.check(all(probe.done() for probe in probes), f"{load.probes} frames each way, 0 lost, in {seconds:.2f} s")
        content = os.urandom(load.file_bytes)
        pieces = [content[at: at + FILE_PIECE] for at in range(0, len(content), FILE_PIECE)]
        frames = [traffic.frame(to_left, to_right, len(piece).to_bytes(2, "big") + piece) for piece in pieces]
        sent, received = hashlib.sha256(content).hexdigest(), hashlib.sha256()

        def take(frame: bytes) -> None:
            length = int.from_bytes(frame[14:16], "big")
            received.update(frame[16: 16 + length])

        seconds = traffic.exchange([traffic.Stream("file", left, right, frames, on_frame=take)], 300)
        report.check(received.hexdigest() == sent,
                     f"a file of {load.file_bytes >> 20} MiB in {len(frames)} frames, {seconds:.1f} s "
                     f"({load.file_bytes * 8 / seconds / 1e6:.0f} Mbit/s), SHA-256 {sent[:16]}... equal")


def build(stack: ExitStack, report: Report, labels: list[str]) -> list[Scene]:
    """A scene for each label, in the way that this user may."""
    if os.geteuid() != 0:
        report.say("no root: the frames come from this program over unix sockets, not from network namespaces")
        return [Sockets(stack) for _ in labels]
    remove_leftovers()
    return [Namespaces(stack, label) for label in labels]


def nics(scene: Scene, nic: str, pair: int = 0) -> list[Nic]:
    """What the guest has in it. `nic`: a key of machine.MODELS."""
    return [Nic(netdev, f"52:54:00:de:{pair:02x}:{side:02x}", MODELS[nic]) for side, netdev in enumerate(scene.netdevs())]


def plug(guest: Guest, nic: str, first: int = 0) -> list[str]:
    """PCI addresses of two NICs, of which the guest has the first as its NIC number `first`. A virtual function receives
    what is for its own address alone, so each has that of the host behind the other."""
    if nic != "igbvf":
        return [guest.pci_address(first + side) for side in range(2)]
    return [sriov.PhysicalFunction(guest, first + side).create(mac) for side, mac in enumerate(reversed(HOST_MACS))]


def start_forwarder(guest: Guest, nic: str, addresses: list[str], options: str = "") -> Forwarder:
    """One that runs and holds its NICs. It drops nothing, however much TCP has under way: it waits for room in a TX ring, and what comes meanwhile
    waits before the guest."""
    rings = sriov.RINGS if nic == "igbvf" else ""
    forwarder = Forwarder(guest, addresses, mode="io", options=f"--burst-tx-retry-num=1000000 {rings} {options}".strip())
    forwarder.start()
    end = time.monotonic() + 30
    while any(guest.driver_of(address) != "vfio-pci" for address in addresses):
        if forwarder.status() is not None or time.monotonic() > end:
            raise HarnessError(f"the forwarder did not come up:\n{forwarder.log(40)}")
        time.sleep(0.1)
    return forwarder
