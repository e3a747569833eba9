"""DPDK's own vhost back end, which copies every frame: dpdk-testpmd with net_vhost sends frames round and round. It has no
clock of its own for slices, so a rate is what its statistics say of the time between two questions."""

from __future__ import annotations

import re
import shlex
import time
from pathlib import Path as FilePath

from harness.drivers import Driver
from harness.paths import Case
from harness.process import Process, RunError, tail, wait_for
from harness.runs import Bench, Run

TRIES = 6  # the first bursts may be dropped, and then too few frames go round, or none
BURSTS = 8  # of 32 frames, that go round: fewer than either driver keeps ready
DRAIN_SECONDS = 0.2
SWITCH = ("stdbuf -oL dpdk-testpmd --lcores 0@{cpu},1@{cpu} --in-memory --single-file-segments --no-pci -m 128 "
          "--file-prefix=switch{prefix} --vdev net_vhost0,iface={socket},queues={queues} -- -i --forward-mode=io "
          "--nb-cores=1 --rxq={queues} --txq={queues} --rxd={ring} --txd={ring} --total-num-mbufs=16384")


class DpdkSwitch:
    """dpdk-testpmd at its prompt. Frames go round from settle() on, whenever neither side rests."""

    def __init__(self, bench: Bench, case: Case, folder: FilePath, options: list[str]) -> None:
        if case.direction != "both" or case.ports != 1 or options:
            raise RunError(f"{case.name}: on DPDK's back end frames go round one port; there is no {case.mode}, no second "
                           "port and no load")
        self._bench = bench
        self._case = case
        self.process = Process(shlex.split(SWITCH.format(
            cpu=bench.back_end_cpu, prefix=folder.name[-8:], socket=folder / "vhost.sock", queues=case.queues,
            ring=case.ring)), folder / "switch.log")
        try:
            self._wait_for("testpmd> ")
        except RunError:
            self.process.stop()
            raise

    def settle(self, driver: Driver, process: Process) -> None:
        self._wait_for("virtio is now ready for processing", process)
        time.sleep(0.3)  # until the driver forwards
        for _ in range(TRIES):
            self.process.say("clear port stats 0")
            self.process.say(f"start tx_first {BURSTS}")
            time.sleep(self._bench.settle)
            received = self._packets_per_second()
            if received and not self._lost():
                return
            self._drain()
        raise RunError(f"{driver.label}, {self._case.name} on DPDK's back end: no traffic\n{tail(process.output())}")

    def _drain(self) -> None:
        """Frames of a try that failed go round no more: with those of the next they would be too many."""
        for line in ("stop", "set fwd rxonly", "start"):
            self.process.say(line)
        time.sleep(DRAIN_SECONDS)
        for line in ("stop", "set fwd io"):
            self.process.say(line)

    def proceed(self) -> None:
        self.process.proceed()

    def rest(self) -> None:
        self.process.rest()

    def window(self, driver: Driver, process: Process, rate: float) -> Run:
        del rate  # there are no loads
        time.sleep(self._bench.warm_up)
        self._packets_per_second()
        time.sleep(self._bench.seconds)
        received = self._packets_per_second()
        if not process.running() or received == 0 or self._lost():
            raise RunError(f"{driver.label}, {self._case.name} on DPDK's back end: {received} packets/s, {self._lost()} lost\n"
                           f"{tail(process.output())}")
        return Run(driver.label, received / 1e6, 0.0, {"kept": 1}, {})

    def _lost(self) -> int:
        return int(re.findall(r"TX-errors:\s+(\d+)", self.process.output())[-1])

    def _wait_for(self, what: str, driver: Process | None = None) -> None:
        def over() -> bool:
            return what in self.process.output() or not self.process.running() or (driver and not driver.running())

        wait_for(over, self._bench.timeout, f"'{what}' of the switch")
        if what not in self.process.output():
            raise RunError(f"the switch never said '{what}':\n{tail(self.process.output())}")

    def _packets_per_second(self) -> int:
        """What port 0 took since the last call; the first call says nothing."""
        shown = len(re.findall(r"Rx-pps:", self.process.output()))
        self.process.say("show port stats 0")
        wait_for(lambda: len(re.findall(r"Rx-pps:\s+\d+\s", self.process.output())) > shown, self._bench.timeout, "statistics")
        return int(re.findall(r"Rx-pps:\s+(\d+)\s", self.process.output())[-1])
