"""The back end that does nothing but complete descriptors: it measures its own windows, and between them no frames are on
their way."""

from __future__ import annotations

import time
from pathlib import Path as FilePath

from harness.drivers import Driver
from harness.paths import Case
from harness.process import Process, RunError, tail
from harness.runs import Bench, Run, result_lines, run_of, start_back_end


class NullSwitch:
    """spinring-vhost-null, which waits for its next window by itself."""

    def __init__(self, bench: Bench, case: Case, folder: FilePath, options: list[str]) -> None:
        self._bench = bench
        self._case = case
        self._windows = 0
        self.process = start_back_end(bench, case, folder, [
            "--windows", f"--warm-up={bench.settle}", "--duration=0.001", *options])

    def settle(self, driver: Driver, process: Process) -> None:
        self._window_line(driver, process, self._bench.settle + self._bench.timeout)

    def proceed(self) -> None:
        pass

    def rest(self) -> None:
        pass

    def window(self, driver: Driver, process: Process, rate: float) -> Run:
        bench = self._bench
        self.process.say(f"{bench.warm_up} {bench.seconds} {rate}")
        line = self._window_line(driver, process, bench.warm_up + bench.seconds + bench.timeout)
        return run_of(line, self._case, driver)

    def _window_line(self, driver: Driver, process: Process, seconds: float) -> dict:
        """Waits until the back end has measured what it was told to."""
        deadline = time.monotonic() + seconds
        while True:
            lines = result_lines(self.process)
            if len(lines) > self._windows:
                line = lines[self._windows]
                self._windows += 1
                if line["ending"] != "done":
                    raise RunError(f"{driver.label}, {self._case.name}: {line['ending']}\n{tail(process.output())}")
                return line
            for what, of_run in (("back end", self.process), (driver.label, process)):
                if not of_run.running() or time.monotonic() > deadline:
                    raise RunError(f"{driver.label}, {self._case.name}: no figures, the {what} "
                                   f"{'hangs' if of_run.running() else 'ended early'}:\n{tail(process.output())}")
            time.sleep(0.01)
