"""spinring-testpmd in the guest: started, watched and ended from the host."""

from __future__ import annotations

import json
import time
from typing import Any

from errors import HarnessError
from machine import Guest

PROGRAM = "spinring-testpmd"  # its name in the guest's /bin
LOG = "/tmp/forwarder.log"
STATUS = "/tmp/forwarder.status"
PID = "/tmp/forwarder.pid"
JSON = "/tmp/forwarder.json"


class Forwarder:
    """One run of the forwarder on the given PCI addresses, on lcores 0 (control) and 1 (forwarding)."""

    def __init__(self, guest: Guest, addresses: list[str], mode: str = "io", options: str = "") -> None:
        self._guest = guest
        self._command = " ".join([PROGRAM, "-l 0,1", *(f"-a {address}" for address in addresses), "--",
                                  f"--forward-mode={mode}", "--nb-cores=1", f"--json={JSON}", options]).strip()

    def start(self) -> None:
        """Runs it in the background; its output goes to a file in the guest."""
        self._guest.run(f"rm -f {STATUS} {PID} {JSON}\n"
                        f"(sh -c 'echo $$ >{PID}; exec {self._command}' >{LOG} 2>&1; echo $? >{STATUS}) &\n"
                        f"while [ ! -s {PID} ]; do usleep 1000; done")

    def status(self) -> int | None:
        """The exit status, None while it runs; 128 + N if signal N ended it."""
        text = self._guest.text(f"cat {STATUS} 2>/dev/null || true")
        return int(text) if text else None

    def log(self, lines: int = 0) -> str:
        return self._guest.text(f"tail -n {lines} {LOG}" if lines else f"cat {LOG}")

    def signal(self, name: str, timeout: float = 20.0) -> int:
        """Sends a signal and waits for the end; returns the exit status."""
        if self.status() is None:
            self._guest.run(f"kill -{name} $(cat {PID})")
        end = time.monotonic() + timeout
        while (status := self.status()) is None:
            if time.monotonic() > end:
                raise HarnessError(f"the forwarder still runs {timeout:g} s after SIG{name}:\n{self.log(40)}")
            time.sleep(0.02)
        return status

    def statistics(self) -> dict[str, Any]:
        """What the last run that ended by itself or by SIGTERM wrote with --json."""
        parsed = json.loads(self._guest.text(f"cat {JSON}"))
        assert isinstance(parsed, dict)
        return parsed


def vfio_group_free(guest: Guest, group: int) -> bool:
    """Whether nobody holds /dev/vfio/GROUP: the kernel lets one process open it at a time. A group whose devices have
    gone back to their drivers has no node: nobody holds it."""
    node = f"/dev/vfio/{group}"
    return guest.run(f"[ ! -e {node} ] || (exec 3<>{node})", check=False).status == 0
