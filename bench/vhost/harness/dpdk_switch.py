"""A run on DPDK's own vhost back end, which copies every frame: dpdk-testpmd with net_vhost sends frames round and round.
It has no clock of its own for slices, so its rate is what its statistics say of the time that is measured."""

from __future__ import annotations

import re
import shlex
import tempfile
import time
from pathlib import Path as FilePath

from harness.drivers import Driver, last_busy
from harness.paths import Case
from harness.process import Process, RunError, tail, wait_for
from harness.runs import Bench, Run, core_distance

TRIES = 6  # the first bursts may be dropped, and then too few frames go round, or none
BURSTS = 8  # of 32 frames, that go round: fewer than either driver keeps ready
SWITCH = ("stdbuf -oL dpdk-testpmd --lcores 0@{cpu},1@{cpu} --in-memory --single-file-segments --no-pci -m 512 "
          "--file-prefix=switch{prefix} --vdev net_vhost0,iface={socket},queues={queues} -- -i --forward-mode=io "
          "--nb-cores=1 --rxq={queues} --txq={queues} --rxd={ring} --txd={ring}")


class Switch:
    """dpdk-testpmd at its prompt."""

    def __init__(self, bench: Bench, case: Case, folder: FilePath) -> None:
        self.process = Process(shlex.split(SWITCH.format(
            cpu=bench.back_end_cpu, prefix=folder.name[-8:], socket=folder / "vhost.sock", queues=case.queues,
            ring=case.ring)), folder / "switch.log")
        self._patience = bench.timeout

    def wait_for(self, what: str, driver: Process | None = None) -> None:
        def over() -> bool:
            return what in self.process.output() or not self.process.running() or (driver and not driver.running())

        wait_for(over, self._patience, f"'{what}' of the switch")
        if what not in self.process.output():
            raise RunError(f"the switch never said '{what}':\n{tail(self.process.output())}")

    def rates(self, bench: Bench) -> tuple[int, int]:
        """Starts frames, and says what came and went a second once they go round; nothing if some got lost."""
        self.process.say("clear port stats 0")
        self.process.say(f"start tx_first {BURSTS}")
        time.sleep(bench.warm_up)
        self.packets_per_second()
        time.sleep(bench.seconds)
        rates = self.packets_per_second()
        lost = int(re.findall(r"TX-errors:\s+(\d+)", self.process.output())[-1])
        return (0, 0) if lost else rates

    def packets_per_second(self) -> tuple[int, int]:
        """What port 0 took and gave since the last call; the first call says nothing."""
        shown = len(re.findall(r"Rx-pps:", self.process.output()))
        self.process.say("show port stats 0")
        wait_for(lambda: len(re.findall(r"Tx-pps:", self.process.output())) > shown, self._patience, "statistics")
        found = [re.findall(rf"{way}-pps:\s+(\d+)", self.process.output())[-1] for way in ("Rx", "Tx")]
        return int(found[0]), int(found[1])


def measure(bench: Bench, case: Case, driver: Driver, _options: list[str] | None = None) -> Run:
    if case.direction != "both":
        raise RunError(f"{case.name}: on DPDK's back end frames go round; there is no {case.mode}")
    with tempfile.TemporaryDirectory(prefix="spinring-vhost-") as name:
        folder = FilePath(name)
        before = core_distance(bench)
        switch = Switch(bench, case, folder)
        process = None
        try:
            switch.wait_for("testpmd> ")
            process = driver.start(case, folder / "vhost.sock", folder, bench.driver_cpu)
            switch.wait_for("virtio is now ready for processing", process)
            time.sleep(0.3)  # until the driver forwards
            for _ in range(TRIES):
                received, sent = switch.rates(bench)
                if received:
                    break
                switch.process.say("stop")
            if not process.running() or received == 0:
                raise RunError(f"no traffic: {received} and {sent} packets/s\n{tail(process.output())}")
        except RunError as error:
            raise RunError(f"{driver.label}, {case.name} on DPDK's back end: {error}") from error
        finally:
            if process:
                process.stop()
            switch.process.stop()
        after = core_distance(bench)
        busy = last_busy(process.output())
        return Run(driver.label, received / 1e6, 0.0, before, after, {"kept": 1}, {},
                   busy.ticks / busy.packets if busy and busy.packets else None)
