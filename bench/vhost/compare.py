#!/usr/bin/env python3
"""Compares two virtio drivers on one vhost-user back end: A B A B ..., each pinned, each on its own connection.

Both are started afresh for every --pairs-per-start pairs; in between, whoever is not measured is stopped.
Prints, for each path: both rates, their ratio with its spread, A against itself (what is noise), each driver's own busy
time, and the time that a cache line takes between the CPUs. Pairs in which that time changed are left out. Runs are short
and many, since a virtual machine may move its CPUs every few seconds: then pairs with near and with far CPUs are rows of
their own.

    bench/vhost/compare.py --build build --b spinring --paths all --rings 256,1024 --json out.json --svg out.svg
    bench/vhost/compare.py --build build --a dpdk --b dpdk            # the harness against itself
    bench/vhost/compare.py --build build --pairs 0 --instructions     # instructions a packet alone
    bench/vhost/compare.py --build build --pairs 0 --lines            # and cache lines
    bench/vhost/compare.py --build build --loads 10,50,90 --json out.json  # latency at these parts of the slower's rate
    bench/vhost/compare.py --build build --switch vhost               # on DPDK's back end, which copies
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
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path as FilePath

sys.path.insert(0, str(FilePath(__file__).resolve().parent))

from harness import drivers, latency, lines, plot, runs, sitting, table  # noqa: E402
from harness.paths import MODES, PATHS, Case  # noqa: E402
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
    parser.add_argument("--modes", default="mac", help="of: " + ", ".join(MODES))
    parser.add_argument("--a-mode", choices=list(MODES), help="A's mode, if it is another one than B's")
    parser.add_argument("--a-ring", type=int, help="A's ring, if it is another one than B's")
    parser.add_argument("--bursts", type=numbers, default=[32])
    parser.add_argument("--frames", type=numbers, default=[60], help="bytes without FCS")
    parser.add_argument("--queues", type=numbers, default=[1])
    parser.add_argument("--ports", type=numbers, default=[1], help="2: from each port to the other")
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--pairs-per-start", type=int, default=4, help="then all is started afresh: a rate "
                        "repeats within a start and differs from start to start, so many starts tell more than many pairs")
    parser.add_argument("--seconds", type=float, default=0.05, help="measured in each run")
    parser.add_argument("--warm-up", type=float, default=0.02, help="before each run")
    parser.add_argument("--settle", type=float, default=1.0, help="seconds of traffic after each start: DPDK gets slower "
                        "in the first, when its buffers lose their order")
    parser.add_argument("--cpus", type=numbers, default=[0, 1], help="of the back end and of the driver")
    parser.add_argument("--tolerance", type=float, default=2.0, help="largest over least cache-line time of a pair")
    parser.add_argument("--near", type=float, default=200.0, help="ns: pairs with lines of less and of more are two rows")
    parser.add_argument("--switch", choices=list(sitting.SWITCHES), default="null", help="back end: the one that does nothing, "
                        "or DPDK's own, which copies every frame (dpdk-testpmd with net_vhost)")
    parser.add_argument("--aligned", type=int, choices=[0, 1], help="where this driver's received frames begin: 1: on a cache "
                        "line, its default; 0: behind their headers. If not given 0 with --switch null, which writes "
                        "header and frame at once")
    parser.add_argument("--limit", action="store_true", help="a third run beside each pair: the least that forwards on "
                        "such rings, written by hand (bench/vhost/limit)")
    parser.add_argument("--loads", type=numbers, default=[], help="latency instead of rates, at so many percent of the "
                        "slower driver's rate")
    parser.add_argument("--instructions", action="store_true", help="count each driver's instructions a packet too")
    parser.add_argument("--lines", action="store_true", help="count each driver's instructions and cache lines a packet too")
    parser.add_argument("--steps", type=int, default=200000, help="instructions to step through")
    parser.add_argument("--nice", type=int, default=0, help="of both sides, such as -19 on a machine that is not idle")
    parser.add_argument("--back-end", default="", help="more options of spinring-vhost-null, in one word")
    parser.add_argument("--lock", default="", help="file to lock from each start until the next")
    parser.add_argument("--lock-patience", type=float, default=300.0)
    parser.add_argument("--timeout", type=float, default=60.0)
    parser.add_argument("--json", type=FilePath)
    parser.add_argument("--svg", type=FilePath)
    return parser.parse_args()


def cases(options: argparse.Namespace) -> list[Case]:
    names = list(PATHS) if options.paths == "all" else options.paths.split(",")
    unknown = [name for name in names if name not in PATHS] + [
        mode for mode in options.modes.split(",") if mode not in MODES]
    if unknown:
        raise SystemExit(f"unknown: {', '.join(unknown)}; see --help")
    return [Case(PATHS[name], *rest) for name, *rest in itertools.product(
        names, options.modes.split(","), options.rings, options.bursts, options.frames, options.queues,
        options.ports)]


def turns(bench: runs.Bench, options: argparse.Namespace, places: list) -> Iterator[list[runs.Run]]:
    """One turn of all after the other, on what is started once."""
    with sitting.seated(bench, places) as sides:
        for _ in range(options.pairs_per_start):
            yield sitting.turn(bench, sides)


def run_case(bench: runs.Bench, options: argparse.Namespace, row: table.Row, a, b, limit) -> None:
    of_a = replace(row.case, mode=options.a_mode or row.case.mode, ring=options.a_ring or row.case.ring)
    places = [(of_a, a), (row.case, b)]
    places += [(row.case, limit)] if limit else []
    start = 0
    while len(row.pairs) + len(row.failures) < options.pairs:
        with quiet_machine(options.lock, options.lock_patience):
            try:
                left = options.pairs - len(row.pairs) - len(row.failures)
                for turn in itertools.islice(turns(bench, options, places), left):
                    row.pairs.append(table.Pair(*turn, start=start))
                    print(f"{row.case.name} {len(row.pairs)}/{options.pairs}: {' '.join(f'{run.mpps:.2f}' for run in turn)} Mpps, "
                          f"line {' '.join(f'{at:.0f}' for at in row.pairs[-1].distances())} ns", file=sys.stderr, flush=True)
            except RunError as error:
                row.failures.append(str(error))
                print(f"{row.case.name}: {error}", file=sys.stderr)
        start += 1
    if options.instructions or options.lines:
        for driver in {driver.label: driver for driver in (a, b, limit) if driver}.values():
            with quiet_machine(options.lock, options.lock_patience):
                try:
                    row.instructions[driver.label] = runs.count_instructions(bench, row.case, driver, options)
                except RunError as error:
                    row.failures.append(str(error))


def by_line(rows: list[table.Row], near: float) -> list[table.Row]:
    return [part for row in rows for part in row.by_line(near)]


def run_loads(bench: runs.Bench, options: argparse.Namespace, labels: tuple[str, str], a, b) -> int:
    rows: list[latency.LoadRow] = []
    failures = []
    for case in cases(options):
        of_case = latency.rows_of(case, options.loads, options.tolerance)
        rows += of_case
        left = options.pairs
        while left > 0:
            try:
                with quiet_machine(options.lock, options.lock_patience), sitting.seated(
                        bench, [(case, a), (case, b)], latency.back_end_options(case)) as sides:
                    for _ in range(min(left, options.pairs_per_start)):
                        said = latency.measure(bench, of_case, sides)
                        left -= 1
                        print(f"{options.pairs - left}/{options.pairs} {said}", file=sys.stderr, flush=True)
            except RunError as error:
                left -= 1
                failures.append(str(error))
                print(f"{case.name}: {error}", file=sys.stderr)
        write(options, rows, labels)
    print(latency.text(rows, labels))
    return 1 if failures or not all(row.kept() for row in rows) else 0


def write(options: argparse.Namespace, rows: list, labels: tuple[str, str]) -> None:
    if options.json:
        record = {"a": labels[0], "b": labels[1], "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                  "options": {key: str(value) for key, value in vars(options).items()},
                  "machine": os.uname().version, "rows": [row.record() for row in rows]}
        options.json.write_text(json.dumps(record, indent=1))
    if options.svg and not options.loads:
        options.svg.write_text(plot.svg([row.summary() for row in rows], labels))
    elif options.svg:
        options.svg.write_text(plot.svg(latency.ratios(rows), labels, "Time of a round trip"))


def main() -> int:
    options = arguments()
    for end in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(end, lambda number, _frame: sys.exit(128 + number))  # so that what was started is ended
    bench = runs.Bench(options.build, *options.cpus, seconds=options.seconds, warm_up=options.warm_up, settle=options.settle,
                       timeout=options.timeout, switch=options.switch,
                       back_end_options=["--tolerate=num_buffers", *options.back_end.split()])
    os.nice(options.nice)  # what is started inherits it
    labels = (options.a, options.b if options.b != options.a else f"{options.b} again")
    aligned = options.switch != "null" if options.aligned is None else options.aligned == 1
    try:
        a = drivers.make(options.a, labels[0], options.a_command, options.a_build or options.build, aligned)
        b = drivers.make(options.b, labels[1], options.b_command, options.b_build or options.build, aligned)
    except RunError as error:
        print(f"compare.py: {error}", file=sys.stderr)
        return 2
    if options.loads:
        return run_loads(bench, options, labels, a, b)
    limit = drivers.make("limit", "limit", None, options.build) if options.limit else None
    rows: list[table.Row] = []
    for case in cases(options):
        rows.append(table.Row(case, options.tolerance))
        run_case(bench, options, rows[-1], a, b, limit)
        write(options, by_line(rows, options.near), labels)
    shown = by_line(rows, options.near)
    print(table.text(shown, labels))
    if options.lines:
        print(lines.text(rows))
    if limit:
        print(table.limit_text(shown, labels))
    return 1 if any(row.failures or (options.pairs and not row.kept()) for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
