#!/usr/bin/env python3
"""spinring-testpmd beside dpdk-testpmd in one guest, in turn: macswap of 64-byte frames between two NICs on one cable.

Both bursts of `start tx_first` go round and round: what a port sends, the other receives and sends back. For each device
two guests of one CPU run. In the first, packets are counted against the clock. In the second time is instructions (QEMU's
-icount), and the time that the guest's kernel says a program ran is what it executed, the kernel's part included. The device's
time must then be the guest's as well: the e1000 family works inside the write to its doorbell, and virtio sends on a timer
(DEVICES_OF_INSTRUCTIONS). How many instructions a program waited in is told by a round without packets, which says what a poll
costs that finds nothing, and by the number of such polls; the others are what packets cost.

    python3 bench/guest/peers.py --program build/gcc/apps/testpmd/spinring-testpmd                 # every device
    python3 bench/guest/peers.py --program ... --nic igb --pairs 5 --what rate --json igb.json     # a part of it
    python3 bench/guest/peers.py --table e1000.json igb.json ...                                   # one table of parts
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "guest"))

from errors import HarnessError, Unavailable  # noqa: E402
from machine import Guest, GuestConfig, Nic  # noqa: E402
from wire import Hub  # noqa: E402

# What a row of the table is called: QEMU's model and its properties.
DEVICES = {
    "e1000": ("e1000", ""), "e1000-82545em": ("e1000-82545em", ""), "e1000e": ("e1000e", ""), "igb": ("igb", ""),
    "virtio-split": ("virtio-net-pci", ""), "virtio-packed": ("virtio-net-pci", "packed=on"),
}
# The same where the clock counts instructions. By itself QEMU's virtio works in another thread, in the host's time: how many
# instructions the guest executes meanwhile is a matter of how fast the host translates them (--own-thread shows it).
DEVICES_OF_INSTRUCTIONS = {nic: (model, ",".join(filter(None, (more, "ioeventfd=off,tx=timer,x-txtimer=20000"))))
                           if nic.startswith("virtio") else (model, more) for nic, (model, more) in DEVICES.items()}
PLUGINS = ("librte_net_e1000", "librte_net_virtio", "librte_mempool_ring")
RING = 256
BURST = 32
ICOUNT_SHIFT = 1  # an instruction takes 2 ns
CONTROL_GROUPS = "/sys/fs/cgroup"  # of the guest
LCORES = "0@0,1@0"  # the one that forwards, and the main one, which sleeps at its prompt


FORWARD = f"-i --forward-mode=macswap --nb-cores=1 --rxd={RING} --txd={RING} --burst={BURST} --total-num-mbufs=4096"
# Leftover packets go on in the next round, as ours do.
COMMANDS = {
    "dpdk": "dpdk-testpmd --lcores {lcores} {ports} --in-memory -m 160 --no-telemetry "
            + " ".join(f"-d /bin/{plugin}.so" for plugin in PLUGINS) + f" -- {FORWARD} --no-lsc-interrupt --no-flush-rx",
    "spinring": f"spinring-testpmd --lcores {{lcores}} {{ports}} -- {FORWARD} --idle={{idle}}",
}
READY = {"dpdk": "Checking link statuses", "spinring": "port 1.*link up"}


def plugin_folder() -> Path:
    """Where the DPDK of this machine has its drivers."""
    words = ["pkg-config", "--variable=libdir", "libdpdk"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    found = sorted(Path(done.stdout.strip() or "/usr/lib").glob("dpdk/pmds-*"))
    if done.returncode != 0 or not found:
        raise Unavailable("DPDK is not installed: run config/install.sh")
    return found[-1]


def programs(program: Path) -> dict[str, Path]:
    dpdk = shutil.which("dpdk-testpmd")
    if dpdk is None:
        raise Unavailable("dpdk-testpmd is not installed: run config/install.sh")
    folder = plugin_folder()
    return {"spinring-testpmd": program, "dpdk-testpmd": Path(dpdk),
            **{f"{plugin}.so": folder / f"{plugin}.so" for plugin in PLUGINS}}


@dataclass(frozen=True)
class Round:
    """What a peer did between start and stop, in a guest whose clock counts instructions."""

    instructions: float
    packets: int  # received
    polls: int  # of a port
    found: int  # polls that found packets

    def a_packet(self) -> float:
        return self.instructions / self.packets

    def work(self, idle: Round) -> float:
        """Instructions a packet without those of polls that found nothing."""
        return (self.instructions - (self.polls - self.found) * idle.instructions / idle.polls) / self.packets


class Peer:
    """A testpmd in the guest, at its prompt: two ports on a cable of their own. It sleeps unless it forwards."""

    def __init__(self, guest: Guest, name: str, addresses: list[str], idle: str) -> None:
        self.name = name
        self._guest = guest
        self._base = f"/tmp/{name}"
        self._rounds = 0
        self._ran: list[int] = []  # ns, of each round with and without packets
        command = COMMANDS[name].format(lcores=LCORES, idle=idle, ports=" ".join(f"-a {address}" for address in addresses))
        guest.run(f"mkdir -p {CONTROL_GROUPS}; grep -q {CONTROL_GROUPS} /proc/mounts || mount -t cgroup2 none {CONTROL_GROUPS}\n"
                  f"mkdir {CONTROL_GROUPS}/{name}; mkfifo {self._base}.in; sleep 1000000 >{self._base}.in &\n"
                  f"(echo 0 >{CONTROL_GROUPS}/{name}/cgroup.procs; export LD_LIBRARY_PATH={plugin_folder()}; exec {command}) "
                  f"<{self._base}.in >{self._base}.out 2>&1 &\n"
                  f"echo $! >{self._base}.pid")
        end = time.monotonic() + 120
        while not re.search(READY[name], self.output(), re.DOTALL):
            if time.monotonic() > end:
                raise HarnessError(f"{name} does not come up:\n{self.output()[-2000:]}")
            time.sleep(0.2)

    def output(self) -> str:
        return self._guest.text(f"cat {self._base}.out")

    def _ran_for(self) -> int:
        """Nanoseconds that its threads have run, those that have ended included."""
        return 1000 * int(self._guest.text(f"sed -n 's/usage_usec //p' {CONTROL_GROUPS}/{self.name}/cpu.stat"))

    def idle(self, seconds: float) -> None:
        """One round before there are packets. What DPDK then prints of polls it counts for this alone."""
        before = self._ran_for()
        count = "echo 'set record-burst-stats on'; " if self.name == "dpdk" else ""
        self._guest.run(f"({count}echo start; sleep {seconds}; echo stop; sleep 0.2) >{self._base}.in")
        self._ran.append(self._ran_for() - before)

    def forward(self, seconds: float) -> None:
        """One round; its figures are in the output after the end."""
        before = self._ran_for()
        start = "start" if self._rounds else "start tx_first"
        self._rounds += 1
        show = "show port stats all"  # of DPDK the second has the rate since the first
        words = [f"echo '{start}'", "sleep 0.1", f"echo {show}", f"sleep {seconds}", f"echo {show}", "echo stop", "sleep 0.2"]
        self._guest.run("; ".join(f"{word} >{self._base}.in" if word.startswith("echo") else word for word in words), timeout=150)
        self._ran.append(self._ran_for() - before)

    def _counts(self) -> list[tuple[int, int, int]]:
        """Packets, polls and polls that found any, of each round."""
        # The prompt's text and the report reach the file by different ways, and one may lie within the other.
        text = re.sub(r"testpmd> [\w \-]*\n", "", self.output())
        rounds = re.findall(r"(.*?)all ports\++\s+RX-packets: (\d+)(.*?)(?=Forward statistics|$)", text, re.DOTALL)
        counts = []
        for before, packets, after in rounds[:len(self._ran)]:
            if self.name == "dpdk":
                polls, found = (sum(map(int, re.findall(rf"{way}-bursts : (\d+)", before))) for way in ("RX", "TX"))
            else:  # a poll of the loop is one of both ports
                loops, empty = map(int, re.findall(r"(\d+) polls, (\d+) of them empty", after)[0])
                polls, found = 2 * loops, loops - empty
            counts.append((int(packets), polls, found))
        if self.name == "dpdk" or not counts:
            return counts
        # Totals since the first start. In a poll of the loop one port or both find packets: as many as there are at least.
        rounds = [counts[0], *(tuple(b - a for a, b in zip(*two)) for two in zip(counts, counts[1:]))]
        return [(packets, polls, max(found, -(-packets // BURST))) for packets, polls, found in rounds]

    def rounds(self) -> list[Round]:
        """After quit(): the round without packets first. Of a guest whose clock counts instructions."""
        counts = self._counts()
        if len(counts) != len(self._ran) or min(polls for _, polls, _ in counts) <= 0:
            raise HarnessError(f"{self.name}: rounds that were not counted: {counts}\n{self.output()[-3000:]}")
        return [Round(ran / (1 << ICOUNT_SHIFT), *count) for ran, count in zip(self._ran, counts)]

    def quit(self) -> list[float]:
        """Ends it; the packets/s of each round, received by both ports, of its own count and the guest's clock. (C's
        library holds back what is written to a file, so there is nothing to read before.)"""
        self._guest.run(f"echo quit >{self._base}.in; i=0\n"
                        f"while kill -0 $(cat {self._base}.pid) 2>/dev/null && [ $i -lt 100 ]; do sleep 0.1; i=$((i+1)); done")
        text = self.output()
        if self.name == "dpdk":
            shown = [float(word) for word in re.findall(r"Rx-pps: +(\d+)", text)]
            rates = [sum(shown[at + 2:at + 4]) for at in range(0, len(shown), 4)]
        else:  # totals since the first start, at each stop (and once more at the end)
            counts = re.findall(r"all ports\++\s+RX-packets: (\d+)", text)
            times = re.findall(r"([\d.]+) s of macswap", text)
            at = [(0.0, 0.0), *((float(count), float(clock)) for count, clock in zip(counts, times))][:len(self._ran) + 1]
            rates = [(b[0] - a[0]) / (b[1] - a[1]) for a, b in zip(at, at[1:])]
            rates = rates[len(self._ran) - self._rounds:]  # without that of idle()
        rates = rates[:self._rounds]
        if len(rates) != self._rounds or min(rates) == 0:
            raise HarnessError(f"{self.name}: rounds without packets: {rates}\n{text[-3000:]}")
        return rates


def bind(guest: Guest, address: str) -> None:
    """To vfio-pci, for all runs."""
    device = f"/sys/bus/pci/devices/{address}"
    guest.run(f"echo vfio-pci >{device}/driver_override; [ ! -e {device}/driver ] || echo {address} >{device}/driver/unbind\n"
              f"echo {address} >/sys/bus/pci/drivers_probe")


def compare(nic: str, options: argparse.Namespace, icount: int | None, seconds: float) -> dict[str, list[list[float]]]:
    """Pairs of rates, or of instructions, DPDK's first; both programs are up all the time and forward in turn."""
    model, properties = (DEVICES if icount is None or options.own_thread else DEVICES_OF_INSTRUCTIONS)[nic]
    nics = [Nic(Hub(index // 2), f"52:54:00:9e:00:{index:02x}", model, properties) for index in range(4)]
    config = GuestConfig(nics=nics, programs=programs(options.program), hugepages=256, memory="1536M", cpus=1, icount=icount)
    with tempfile.TemporaryDirectory(prefix="spinring-peers-") as logs, Guest(config, Path(logs)) as guest:
        addresses = [guest.pci_address(index) for index in range(4)]
        for address in addresses:
            bind(guest, address)
        peers = [Peer(guest, "dpdk", addresses[:2], options.idle), Peer(guest, "spinring", addresses[2:], options.idle)]
        guest.run("sleep 2")  # a link comes up half a second later; what is sent before is lost
        for peer in peers if icount is not None else []:
            peer.idle(seconds)
        for peer in peers * (options.pairs + 1):  # the first round warms up
            peer.forward(seconds)
        rates = [peer.quit() for peer in peers]
        if icount is None:
            print(f"{nic}: {rates}", file=sys.stderr, flush=True)
            return {"rate": [list(pair) for pair in zip(*(rate[1:] for rate in rates))]}
        rounds = [peer.rounds() for peer in peers]
    print(f"{nic}, instructions: {rounds}", file=sys.stderr, flush=True)
    return {"work": [list(pair) for pair in zip(*([each.work(of[0]) for each in of[2:]] for of in rounds))],
            "instructions": [list(pair) for pair in zip(*([each.a_packet() for each in of[2:]] for of in rounds))],
            "poll": [[of[0].instructions / of[0].polls for of in rounds]]}


def figure(values: list[float], form: str) -> str:
    return f"{statistics.median(values):{form}}"


def between(values: list[float]) -> str:
    return f"{min(values):.3f} to {max(values):.3f}"


def four(pairs: list[list[float]], form: str, unit: float = 1.0) -> list[str]:
    """Cells: A, B, their ratio and its range."""
    if not pairs:
        return ["-"] * 4
    ratios = [b / a for a, b in pairs]
    return [figure([a / unit for a, _ in pairs], form), figure([b / unit for _, b in pairs], form),
            f"{statistics.median(ratios):.2f}", between(ratios)]


def cells(nic: str, record: dict) -> list[str]:
    row = [nic, *four(record.get("rate", []), ".0f", 1000), *four(record.get("work", []), ".0f")]
    return row + [", ".join(four(record.get("poll", []), ".0f")[:2]), *four(record.get("instructions", []), ".0f")]


COLUMNS = ("device", "A, kpps", "B, kpps", "B/A", "all pairs", "A, instructions", "B, instructions", "B/A", "all pairs",
           "empty poll", "A, with waiting", "B, with waiting", "B/A", "all pairs")


def table(records: dict[str, dict]) -> str:
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    return "\n".join(lines + ["| " + " | ".join(cells(nic, record)) + " |" for nic, record in records.items()])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, help="spinring-testpmd, as built")
    parser.add_argument("--nic", choices=sorted(DEVICES), action="append", help="default: all; may be repeated")
    parser.add_argument("--what", choices=("rate", "instructions", "both"), default="both")
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round against the clock")
    parser.add_argument("--idle", choices=("spin", "pause"), default="spin", help="what spinring-testpmd does after an empty poll")
    parser.add_argument("--own-thread", action="store_true", help="virtio in the host's time in the second guest as well: what "
                        "is then executed is no measure")
    parser.add_argument("--json", type=Path, help="where the figures go, for --table")
    parser.add_argument("--table", type=Path, nargs="+", help="print the table of such files and end")
    options = parser.parse_args()
    if options.table is None and options.program is None:
        parser.error("--program or --table is needed")
    return options


def main() -> int:
    options = arguments()
    records: dict[str, dict] = {}
    if options.table:
        for path in options.table:
            for nic, record in json.loads(path.read_text()).items():
                for key, pairs in record.items():
                    records.setdefault(nic, {}).setdefault(key, []).extend(pairs)
        print(table(records))
        return 0
    try:
        for nic in options.nic or DEVICES:
            record = records.setdefault(nic, {})
            if options.what != "instructions":
                record.update(compare(nic, options, None, options.seconds))
            if options.what != "rate":
                record.update(compare(nic, options, ICOUNT_SHIFT, 0.5))  # of that clock: 250 million instructions
    except (HarnessError, Unavailable, OSError) as error:
        print(f"peers.py: {error}", file=sys.stderr)
        return 1
    if options.json:
        options.json.write_text(json.dumps(records))
    print(table(records))
    return 0


if __name__ == "__main__":
    sys.exit(main())
