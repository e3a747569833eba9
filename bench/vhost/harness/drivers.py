"""The drivers that are compared: how each is started on the back end's socket, and what it says in the end."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path as FilePath

from harness.paths import Case
from harness.process import Process

DPDK = ("dpdk-testpmd --lcores 0@{cpu},1@{cpu} --in-memory --single-file-segments --no-pci -m {memory} "
        "--file-prefix={prefix} {simd} --log-level=pmd.net.virtio.*:debug "
        "--vdev net_virtio_user0,path={socket},queues={queues},queue_size={ring},mrg_rxbuf={mergeable},"
        "in_order={in_order},packed_vq={packed},vectorized={vectorized} -- --forward-mode={mode} --nb-cores=1 "
        "--burst={burst} --rxq={queues} --txq={queues} --rxd={ring} --txd={ring} --record-core-cycles "
        "--txpkts={txpkts} {jumbo}")
SPINRING = ("{build}/apps/testpmd/spinring-testpmd --lcores 0@{cpu},1@{cpu} "
            "--vdev virtio_user0,path={socket},queues={queues},queue_size={ring},packed={packed},"
            "mrg_rxbuf={mergeable},in_order={in_order} -- --forward-mode={mode} --burst={burst} --rxq={queues} "
            "--txq={queues} --rxd={ring} --txd={ring} --rx-fill={fill} --txpkts={txpkts} --json={json}")
# No driver: the least that forwards on such a ring (bench/vhost/limit).
LIMIT = ("{build}/bench/vhost/spinring-vhost-limit --cpu={cpu} --burst={burst} --json={json} "
         "--vdev=virtio_user0,path={socket},queue_size={ring},packed={packed},mrg_rxbuf={mergeable},"
         "in_order={in_order}")
# The driver without its checks of what the device writes: what these cost.
UNCHECKED = SPINRING.replace("apps/testpmd/spinring-testpmd", "bench/vhost/spinring-testpmd-unchecked")
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

    def start(self, case: Case, socket: FilePath, folder: FilePath, cpu: int) -> Process:
        (folder / "driver.json").unlink(missing_ok=True)
        # A mergeable path takes a long frame in pieces; the others need a buffer for all of it.
        long = case.frame > 1518
        words = self.template.format(
            build=self.build, cpu=cpu, socket=socket, queues=case.queues, ring=case.ring, mode=case.mode,
            burst=case.burst, prefix=f"vhost{socket.parent.name[-8:]}", mergeable=int(case.path.mergeable),
            in_order=int(case.path.in_order), packed=int(case.path.packed), vectorized=int(case.path.vectorized),
            simd="--force-max-simd-bitwidth=512" if case.path.packed and case.path.vectorized else "",
            txpkts=max(case.frame, 64), fill=min(case.ring // 2, 512), json=folder / "driver.json", memory=512,
            jumbo=f"--max-pkt-len={case.frame + 18} --mbuf-size={case.frame + 512}"
            if long and not case.path.mergeable else "")
        return Process(shlex.split(words), folder / "driver.log")

    def cycles_per_packet(self, folder: FilePath, process: Process) -> float | None:
        """Ticks a packet in polls that had any: the driver's (and the forwarder's) own busy time."""
        if self.kind != "dpdk":
            file = folder / "driver.json"
            if not file.exists():
                return None
            return max((lcore["cycles_per_packet"] for lcore in json.loads(file.read_text())["lcores"]), default=None)
        found = re.findall(r"CPU cycles/packet=([\d.]+)", process.output())
        return float(found[-1]) if found else None


def make(kind: str, label: str, template: str | None, build: FilePath) -> Driver:
    return Driver(label, kind, template or TEMPLATES[kind], build)
