"""What a run needs and what it gives: the back end, the distance between the two CPUs, figures; and the count of
instructions."""

from __future__ import annotations

import argparse
import json
import os
import struct
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path as FilePath

from harness.drivers import DRIVER_PARTS, Driver, socket_of
from harness.paths import Case
from harness.process import Process, RunError, tail, wait_for


@dataclass
class Bench:
    """Where the programs are and how they are run."""

    build: FilePath
    back_end_cpu: int = 0
    driver_cpu: int = 1
    switch: str = "null"  # of sitting.SWITCHES
    seconds: float = 0.5
    warm_up: float = 0.1
    settle: float = 1.0
    timeout: float = 60.0
    back_end_options: list[str] = field(default_factory=list)

    def program(self, name: str) -> str:
        return str(self.build / "bench" / "vhost" / name)


@dataclass
class Run:
    """What one run gave."""

    label: str
    mpps: float
    idle: float  # share of the back end's time in passes that moved nothing
    slices: dict
    violations: dict
    distance_before: float = 0.0  # ns: a cache line from CPU to CPU and back
    distance_after: float = 0.0
    cycles_per_packet: float | None = None
    sequence: dict | None = None
    negotiated: dict = field(default_factory=dict)
    latency: dict | None = None


def core_distance(bench: Bench) -> float:
    words = [bench.program("spinring-coreline"), f"--cpus={bench.back_end_cpu},{bench.driver_cpu}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RunError(done.stderr.strip())
    return json.loads(done.stdout)["ns"]["median"]


def start_back_end(bench: Bench, case: Case, folder: FilePath, options: list[str]) -> Process:
    socket = folder / "vhost.sock"
    # QUIRK(DPDK 22.11): the entries of its packed TX indirect tables say that the device may write (2.8.7), and a back
    # end that checks gives every long packet back unsent.
    words = [bench.program("spinring-vhost-null"), f"--socket={socket}", f"--cpu={bench.back_end_cpu}",
             f"--direction={case.direction}", f"--frame-size={case.frame}", f"--queues={case.queues}",
             f"--timeout={bench.timeout}", *(f"--also={socket_of(socket, port)}" for port in range(1, case.ports)),
             *(["--withhold=indirect"] if case.path.packed else []), *bench.back_end_options, *options]
    process = Process(words, folder / "back_end.log")
    last = socket_of(socket, case.ports - 1)
    wait_for(lambda: last.exists() or not process.running(), bench.timeout, "socket of the back end")
    return process


def result_lines(process: Process) -> list[dict]:
    return [json.loads(line) for line in process.output().split("\n")[:-1] if line.startswith("{")]


def result_line(process: Process) -> dict:
    lines = result_lines(process)
    if not lines:
        raise RunError(f"the back end gave no figures:\n{tail(process.output())}")
    return lines[-1]


def run_of(line: dict, case: Case, driver: Driver) -> Run:
    if line["slices"]["kept"] == 0:
        raise RunError(f"{driver.label}, {case.name}: every slice was pre-empted: {line['slices']}. "
                       "Stop what else runs on these CPUs, or give --nice")
    rate = line["mpps"]["rx" if case.direction == "rx" else "tx"]
    if rate["median"] == 0:
        raise RunError(f"{driver.label}, {case.name}: no frame came back in most of the time")
    path = line["path"]
    wanted = {"packed": case.path.packed, "in_order": case.path.in_order, "mergeable": case.path.mergeable,
              "ring": case.ring}
    wrong = {key: path[key] for key, value in wanted.items() if path[key] != value}
    if wrong:
        raise RunError(f"{driver.label}, {case.name}: negotiated {wrong}")
    return Run(driver.label, rate["median"], line["idle"], line["slices"], line["violations"],
               sequence=line.get("sequence"), negotiated=path, latency=line.get("latency"))


def count_instructions(bench: Bench, case: Case, driver: Driver, options: argparse.Namespace) -> dict:
    """Exact instructions a packet, and cache lines, the forwarding thread single-stepped."""
    with tempfile.TemporaryDirectory(prefix="spinring-vhost-") as name:
        folder = FilePath(name)
        stats = folder / "stats"
        back_end = start_back_end(bench, case, folder, ["--duration=0", f"--stats-file={stats}"])
        process = None
        try:
            process = driver.start(case, folder / "vhost.sock", folder, bench.driver_cpu)
            wait_for(lambda: sum(moved(stats)) > 10000 or not process.running(), bench.timeout, "traffic")
            time.sleep(0.5)  # caches and pools of the driver reach their steady state
            thread = process.polling_thread()
            words = [bench.program("spinring-stepcount"), f"--thread={thread}", f"--stats-file={stats}",
                     f"--steps={options.steps}", f"--driver={DRIVER_PARTS[driver.kind]}",
                     *(["--lines"] if options.lines else [])]
            words = ["taskset", "-c", str(bench.driver_cpu), *words]
            done = subprocess.run(words + (["--received"] if case.direction == "rx" else []), capture_output=True,
                                  text=True, check=False, env=os.environ)
            if done.returncode != 0:
                raise RunError(f"{driver.label}, {case.name}: {done.stderr.strip()}")
            return json.loads(done.stdout)
        finally:
            back_end.stop(5)
            if process:
                process.stop()


STATS_MAGIC = 0x7370696E76686F73


def moved(stats: FilePath) -> tuple[int, int]:
    """Frames that the back end gave and took: the file is SharedStats of shared_stats.hpp."""
    data = stats.read_bytes() if stats.exists() else b""
    if len(data) < 80 or struct.unpack_from("<Q", data)[0] != STATS_MAGIC:
        return 0, 0
    return struct.unpack_from("<QQ", data, 64)
