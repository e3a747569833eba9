"""A sitting: each driver on a back end of its own, started once, and measured in turn, a window each: A B A B. Whoever is
not measured rests: the back end waits for its next window, the driver is stopped by a signal."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path as FilePath

from harness.drivers import Driver, ask_busy
from harness.paths import Case
from harness.process import Process, RunError, tail
from harness.runs import Bench, Run, core_distance, result_lines, run_of, start_back_end

AWAKE_SECONDS = 0.02  # until a driver that rested polls again: it has nothing to do until its back end gives something


class Side:
    """One driver on its back end. Between windows there are no frames on their way that it could work on."""

    def __init__(self, bench: Bench, case: Case, driver: Driver) -> None:
        self._bench = bench
        self._case = case
        self._driver = driver
        self._back_end: Process | None = None
        self._process: Process | None = None
        self._windows = 0

    @contextlib.contextmanager
    def seated(self, options: list[str]) -> Iterator[Side]:
        """Started, with frames going round, and at rest; ended for certain."""
        with tempfile.TemporaryDirectory(prefix="spinring-vhost-") as name:
            folder = FilePath(name)
            try:
                self._back_end = start_back_end(self._bench, self._case, folder, [
                    "--windows", f"--warm-up={self._bench.settle}", "--duration=0.001", *options])
                self._process = self._driver.start(self._case, folder / "vhost.sock", folder, self._bench.driver_cpu)
                self._window_line(self._bench.settle + self._bench.timeout)
                self._process.rest()
                yield self
            finally:
                # The back end first: it gives no more frames, and without it no driver waits for an answer.
                if self._process:
                    self._process.proceed()
                if self._back_end:
                    self._back_end.stop(5)
                if self._process:
                    self._process.stop()

    def measure(self, distance: float, rate: float = 0.0) -> Run:
        """One window, and the distance between the CPUs after it; `distance`: before."""
        bench = self._bench
        self._process.proceed()
        time.sleep(AWAKE_SECONDS)
        before = ask_busy(self._process)
        self._back_end.say(f"{bench.warm_up} {bench.seconds} {rate}")
        line = self._window_line(bench.warm_up + bench.seconds + bench.timeout)
        busy = ask_busy(self._process) if before else None
        self._process.rest()
        return run_of(line, self._case, self._driver, distance, core_distance(bench),
                      busy.a_packet_since(before) if busy else None)

    def _window_line(self, seconds: float) -> dict:
        """Waits until the back end has measured what it was told to."""
        deadline = time.monotonic() + seconds
        while True:
            lines = result_lines(self._back_end)
            if len(lines) > self._windows:
                line = lines[self._windows]
                self._windows += 1
                if line["ending"] != "done":
                    raise RunError(f"{self._driver.label}, {self._case.name}: {line['ending']}\n{tail(self._process.output())}")
                return line
            for what, process in (("back end", self._back_end), (self._driver.label, self._process)):
                if not process.running() or time.monotonic() > deadline:
                    raise RunError(f"{self._driver.label}, {self._case.name}: no figures, the {what} "
                                   f"{'hangs' if process.running() else 'ended early'}:\n{tail(process.output())}")
            time.sleep(0.01)


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
