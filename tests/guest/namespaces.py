"""Two hosts on this machine: network namespaces whose only interfaces are taps that lead into the guest. Needs root."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from errors import HarnessError
from wire import Tap


# Frames that wait for the guest in a host's own queue. The usual 1000 are fewer than TCP has under way, and what finds
# the queue full is dropped before any NIC has seen it.
QUEUE = 10000
WINDOW = "4096 131072 2097152"  # TCP's receive buffer: least, at first, most. Half of it is the window: 700 frames


@dataclass(frozen=True)
class Counters:
    """Of a host's tap. Sent: taken by QEMU."""

    sent: int
    received: int
    dropped: int


def remove_leftovers() -> None:
    """Namespaces of runs that were killed."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False).stdout
    for name, run in re.findall(r"^(spinring-(\d+)-\S+)", listed, re.MULTILINE):
        if not Path(f"/proc/{run}").exists():
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


class Host:
    """A namespace with one tap: `tap` is what the guest's NIC is plugged into. Gone, with all that runs in it, after
    `with`. `label` tells it from the others of this process; at most 6 letters."""

    def __init__(self, label: str, address: str, mac: str) -> None:
        self.name = f"spinring-{os.getpid()}-{label}"
        self._tap_name = f"sr{os.getpid()}{label}"[:15]
        self.address = address
        self.mac = mac

    def __enter__(self) -> Host:
        self.tap = Tap(self._tap_name)
        try:
            self._ip("netns", "add", self.name)
            self._ip("link", "set", self.tap.name, "netns", self.name)
            self._ip("-n", self.name, "link", "set", self.tap.name, "address", self.mac)
            self._ip("-n", self.name, "address", "add", f"{self.address}/24", "dev", self.tap.name)
            self._ip("-n", self.name, "link", "set", self.tap.name, "txqueuelen", str(QUEUE))
            # No frame that nobody here sent.
            self.run("sh", "-c", f"echo 1 >/proc/sys/net/ipv6/conf/{self.tap.name}/disable_ipv6")
            self._ip("-n", self.name, "link", "set", "lo", "up")
            self._ip("-n", self.name, "link", "set", self.tap.name, "up")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def run(self, *command: str, timeout: float = 60.0) -> str:
        """Runs a command in the namespace; its output. One that fails is an error."""
        done = subprocess.run(self._inside(*command), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=timeout, check=False)
        if done.returncode != 0:
            raise HarnessError(f"{' '.join(command)} in {self.name}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def json(self, *command: str, timeout: float = 60.0) -> Any:
        return json.loads(self.run(*command, timeout=timeout))

    @contextmanager
    def serving(self, port: int, *command: str, folder: Path | None = None) -> Iterator[None]:
        """With a server running in the namespace, which listens on that TCP port."""
        process = subprocess.Popen(self._inside(*command), stdin=subprocess.DEVNULL, cwd=folder, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        try:
            self._wait_for_listener(port)
            yield
        finally:
            process.kill()
            process.wait()

    def _wait_for_listener(self, port: int, timeout: float = 20.0) -> None:
        """Until something in the namespace listens on that TCP port."""
        end = time.monotonic() + timeout
        while f":{port} " not in self.run("ss", "--listening", "--tcp", "--numeric"):
            if time.monotonic() > end:
                raise HarnessError(f"nothing listens on port {port} in {self.name} after {timeout:g} s")
            time.sleep(0.05)

    def spares(self, other: Host) -> None:
        """Two things that QEMU's virtual functions do not take. A broadcast: QUIRK(QEMU igb), it comes back to the function
        that sent it (DTXSWC.LLE is not modelled), so that a forwarder between two sends it round for ever. And more frames
        at once than their rings hold (sriov.RINGS): this host lets others send so much."""
        self._ip("-n", self.name, "neighbour", "replace", other.address, "lladdr", other.mac, "dev", self.tap.name)
        self.run("sh", "-c", f"echo {WINDOW} >/proc/sys/net/ipv4/tcp_rmem")

    def reaches(self, other: Host) -> bool:
        """Whether a ping is answered within a second."""
        return subprocess.run(self._inside("ping", "-c", "1", "-W", "1", other.address), stdin=subprocess.DEVNULL,
                              capture_output=True, check=False).returncode == 0

    def counters(self) -> Counters:
        (device,) = json.loads(self._ip("-n", self.name, "-json", "-stats", "link", "show", "dev", self.tap.name))
        tx, rx = device["stats64"]["tx"], device["stats64"]["rx"]
        return Counters(tx["packets"], rx["packets"], tx["dropped"] + rx["dropped"] + tx["errors"] + rx["errors"])

    def close(self) -> None:
        subprocess.run(["ip", "netns", "delete", self.name], capture_output=True, check=False)
        self.tap.close()

    def _inside(self, *command: str) -> list[str]:
        return ["ip", "netns", "exec", self.name, *command]

    @staticmethod
    def _ip(*words: str) -> str:
        done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise HarnessError(f"ip {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout
