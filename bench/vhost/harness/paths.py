"""The ring paths that are compared: what is negotiated, and what DPDK is told so that it takes its counterpart."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Path:
    """One row of the table. Every option is given to the driver explicitly: DPDK's defaults are on."""

    name: str
    packed: bool
    mergeable: bool
    in_order: bool
    vectorized: bool = False  # DPDK's option; spinring chooses by itself
    instructions: str = ""  # DPDK's, whole loop, as counted earlier: to notice that another path was taken
    goals: tuple[float, float] | None = None  # rate over DPDK's at ring 1024 and 256

    def goal(self, ring: int) -> float | None:
        return None if self.goals is None else {1024: self.goals[0], 256: self.goals[1]}.get(ring)


PATHS = {path.name: path for path in (
    Path("split-mergeable", False, True, False, instructions="568", goals=(4.0, 2.8)),
    Path("split-standard", False, False, False, instructions="544", goals=(4.0, 2.6)),
    Path("split-vectorized", False, False, False, vectorized=True, instructions="391", goals=(4.0, 2.6)),
    Path("split-in-order", False, False, True, goals=(3.2, 2.2)),
    Path("split-in-order-mergeable", False, True, True, instructions="446", goals=(3.2, 2.2)),
    Path("packed-mergeable", True, True, False, instructions="446", goals=(1.8, 1.8)),
    Path("packed-standard", True, False, False, instructions="417", goals=(1.8, 1.8)),
    Path("packed-in-order", True, False, True, vectorized=True, instructions="298", goals=(1.4, 1.4)),
)}


@dataclass(frozen=True)
class Mode:
    """What the forwarder does to packets, and what the back end does then."""

    direction: str = "both"
    forward: str = ""  # testpmd's name for it, if it is not the mode's own
    options: str = ""  # of testpmd
    dpdk: bool = True  # dpdk-testpmd has it


KEEP = "--noisy-tx-sw-buffer-size=512"
MODES = {
    "mac": Mode(), "io": Mode(), "macswap": Mode(), "rxonly": Mode("rx"), "txonly": Mode("tx"),
    # Applications that do not give each packet back at once, and in order.
    "noisy": Mode(options=KEEP),
    "keep-third": Mode(forward="noisy", options=f"{KEEP} --noisy-keep-every=3", dpdk=False),
    "drop-third": Mode(forward="noisy", options="--noisy-drop-every=3", dpdk=False),
    "keep-and-drop": Mode(forward="noisy", options=f"{KEEP} --noisy-keep-every=3 --noisy-drop-every=10", dpdk=False),
}


@dataclass(frozen=True)
class Case:
    """A path with everything else that is varied."""

    path: Path
    mode: str = "mac"
    ring: int = 1024
    burst: int = 32
    frame: int = 60
    queues: int = 1
    ports: int = 1

    @property
    def name(self) -> str:
        text = f"{self.path.name}/{self.mode}/{self.ring}"
        text += f"/burst{self.burst}" if self.burst != 32 else ""
        text += f"/{self.frame}B" if self.frame != 60 else ""
        text += f"/{self.ports}ports" if self.ports != 1 else ""
        return text + (f"/{self.queues}q" if self.queues != 1 else "")

    @property
    def direction(self) -> str:
        return MODES[self.mode].direction
