"""Two hosts on this machine: network namespaces whose only interfaces are taps that lead into the guest. Needs root."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from errors import HarnessError
from wire import Tap


class Host:
    """A namespace with one tap: `tap` is what the guest's NIC is plugged into. Gone, with all that runs in it, after
    `with`."""

    def __init__(self, name: str, address: str, mac: str) -> None:
        self.name = name
        self.address = address
        self.mac = mac
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Host:
        subprocess.run(["ip", "netns", "delete", self.name], capture_output=True, check=False)  # of a run that was killed
        self.tap = Tap(f"{self.name[:11]}-tap")
        try:
            self._ip("netns", "add", self.name)
            self._ip("link", "set", self.tap.name, "netns", self.name)
            self._ip("-n", self.name, "link", "set", self.tap.name, "address", self.mac)
            self._ip("-n", self.name, "address", "add", f"{self.address}/24", "dev", self.tap.name)
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

    def serve(self, *command: str, folder: Path | None = None) -> None:
        """Leaves a server running in the namespace until `with` ends."""
        self._processes.append(subprocess.Popen(self._inside(*command), stdin=subprocess.DEVNULL, cwd=folder,
                                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def wait_for_listener(self, port: int, timeout: float = 20.0) -> None:
        """Until something in the namespace listens on that TCP port."""
        end = time.monotonic() + timeout
        while f":{port} " not in self.run("ss", "--listening", "--tcp", "--numeric"):
            if time.monotonic() > end:
                raise HarnessError(f"nothing listens on port {port} in {self.name} after {timeout:g} s")
            time.sleep(0.05)

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        self._processes.clear()
        subprocess.run(["ip", "netns", "delete", self.name], capture_output=True, check=False)
        self.tap.close()

    def _inside(self, *command: str) -> list[str]:
        return ["ip", "netns", "exec", self.name, *command]

    @staticmethod
    def _ip(*words: str) -> None:
        done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise HarnessError(f"ip {' '.join(words)}: {done.stderr.strip()}")
