"""Switches that die and come back under load, in both socket modes: no frame is lost, none out of order, the pool whole,
no descriptor left open. This project's back end counts by sequence numbers over all its lives; DPDK's testpmd is a
switch that others wrote. Prints TAP; exits 77 where it cannot run."""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench" / "vhost"))

from harness import tap  # noqa: E402
from harness.process import Process, RunError, tail, wait_for  # noqa: E402
from harness.runs import moved, result_line  # noqa: E402

QUICK = os.environ.get("SPINRING_QUICK") == "1"
PATIENCE = 60.0
BATCH = 32  # frames that a back end works on at a time: what a kill leaves uncertain
LEAST_FRAMES = 2000  # of each life


@dataclass(frozen=True)
class Story:
    """`lives` back ends, one after the other, on one port."""

    server: bool  # the port listens
    packed: bool
    lives: int

    @property
    def name(self) -> str:
        return f"{'packed' if self.packed else 'split'}, server={int(self.server)}, {self.lives - 1} reconnects"


# 100 reconnects in all.
STORIES = [Story(server, packed, 6 if QUICK else 26) for server in (False, True) for packed in (False, True)]
DPDK_STORIES = [Story(server, server, 3 if QUICK else 5) for server in (False, True)]


class Port:
    """spinring-testpmd on the socket."""

    def __init__(self, build: Path, folder: Path, story: Story, mode: str, extra: str = "") -> None:
        self._json = folder / "port.json"
        vdev = (f"virtio_user0,path={folder / 'sock'},queue_size=1024,packed={int(story.packed)},in_order={int(story.packed)},"
                f"server={int(story.server)}")
        self.process = Process(shlex.split(
            f"{build / 'apps/testpmd/spinring-testpmd'} --no-huge --vdev {vdev} -- --forward-mode={mode} --rxd=1024 "
            f"--txd=1024 --rx-fill=256 --json={self._json} {extra}"), folder / "port.log")

    def open_descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def restarts(self) -> int:
        return self.process.output().count("restarted after a fault")

    def end(self) -> dict:
        os.kill(self.process.pid, signal.SIGTERM)
        status = self.process.wait(20)
        if status != 0:
            raise RunError(f"the port ended with {status}:\n{tail(self.process.output())}")
        return json.loads(self._json.read_text())


class BackEnd:
    """One life of this project's back end."""

    def __init__(self, build: Path, folder: Path, story: Story, number: int) -> None:
        self._stats = folder / f"stats-{number}"
        self.process = Process(shlex.split(
            f"{build / 'bench/vhost/spinring-vhost-null'} --socket={folder / 'sock'} --mode=sequence --duration=0 --warm-up=0 "
            f"--ledger={folder / 'ledger'} --stats-file={self._stats} --in-flight=512 --timeout={PATIENCE:.0f} "
            f"{'--client' if story.server else ''}"), folder / f"back-end-{number}.log")

    def returned(self) -> int:
        """Frames that came back in this life."""
        return moved(self._stats)[1]

    def wait_for_traffic(self) -> None:
        wait_for(lambda: self.returned() >= LEAST_FRAMES or not self.process.running(), PATIENCE, "traffic")
        if not self.process.running():
            raise RunError(f"the back end ended early:\n{tail(self.process.output())}")

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def end(self) -> dict:
        os.kill(self.process.pid, signal.SIGTERM)
        self.process.wait(20)  # its status says 1 for frames that came twice
        return result_line(self.process)


def judge_port(report: dict, restarts: int) -> list[str]:
    port = report["ports"][0]
    found = []
    if report["pool"]["available"] != report["pool"]["capacity"]:
        found.append(f"the pool is not whole: {report['pool']}")
    if port["recoveries"] != restarts:
        found.append(f"{port['recoveries']} restarts, not {restarts}")
    for queue in port["queues"]:
        found += [f"{what} {queue[side][what]}" for side, what in (("rx", "bad_completions"), ("rx", "truncated"),
                  ("tx", "rejected"), ("tx", "bad_completions"), ("tx", "restart_dropped")) if queue[side][what]]
    return found


def judge_sequence(line: dict, report: dict, kills: int) -> list[str]:
    """What was lost the port must have counted; what came twice it must have sent again, or a kill must have hidden that
    it was given once already."""
    sequence = line["sequence"]
    found = [f"{sequence[what]} {what}" for what in ("reordered", "corrupt") if sequence[what]]
    queue = report["ports"][0]["queues"][0]
    counted = report["totals"]["tx_dropped"] + queue["rx"]["restart_dropped"]
    if sequence["lost"] > counted:
        found.append(f"{sequence['lost']} lost, and the port counted {counted}")
    most = queue["tx"]["sent_again"] + kills * BATCH
    if sequence["duplicated"] > most:
        found.append(f"{sequence['duplicated']} came twice; at most {most} were sent twice")
    FIGURES.add(report, sequence, counted)
    return found


class Figures:
    """What all stories with sequence numbers make together: a line for people."""

    def __init__(self) -> None:
        self._sums = dict.fromkeys(("reconnects", "came back", "lost", "counted as dropped", "out of order", "changed",
                                    "came twice", "sent again"), 0)
        self._whole = 0
        self._pools = 0

    def add(self, report: dict, sequence: dict, counted: int) -> None:
        port = report["ports"][0]
        values = (port["recoveries"], sequence["verified"], sequence["lost"], counted, sequence["reordered"],
                  sequence["corrupt"], sequence["duplicated"], port["queues"][0]["tx"]["sent_again"])
        for name, value in zip(self._sums, values):
            self._sums[name] += value
        self._pools += 1
        self._whole += report["pool"]["available"] == report["pool"]["capacity"]

    def __str__(self) -> str:
        return (", ".join(f"{value} {name}" for name, value in self._sums.items())
                + f"; pool whole in {self._whole} of {self._pools} runs")


FIGURES = Figures()


def own_back_end(build: Path, folder: Path, story: Story) -> list[str]:
    port = None
    back_end = None
    found = []
    kills = 0
    try:
        for number in range(story.lives):
            back_end = BackEnd(build, folder, story, number)
            port = port or Port(build, folder, story, "io")
            back_end.wait_for_traffic()
            if number == 0:
                descriptors = port.open_descriptors()
            if number + 1 == story.lives:
                break
            if number % 2 == 0:
                back_end.kill()
                kills += 1
            else:
                line = back_end.end()
                found += [f"life {number}: {line['violations']}"] if line["violations"] else []
        if port.open_descriptors() != descriptors:
            found.append(f"{descriptors} descriptors were open, and {port.open_descriptors()} are")
        line = back_end.end()
        report = port.end()
        return found + judge_port(report, story.lives - 1) + judge_sequence(line, report, kills)
    finally:
        for process in (back_end, port):
            if process:
                process.process.stop()


def received(port: Port, end_of_log: int) -> int:
    """Frames that the port says it received, by its prompt."""
    port.process.say("show port stats 0")
    found = []
    wait_for(lambda: found.extend(re.findall(r"RX packets: (\d+)", port.process.output()[end_of_log:])) or found, PATIENCE,
             "answer at the prompt")
    return int(found[-1])


def dpdk_switch(build: Path, folder: Path, story: Story) -> list[str]:
    def start(number: int) -> Process:
        if not story.server:
            (folder / "sock").unlink(missing_ok=True)  # DPDK takes no socket's place, not even a dead one's
        return Process(shlex.split(
            f"dpdk-testpmd --no-huge --no-shconf --no-pci --no-telemetry -m 256 --file-prefix=reconnect "
            f"--vdev net_vhost0,iface={folder / 'sock'},client={int(story.server)} -- --forward-mode=txonly --auto-start "
            f"--total-num-mbufs=4096 --stats-period=3600"), folder / f"switch-{number}.log")

    port = None
    switch = None
    try:
        before = 0
        for number in range(story.lives):
            switch = start(number)
            port = port or Port(build, folder, story, "rxonly", "--interactive --auto-start")
            wait_for(lambda: port.restarts() == number, PATIENCE, f"restart {number}")
            now = [0]

            def moves() -> bool:
                now[0] = received(port, len(port.process.output()))
                return now[0] >= before + LEAST_FRAMES or not switch.running()
            wait_for(moves, PATIENCE, "traffic")
            if not switch.running():
                raise RunError(f"the switch ended early:\n{tail(switch.output())}")
            before = now[0]
            if number == 0:
                descriptors = port.open_descriptors()
            if number + 1 < story.lives and number % 2 == 0:
                os.kill(switch.pid, signal.SIGKILL)
                switch.wait(10)
            elif number + 1 < story.lives:
                switch.stop()
        found = [] if port.open_descriptors() == descriptors else ["descriptors were left open"]
        return found + judge_port(port.end(), story.lives - 1)
    finally:
        for process in (switch, port and port.process):
            if process:
                process.stop()


def complaints(tell, build: Path, story: Story) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="spinring-vhost-") as name:
        folder = Path(name)
        try:
            return tell(build, folder, story)
        except RunError as error:
            log = folder / "port.log"
            return [*str(error).splitlines(), *(log.read_text(errors="replace").splitlines()[-10:] if log.exists() else [])]


def main() -> int:
    if shutil.which("dpdk-testpmd") is None:
        return tap.skipped("there is no dpdk-testpmd in PATH (apt-get install dpdk)")
    build = Path(sys.argv[1])
    tests = [(f"this project's back end: {story.name}", functools.partial(complaints, own_back_end, build, story))
             for story in STORIES]
    tests += [(f"DPDK's vhost: {story.name}", functools.partial(complaints, dpdk_switch, build, story))
              for story in DPDK_STORIES]
    status = tap.run_all(tests)
    print(f"# under load, this project's back end: {FIGURES}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
