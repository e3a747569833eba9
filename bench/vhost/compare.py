#!/usr/bin/env python3
"""Compares two virtio drivers on one vhost-user back end: A B A B ..., each pinned, each on its own fresh connection.

Prints, for each path: both rates, their ratio with its spread, A against itself (what is noise), each driver's own busy
time, and the time that a cache line takes between the CPUs. Pairs in which that time changed are left out.

    bench/vhost/compare.py --build build --b spinring --paths all --rings 256,1024 --pairs 10 --json out.json --svg out.svg
    bench/vhost/compare.py --build build --a dpdk --b dpdk            # the harness against itself
    bench/vhost/compare.py --build build --pairs 0 --instructions     # instructions a packet alone
    bench/vhost/compare.py --build build --limit                      # and what a bare loop makes of the same rings
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import itertools
import json
import os
import signal
import sys
import time
from pathlib import Path as FilePath

sys.path.insert(0, str(FilePath(__file__).resolve().parent))

from harness import drivers, plot, runs, table  # noqa: E402
from harness.paths import DIRECTIONS, PATHS, Case  # noqa: E402
from harness.process import RunError  # noqa: E402


@contextlib.contextmanager
def quiet_machine(path: str, patience: float):
    """Holds a lock file that builds on the same machine take shared. Gives up after a while, and says so."""
    if not path:
        yield
        return
    with open(path, "w", encoding="utf-8") as file:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    print(f"{path}: still taken after {patience:.0f} s: measured beside other work", file=sys.stderr)
                    break
                time.sleep(0.01)
        yield


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=FilePath, required=True, help="meson's build folder")
    for side, kind in (("a", "dpdk"), ("b", "spinring")):
        parser.add_argument(f"--{side}", choices=sorted(drivers.DRIVER_PARTS), default=kind)
        parser.add_argument(f"--{side}-command", help="template instead of that driver's (see harness/drivers.py)")
        parser.add_argument(f"--{side}-build", type=FilePath, help="its build folder, if it is another one")
    parser.add_argument("--paths", default="all", help="all, or of: " + ", ".join(PATHS))
    parser.add_argument("--rings", type=numbers, default=[1024])
    parser.add_argument("--modes", default="mac", help="of: " + ", ".join(DIRECTIONS))
    parser.add_argument("--bursts", type=numbers, default=[32])
    parser.add_argument("--frames", type=numbers, default=[60], help="bytes without FCS")
    parser.add_argument("--queues", type=numbers, default=[1])
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=0.5, help="measured in each run")
    parser.add_argument("--warm-up", type=float, default=0.2)
    parser.add_argument("--cpus", type=numbers, default=[0, 1], help="of the back end and of the driver")
    parser.add_argument("--tolerance", type=float, default=1.5, help="largest over least cache-line time of a pair")
    parser.add_argument("--limit", action="store_true", help="a third run beside each pair: the least that forwards on "
                        "such rings, written by hand (bench/vhost/limit)")
    parser.add_argument("--instructions", action="store_true", help="count each driver's instructions a packet too")
    parser.add_argument("--steps", type=int, default=200000, help="instructions to step through")
    parser.add_argument("--nice", type=int, default=0, help="of both sides, such as -19 on a machine that is not idle")
    parser.add_argument("--back-end", default="", help="more options of spinring-vhost-null, in one word")
    parser.add_argument("--lock", default="", help="file to lock during each pair")
    parser.add_argument("--lock-patience", type=float, default=300.0)
    parser.add_argument("--timeout", type=float, default=60.0)
    parser.add_argument("--json", type=FilePath)
    parser.add_argument("--svg", type=FilePath)
    return parser.parse_args()


def cases(options: argparse.Namespace) -> list[Case]:
    names = list(PATHS) if options.paths == "all" else options.paths.split(",")
    unknown = [name for name in names if name not in PATHS] + [
        mode for mode in options.modes.split(",") if mode not in DIRECTIONS]
    if unknown:
        raise SystemExit(f"unknown: {', '.join(unknown)}; see --help")
    return [Case(PATHS[name], *rest) for name, *rest in itertools.product(
        names, options.modes.split(","), options.rings, options.bursts, options.frames, options.queues)]


def run_case(bench: runs.Bench, options: argparse.Namespace, row: table.Row, a, b, limit) -> None:
    for number in range(options.pairs):
        with quiet_machine(options.lock, options.lock_patience):
            try:
                pair = table.Pair(runs.measure(bench, row.case, a), runs.measure(bench, row.case, b),
                                  runs.measure(bench, row.case, limit) if limit else None)
            except RunError as error:
                row.failures.append(str(error))
                print(f"{row.case.name}: {error}", file=sys.stderr)
                continue
        row.pairs.append(pair)
        print(f"{row.case.name} {number + 1}/{options.pairs}: {' '.join(f'{run.mpps:.2f}' for run in pair.runs())} Mpps, line "
              f"{' '.join(f'{distance:.0f}' for distance in pair.distances())} ns", file=sys.stderr, flush=True)
    if options.instructions:
        for driver in {driver.label: driver for driver in (a, b, limit) if driver}.values():
            with quiet_machine(options.lock, options.lock_patience):
                try:
                    row.instructions[driver.label] = runs.count_instructions(bench, row.case, driver, options.steps)
                except RunError as error:
                    row.failures.append(str(error))


def write(options: argparse.Namespace, rows: list[table.Row], labels: tuple[str, str]) -> None:
    if options.json:
        record = {"a": labels[0], "b": labels[1], "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                  "options": {key: str(value) for key, value in vars(options).items()},
                  "machine": os.uname().version, "rows": [row.record() for row in rows]}
        options.json.write_text(json.dumps(record, indent=1))
    if options.svg:
        options.svg.write_text(plot.svg([row.summary() for row in rows], labels))


def main() -> int:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    bench = runs.Bench(options.build, *options.cpus, seconds=options.seconds, warm_up=options.warm_up,
                       timeout=options.timeout,
                       back_end_options=["--tolerate=num_buffers", *options.back_end.split()])
    os.nice(options.nice)  # what is started inherits it
    labels = (options.a, options.b if options.b != options.a else f"{options.b} again")
    a = drivers.make(options.a, labels[0], options.a_command, options.a_build or options.build)
    b = drivers.make(options.b, labels[1], options.b_command, options.b_build or options.build)
    limit = drivers.make("limit", "limit", None, options.build) if options.limit else None
    rows: list[table.Row] = []
    for case in cases(options):
        rows.append(table.Row(case, options.tolerance))
        run_case(bench, options, rows[-1], a, b, limit)
        write(options, rows, labels)
    print(table.text(rows, labels))
    if limit:
        print(table.limit_text(rows, labels))
    return 1 if any(row.failures or (options.pairs and not row.kept()) for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
