"""The back end against the front ends that are compared on it, every path, with sequence numbers: DPDK's virtio-user
driver, which this project did not write, the bare loop that is the limit, and this project's driver. Prints TAP; exits 77
where it cannot run.

    front_end.py BUILD dpdk|limit|spinring"""

from __future__ import annotations

import functools
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import drivers, runs, sitting, tap  # noqa: E402
from harness.paths import PATHS, Case  # noqa: E402
from harness.process import RunError  # noqa: E402

CASES = [Case(path, ring=256) for path in PATHS.values()] + [
    Case(PATHS["split-in-order"], ring=256, queues=2), Case(PATHS["packed-standard"], ring=256, queues=2)]
# What the bare loop knows: one pair of queues, and frames of one buffer.
PLAIN_CASES = [Case(path, ring=ring) for path in PATHS.values() if not path.vectorized or path.in_order
               for ring in (1024, 64)]
# What the driver's forwarder can beside: applications without a perfect cycle, two ports, two queues.
MORE_CASES = [Case(PATHS[name], ring=256, mode=mode, ports=ports, queues=queues)
              for name in ("split-mergeable", "packed-in-order")
              for mode, ports, queues in (("keep-third", 1, 1), ("drop-third", 1, 1), ("keep-and-drop", 2, 1), ("mac", 2, 1),
                                          ("mac", 1, 2))]
# Frames in several buffers, and in one large one.
LONG_CASES = [Case(PATHS[name], ring=256, frame=frame) for name, frame in (
    ("split-mergeable", 4000), ("split-mergeable", 9000), ("packed-mergeable", 9000), ("split-standard", 9000))]
KEPT = 512  # by one stream of noisy: harness/paths.py
PATIENCE = 60.0
ENDING_SECONDS = 10.0
LEAST_FRAMES = 10000
# A driver built with AddressSanitizer may need more than the usual 100 microseconds for what it does at once.
GAP = "--gap=0.01"


def reason_to_skip(kind: str) -> str | None:
    if kind == "dpdk" and shutil.which("dpdk-testpmd") is None:
        return "there is no dpdk-testpmd in PATH (apt-get install dpdk)"
    free = int(Path("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages").read_text())
    needed = {"dpdk": 256, "limit": 8}.get(kind, 32) * 2
    return f"{free} free hugepages of 2 MiB; {needed} are needed (echo 1024 >/proc/sys/vm/nr_hugepages)" if free < needed else None


def complaints(bench: runs.Bench, case: Case, kind: str) -> list[str]:
    """Moves frames for a moment, first with sequence numbers, then with the time of some taken; what was wrong."""
    found = run(bench, case, kind, ["--mode=sequence", "--duration=0.3", "--warm-up=0"], judge)
    if case.frame == 60 and case.mode == "mac" and case.ring >= 256:
        found += run(bench, case, kind, ["--rate=0.2", "--latency", "--duration=0.2", "--warm-up=0.05"], judge_probes)
    return found


def run(bench: runs.Bench, case: Case, kind: str, options: list[str], verdict) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="spinring-vhost-") as name:
        folder = Path(name)
        back_end = runs.start_back_end(bench, case, folder, options)
        process = drivers.make(kind, kind, None, bench.build).start(case, folder / "vhost.sock", folder, 1)
        try:
            deadline = time.monotonic() + PATIENCE
            while back_end.running() and process.running() and time.monotonic() < deadline:
                time.sleep(0.05)
            # A back end closes its socket before it ends, so a driver that goes by that may have ended first.
            status = back_end.wait(ENDING_SECONDS)
            line = runs.result_line(back_end)
            process.stop()
            return verdict(line, case, status, dropped(kind, folder))
        except RunError as error:
            return [str(error), *process.output().splitlines()[-10:]]
        finally:
            back_end.stop()
            process.stop()


def sitting_complaints(bench: runs.Bench, kind: str) -> list[str]:
    """Two sides that are measured in turn on what is started once; every window is of its own."""
    driver = drivers.make(kind, kind, None, bench.build)
    case = Case(PATHS["packed-in-order"])
    try:
        with sitting.seated(bench, [(case, driver), (case, driver)], [GAP]) as sides:
            found = [run for _ in range(3) for run in sitting.turn(bench, sides)]
    except RunError as error:
        return [str(error)]
    tolerated = {"num_buffers", "first"}  # DPDK's
    wrong = [f"{run}" for run in found if not run.cycles_per_packet or run.violations.keys() - tolerated]
    # What rested for longer than it was measured would be seen as busy, or as idle, by far.
    busy = sorted(run.cycles_per_packet or 0 for run in found)
    return wrong + ([f"busy times {busy}"] if busy[-1] > 10 * busy[0] else [])


def dropped(kind: str, folder: Path) -> int | None:
    """What the front end says it has dropped, for a full ring or since it was told to; None: it does not say."""
    if kind == "dpdk":
        return None
    totals = json.loads((folder / "driver.json").read_text()).get("totals", {})
    return totals.get("tx_dropped", 0) + totals.get("consumed", 0)


def judge(line: dict, case: Case, status: int, drops: int | None) -> list[str]:
    found = []
    path = line["path"]
    wanted = {"packed": case.path.packed, "mergeable": case.path.mergeable, "in_order": case.path.in_order,
              "ring": case.ring, "queues": 2 * case.queues, "content": "sequence"}
    found += [f"{key} is {path[key]}" for key, value in wanted.items() if path[key] != value]
    sequence = line["sequence"]
    keeps = case.mode.startswith("keep")
    found += [f"{sequence[key]} {key}" for key in ("reordered", "duplicated", "corrupt")
              if sequence[key] and not (keeps and key == "reordered")]
    if keeps and not sequence["reordered"]:
        found.append("no frame was kept")
    if sequence["verified"] < LEAST_FRAMES:
        found.append(f"{sequence['verified']} frames came back; at least {LEAST_FRAMES} should have")
    # What DPDK drops for a full ring, and what it holds at the end, is missing. It cannot be more than came back. The
    # others say what they drop, and the back end waits for the last frames.
    least, most = (0, sequence["verified"]) if drops is None else (drops, drops + KEPT * case.ports * case.queues * keeps)
    if not least <= sequence["lost"] <= most:
        found.append(f"{sequence['lost']} lost of {sequence['verified'] + sequence['lost']}; dropped: {drops}")
    return found + ([f"exit status {status}: {line}"] if status and not keeps else [])


def judge_probes(line: dict, _case: Case, status: int, drops: int | None) -> list[str]:
    """Every frame whose time is taken comes back once, and is counted or discarded. How long it took is not asked here."""
    counts, ns = line["latency"]["probes"], line["latency"]["ns"]
    found = [f"exit status {status}: {line}"] if status else []
    if counts["unknown"] or counts["counted"] + counts["discarded"] != counts["returned"] or counts["returned"] < 10:
        found.append(f"probes: {counts}")
    if drops is not None and counts["lost"] > drops:  # DPDK flushes its queues at the start, and does not say what it drops
        found.append(f"{counts['lost']} of {counts['sent']} probes lost")
    if not ns["p50"] <= ns["p99"] <= ns["p99.9"] <= ns["max"] or (counts["counted"] and not ns["p50"]):
        found.append(f"times: {ns}")
    return found


def main() -> int:
    kind = sys.argv[2]
    reason = reason_to_skip(kind)
    if reason:
        return tap.skipped(reason)
    bench = runs.Bench(Path(sys.argv[1]), driver_cpu=1, timeout=PATIENCE, back_end_options=["--tolerate=num_buffers"])
    cases = {"dpdk": CASES + LONG_CASES, "limit": PLAIN_CASES, "spinring": PLAIN_CASES + MORE_CASES + LONG_CASES}[kind]
    if os.environ.get("SPINRING_QUICK") == "1":
        cases = cases[::2]  # of the plain ones each path, at ring 1024
    tests = [(case.name, functools.partial(complaints, bench, case, kind)) for case in cases]
    tests.append(("both sides of a sitting", functools.partial(sitting_complaints, bench, kind)))
    return tap.run_all(tests)


if __name__ == "__main__":
    sys.exit(main())
