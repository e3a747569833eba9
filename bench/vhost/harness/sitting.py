"""A sitting: each driver on a back end of its own, started once, and measured in turn, a window each: A B A B. Whoever is
not measured rests."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path as FilePath

from harness.dpdk_switch import DpdkSwitch
from harness.drivers import Driver, ask_busy
from harness.null_switch import NullSwitch
from harness.paths import Case
from harness.process import Process
from harness.runs import Bench, Run, core_distance

AWAKE_SECONDS = 0.02  # until a driver that rested polls again
SWITCHES = {"null": NullSwitch, "vhost": DpdkSwitch}


class Side:
    """One driver on its back end, of a kind of SWITCHES. Between windows neither takes time from the other side."""

    def __init__(self, bench: Bench, case: Case, driver: Driver) -> None:
        self._bench = bench
        self._case = case
        self._driver = driver
        self._switch: NullSwitch | DpdkSwitch | None = None
        self._process: Process | None = None

    @contextlib.contextmanager
    def seated(self, options: list[str]) -> Iterator[Side]:
        """Started, with frames going round, and at rest; ended for certain."""
        with tempfile.TemporaryDirectory(prefix="spinring-vhost-") as name:
            folder = FilePath(name)
            try:
                self._switch = SWITCHES[self._bench.switch](self._bench, self._case, folder, options)
                self._process = self._driver.start(self._case, folder / "vhost.sock", folder, self._bench.driver_cpu)
                self._switch.settle(self._driver, self._process)
                self._rest()
                yield self
            finally:
                # The back end first: it gives no more frames, and without it no driver waits for an answer.
                if self._process:
                    self._process.proceed()
                if self._switch:
                    self._switch.process.stop(5)
                if self._process:
                    self._process.stop()

    def measure(self, distance: float, rate: float = 0.0) -> Run:
        """One window, and the distance between the CPUs after it; `distance`: before."""
        self._switch.proceed()
        self._process.proceed()
        time.sleep(AWAKE_SECONDS)
        before = ask_busy(self._process)
        run = self._switch.window(self._driver, self._process, rate)
        busy = ask_busy(self._process) if before else None
        self._rest()
        return replace(run, distance_before=distance, distance_after=core_distance(self._bench),
                       cycles_per_packet=busy.a_packet_since(before) if busy else None)

    def _rest(self) -> None:
        self._process.rest()
        self._switch.rest()


@contextlib.contextmanager
def seated(bench: Bench, places: list[tuple[Case, Driver]], options: list[str] | None = None) -> Iterator[list[Side]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Side(bench, case, driver).seated(options or [])) for case, driver in places]


def turn(bench: Bench, sides: list[Side], rate: float = 0.0) -> list[Run]:
    """A window of each, one right after the other."""
    distance = core_distance(bench)
    runs = []
    for side in sides:
        runs.append(side.measure(distance, rate))
        distance = runs[-1].distance_after
    return runs
