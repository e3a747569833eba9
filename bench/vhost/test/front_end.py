"""The back end against the front ends that are compared on it, every path, with sequence numbers: DPDK's virtio-user
driver, which this project did not write, the bare loop that is the limit, this project's driver, and the same without its
checks. Prints TAP; exits 77 where it cannot run.

    front_end.py BUILD dpdk|limit|spinring|unchecked"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import drivers, runs  # noqa: E402
from harness.paths import PATHS, Case  # noqa: E402
from harness.process import RunError, tail  # noqa: E402

CASES = [Case(path, ring=256) for path in PATHS.values()] + [
    Case(PATHS["split-mergeable"], ring=256, frame=4000), Case(PATHS["packed-mergeable"], ring=256, frame=4000),
    Case(PATHS["split-in-order"], ring=256, queues=2), Case(PATHS["packed-standard"], ring=256, queues=2)]
# What the bare loop knows: one pair of queues, and frames of one buffer.
PLAIN_CASES = [Case(path, ring=ring) for path in PATHS.values() if not path.vectorized or path.in_order
               for ring in (64, 1024)]
PATIENCE = 60.0
LEAST_FRAMES = 10000


def reason_to_skip(kind: str) -> str | None:
    if kind == "dpdk" and shutil.which("dpdk-testpmd") is None:
        return "there is no dpdk-testpmd in PATH (apt-get install dpdk)"
    free = int(Path("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages").read_text())
    needed = {"dpdk": 256, "limit": 8}.get(kind, 32)
    return f"{free} free hugepages of 2 MiB; {needed} are needed (echo 1024 >/proc/sys/vm/nr_hugepages)" if free < needed else None


def complaints(bench: runs.Bench, case: Case, kind: str) -> list[str]:
    """Moves frames for a moment; what was wrong with them."""
    with tempfile.TemporaryDirectory(prefix="spinring-vhost-") as name:
        folder = Path(name)
        back_end = runs.start_back_end(bench, case, folder, ["--mode=sequence", "--duration=0.3", "--warm-up=0"])
        process = drivers.make(kind, kind, None, bench.build).start(case, folder / "vhost.sock", folder, 1)
        try:
            deadline = time.monotonic() + PATIENCE
            while back_end.running() and process.running() and time.monotonic() < deadline:
                time.sleep(0.05)
            if back_end.running():
                return [f"the back end does not end: {tail(back_end.output())}", *process.output().splitlines()[-10:]]
            line, status = runs.result_line(back_end), back_end.wait(5)
            process.stop()
            return judge(line, case, status, dropped(kind, folder))
        except RunError as error:
            return [str(error), *process.output().splitlines()[-10:]]
        finally:
            back_end.stop()
            process.stop()


def dropped(kind: str, folder: Path) -> int | None:
    """What the front end says it has dropped since a ring was full; None: it does not say."""
    if kind == "dpdk":
        return None
    return sum(port["tx_dropped"] for port in json.loads((folder / "driver.json").read_text()).get("ports", []))


def judge(line: dict, case: Case, status: int, drops: int | None) -> list[str]:
    found = []
    path = line["path"]
    wanted = {"packed": case.path.packed, "mergeable": case.path.mergeable, "in_order": case.path.in_order,
              "ring": case.ring, "queues": 2 * case.queues, "content": "sequence"}
    found += [f"{key} is {path[key]}" for key, value in wanted.items() if path[key] != value]
    sequence = line["sequence"]
    found += [f"{sequence[key]} {key}" for key in ("reordered", "duplicated", "corrupt") if sequence[key]]
    if sequence["verified"] < LEAST_FRAMES:
        found.append(f"{sequence['verified']} frames came back; at least {LEAST_FRAMES} should have")
    # What DPDK drops for a full ring, and what it holds at the end, is missing. It cannot be more than came back. The
    # others say what they drop, and the back end waits for the last frames.
    wrong = sequence["lost"] > sequence["verified"] if drops is None else sequence["lost"] != drops
    if wrong:
        found.append(f"{sequence['lost']} lost of {sequence['verified'] + sequence['lost']}; dropped: {drops}")
    return found + ([f"exit status {status}: {line}"] if status else [])


def main() -> int:
    kind = sys.argv[2]
    reason = reason_to_skip(kind)
    if reason:
        print(f"skipped: {reason}")
        return 77
    bench = runs.Bench(Path(sys.argv[1]), driver_cpu=1, timeout=PATIENCE, back_end_options=["--tolerate=num_buffers"])
    cases = CASES if kind == "dpdk" else PLAIN_CASES
    print(f"1..{len(cases)}")
    failed = 0
    for number, case in enumerate(cases, 1):
        found = complaints(bench, case, kind)
        failed += bool(found)
        print(f"{'not ok' if found else 'ok'} {number} - {case.name}")
        for complaint in found:
            print(f"# {complaint}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
