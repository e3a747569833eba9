"""The drivers that are compared: how each is started on the back end's socket, and what it says in the end."""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path as FilePath

from harness.paths import MODES, Case
from harness.process import Process, RunError, wait_for

ANSWER_SECONDS = 1.0

DPDK = ("stdbuf -oL dpdk-testpmd --lcores 0@{cpu},1@{cpu} --in-memory --single-file-segments --no-pci -m {memory} "
        "--file-prefix={prefix} {simd} --log-level=pmd.net.virtio.*:debug "
        "{ports} -- -i --auto-start --forward-mode={mode} --nb-cores=1 "
        "--burst={burst} --rxq={queues} --txq={queues} --rxd={ring} --txd={ring} --record-core-cycles "
        "{frames} {scatter} {pool} {mode_options}")
SPINRING = ("{build}/apps/testpmd/spinring-testpmd --lcores 0@{cpu},1@{cpu} "
            "{ports} -- -i --auto-start --forward-mode={mode} --burst={burst} --rxq={queues} "
            "--txq={queues} --rxd={ring} --txd={ring} --rx-fill={fill} {frames} {mode_options} --json={json}")
# No driver: the least that forwards on such a ring (bench/vhost/limit).
LIMIT = ("{build}/bench/vhost/spinring-vhost-limit --cpu={cpu} --burst={burst} --json={json} "
         "{ports}")
PORT = {
    "dpdk": "--vdev net_virtio_user{port},path={socket},queues={queues},queue_size={ring},mrg_rxbuf={mergeable},"
            "in_order={in_order},packed_vq={packed},vectorized={vectorized}",
    "spinring": "--vdev virtio_user{port},path={socket},queues={queues},queue_size={ring},mrg_rxbuf={mergeable},"
                "in_order={in_order},packed={packed},aligned={aligned}"}
# The driver without its checks of what the device writes: what these cost.
UNCHECKED_PROGRAM = "bench/vhost/spinring-testpmd-unchecked"
UNCHECKED = SPINRING.replace("apps/testpmd/spinring-testpmd", UNCHECKED_PROGRAM)
TEMPLATES = {"dpdk": DPDK, "spinring": SPINRING, "unchecked": UNCHECKED, "limit": LIMIT}
# Parts of "object:function" that are the driver itself, for the count of instructions.
DRIVER_PARTS = {"dpdk": "librte_net_virtio,librte_mempool", "spinring": "spinring::pmd,spinring::mempool",
                "unchecked": "spinring::pmd,spinring::mempool", "limit": "spinring::bench::limit"}


@dataclass(frozen=True)
class Driver:
    """A command template. `kind` says how its final statistics are read."""

    label: str
    kind: str
    template: str
    build: FilePath
    aligned: bool = False  # this driver's received frames begin on a cache line

    def start(self, case: Case, socket: FilePath, folder: FilePath, cpu: int) -> Process:
        (folder / "driver.json").unlink(missing_ok=True)
        mode = MODES[case.mode]
        if self.kind == "dpdk" and not mode.dpdk:
            raise RunError(f"DPDK's testpmd has nothing like {case.mode}: name another --a")
        path = case.path
        ports = " ".join(PORT.get(self.kind, PORT["spinring"]).format(
            port=port, socket=socket_of(socket, port), queues=case.queues, ring=case.ring, mergeable=int(path.mergeable),
            in_order=int(path.in_order), packed=int(path.packed), vectorized=int(path.vectorized), aligned=int(self.aligned))
            for port in range(case.ports))
        words = self.template.format(
            build=self.build, cpu=cpu, ports=ports, queues=case.queues, ring=case.ring,
            mode=mode.forward or case.mode, mode_options=mode.options,
            burst=case.burst, prefix=f"vhost{socket.parent.name[-8:]}",
            simd="--force-max-simd-bitwidth=512" if case.path.packed and case.path.vectorized else "",
            frames=frame_options(case), fill=min(case.ring, 512), json=folder / "driver.json", memory=512,
            # Else DPDK wants buffers for the longest frame.
            scatter="--enable-scatter" if case.frame > 1518 and not buffer_of(case) else "",
            # As many large buffers as DPDK has small ones would not fit: as many as rings and caches can hold.
            pool=f"--total-num-mbufs={4 * case.ring * case.queues * case.ports + 4096}" if buffer_of(case) else "")
        return Process(shlex.split(words), folder / "driver.log")



@dataclass(frozen=True)
class Busy:
    """What a driver says of itself: time-stamp ticks in polls that had packets (the forwarder's part included)."""

    ticks: int
    packets: int

    def a_packet_since(self, before: Busy) -> float | None:
        packets = self.packets - before.packets
        return (self.ticks - before.ticks) / packets if packets > 0 else None


CYCLES = re.compile(r"CPU cycles/packet=\S+ \(total cycles=(\d+) / total .*packets=(\d+)\)")


def last_busy(text: str) -> Busy | None:
    found = CYCLES.findall(text)
    return Busy(*map(int, found[-1])) if found else None


def ask_busy(process: Process) -> Busy | None:
    """Asks at the prompt. None: this one does not say, as DPDK's noisy mode."""
    heard = len(process.output())
    process.say("show fwd stats all")
    with contextlib.suppress(RunError):
        wait_for(lambda: CYCLES.search(process.output()[heard:]) or not process.running(), ANSWER_SECONDS, "answer")
    return last_busy(process.output()[heard:])


def buffer_of(case: Case) -> int | None:
    """Bytes of a packet buffer, if the usual one will not do: a mergeable path takes a long frame in pieces, the others, and
    a forwarder that makes frames up, need a buffer for all of it."""
    whole = not case.path.mergeable or case.mode == "txonly"
    return case.frame + 512 if case.frame > 1518 and whole else None


def frame_options(case: Case) -> str:
    """What both forwarders are told of the frames: their length for txonly, and what they are to have room for."""
    words = [f"--txpkts={max(case.frame, 64)}"] if case.mode == "txonly" else []
    words += [f"--max-pkt-len={case.frame + 18}"] if case.frame > 1518 else []
    words += [f"--mbuf-size={buffer_of(case)}"] if buffer_of(case) else []
    return " ".join(words)


def socket_of(first: FilePath, port: int) -> FilePath:
    return first if port == 0 else first.with_name(f"{first.name}{port}")


def make(kind: str, label: str, template: str | None, build: FilePath, aligned: bool = False) -> Driver:
    if kind == "unchecked" and not template:  # nothing else builds it: it takes minutes
        done = subprocess.run(["ninja", "-C", str(build), UNCHECKED_PROGRAM], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RunError(f"{UNCHECKED_PROGRAM} can't be built in {build}:\n{done.stdout}")
    return Driver(label, kind, template or TEMPLATES[kind], build, aligned)
