"""The frame around every guest test: its arguments, its deadline, and its verdict in one line.

Exit status: 0 passed, 1 failed, 77 skipped (what meson expects).
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from errors import HarnessError, Unavailable
from machine import MODELS, Iommu, emulator_failure


@dataclass(frozen=True)
class Arguments:
    kernel: str
    iommu: Iommu
    program: Path  # the program under test
    logs: Path
    nic: str = "virtio"  # a key of machine.MODELS


class Report:
    """Progress lines with the elapsed time, and the checks of a test."""

    def __init__(self, name: str, elapsed: float = 0.0) -> None:
        self.name = name
        self._start = time.monotonic() - elapsed

    def say(self, text: str) -> None:
        print(f"[{time.monotonic() - self._start:6.1f} s] {text}", flush=True)

    def check(self, good: bool, what: str) -> None:
        """States a fact; a false one ends the test."""
        if not good:
            raise HarnessError(f"not so: {what}")
        self.say(f"ok: {what}")


def _on_alarm(number: int, frame: FrameType | None) -> NoReturn:
    raise HarnessError("the deadline of the whole test is over")


def _on_terminate(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(f"ended by signal {number}")  # an exception: every `with` on the way out gives back what it holds


def install_signals(deadline: float) -> None:
    """A hard end for the whole run: whatever it waits for, it gets an exception after `deadline` seconds."""
    signal.signal(signal.SIGALRM, _on_alarm)
    signal.signal(signal.SIGTERM, _on_terminate)
    signal.signal(signal.SIGHUP, _on_terminate)
    signal.setitimer(signal.ITIMER_REAL, deadline)


def run_through(test: Callable[[Arguments, Report], Any], arguments: Arguments, report: Report) -> None:
    """Runs a test; once more when its guest's logs say that QEMU itself failed."""
    for again in (True, False):
        try:
            test(arguments, report)
            return
        except (HarnessError, OSError) as error:
            failure = emulator_failure(arguments.logs, arguments.iommu)
            if failure is None or not again:
                raise
            report.say(f"once more, as QEMU itself failed ({failure}): {error}")


def main(name: str, test: Callable[[Arguments, Report], Any], deadline: float = 480.0) -> NoReturn:
    """Runs `test`; whatever happens, the last line says how it went and why."""
    parser = argparse.ArgumentParser(description=(test.__doc__ or name))
    parser.add_argument("--kernel", default="6.12", help="series: 6.1 or 6.12")
    parser.add_argument("--iommu", choices=("intel", "virtio"), default="intel")
    parser.add_argument("--nic", choices=sorted(MODELS), default="virtio")
    parser.add_argument("--program", type=Path, required=True, help="the program under test, as built")
    parser.add_argument("--logs", type=Path, required=True, help="folder for the guest's logs")
    parsed = parser.parse_args()
    arguments = Arguments(parsed.kernel, parsed.iommu, parsed.program, parsed.logs, parsed.nic)
    report = Report(f"{name} (kernel {arguments.kernel}, {arguments.iommu} IOMMU, {arguments.nic})")
    install_signals(deadline)
    try:
        run_through(test, arguments, report)
    except Unavailable as reason:
        print(f"SKIP {report.name}: {reason}")
        sys.exit(77)
    except (HarnessError, OSError) as error:
        print(f"FAIL {report.name}: {error}\nlogs: {arguments.logs}")
        sys.exit(1)
    print(f"PASS {report.name}")
    sys.exit(0)
