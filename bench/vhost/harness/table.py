"""What the runs say: medians, ratios with their spread, one row a case; JSON and a table of text."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace

from harness.paths import Case
from harness.runs import Run


@dataclass
class Pair:
    """A run of each driver, one after the other, and of what no driver could do better, if that is asked for."""

    a: Run
    b: Run
    limit: Run | None = None
    start: int = 0  # pairs of one start are of the same processes

    def runs(self) -> list[Run]:
        return [run for run in (self.a, self.b, self.limit) if run]

    def distances(self) -> list[float]:
        return [distance for run in self.runs() for distance in (run.distance_before, run.distance_after)]

    def same_distance(self, tolerance: float) -> bool:
        distances = self.distances()
        return max(distances) <= tolerance * min(distances)


def spread(values: list[float]) -> dict:
    """Least, quartiles and most."""
    if not values:
        return {}
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
    return {"min": min(values), "p25": lower, "median": median, "p75": upper, "max": max(values)}


def median_interval(values: list[float]) -> dict:
    """Where the true median lies in 95 of 100 such samples, whatever the values' distribution: by the binomial one of how many
    are below it. Nothing of fewer than six values, which cannot tell."""
    count = len(values)
    tail, rank = 0.5**count, 0
    while tail <= 0.025:
        rank += 1
        tail += math.comb(count, rank) / 2**count
    ordered = sorted(values)
    return {"low": ordered[rank - 1], "high": ordered[count - rank]} if rank else {}


def ratio(pair: Pair) -> float | None:
    return pair.b.mpps / pair.a.mpps if pair.a.mpps > 0 else None


def busy_ratio(pair: Pair) -> float | None:
    a, b = pair.a.cycles_per_packet, pair.b.cycles_per_packet
    return b / a if a and b else None


@dataclass
class Row:
    """All pairs of one case."""

    case: Case
    tolerance: float
    pairs: list[Pair] = field(default_factory=list)
    instructions: dict = field(default_factory=dict)  # label -> what stepcount gave
    failures: list[str] = field(default_factory=list)

    def kept(self) -> list[Pair]:
        return [pair for pair in self.pairs if pair.same_distance(self.tolerance)]

    def by_line(self, near: float) -> list[Row]:
        """The pairs with lines that took less than so many ns, and those with longer ones: as rows of their own, since a
        machine that moves its CPUs gives both. One row if there are only such or such."""
        def only(fits: Callable[[float], bool]) -> list[Pair]:
            return [pair for pair in self.pairs if all(fits(distance) for distance in pair.distances())]

        close, far = only(lambda ns: ns < near), only(lambda ns: ns >= near)
        if not close or not far:
            return [self]
        return [replace(self, pairs=close), replace(self, pairs=far, failures=[])]

    def of_starts(self, value: Callable[[Pair], float | None]) -> list[float]:
        """The median of each start's pairs, without those that have no such value."""
        starts: dict[int, list[float]] = {}
        for pair in self.kept():
            if (found := value(pair)) is not None:
                starts.setdefault(pair.start, []).append(found)
        return [statistics.median(values) for values in starts.values()]

    def ratios_of_a(self) -> list[float]:
        """A against itself: each start over the one before it, or each run if there was but one. What differs here is noise."""
        rates = self.of_starts(lambda pair: pair.a.mpps or None)
        if len(rates) < 2:
            rates = [pair.a.mpps for pair in self.kept() if pair.a.mpps > 0]
        return [after / before for before, after in zip(rates, rates[1:])]

    def judged(self, value: Callable[[Pair], float | None]) -> dict:
        """The spread of all pairs, and the median of the starts' medians with what is certain of it: pairs of one start have
        more in common than the drivers, so they are no further samples."""
        pairs = [found for pair in self.kept() if (found := value(pair)) is not None]
        starts = self.of_starts(value)
        return {**spread(pairs), **({"median": statistics.median(starts)} if starts else {}), **median_interval(starts)}

    def limit_summary(self) -> dict:
        """B beside the limit: shares of its rate, and of B's busy time what the limit took."""
        kept = [pair for pair in self.kept() if pair.limit]
        busy = [(pair.b.cycles_per_packet, pair.limit.cycles_per_packet) for pair in kept
                if pair.b.cycles_per_packet and pair.limit.cycles_per_packet]
        return {"mpps": spread([pair.limit.mpps for pair in kept]),
                "over_a": spread([pair.limit.mpps / pair.a.mpps for pair in kept if pair.a.mpps > 0]),
                "rate_share": spread([pair.b.mpps / pair.limit.mpps for pair in kept if pair.limit.mpps > 0]),
                "busy_b": spread([own for own, _ in busy]), "busy": spread([least for _, least in busy]),
                "busy_share": spread([least / own for own, least in busy]),
                "back_end_idle": statistics.median([pair.limit.idle for pair in kept]) if kept else None}

    def summary(self) -> dict:
        kept = self.kept()
        runs = {"a": [pair.a for pair in kept], "b": [pair.b for pair in kept]}
        out = {"case": self.case.name, "pairs": len(self.pairs), "kept": len(kept), "failures": self.failures,
               "starts": len({pair.start for pair in kept}), "ratio": self.judged(ratio), "ratio_busy": self.judged(busy_ratio),
               "ratio_a_a": spread(self.ratios_of_a()),
               "distance_ns": spread([distance for pair in kept for distance in pair.distances()]),
               "goal": self.case.path.goal(self.case.ring) if self.case.mode == "mac" else None,
               "instructions": self.instructions, "limit": self.limit_summary()}
        for side, side_runs in runs.items():
            cycles = [run.cycles_per_packet for run in side_runs if run.cycles_per_packet]
            out[side] = {"mpps": spread([run.mpps for run in side_runs]),
                         "back_end_idle": statistics.median([run.idle for run in side_runs]) if side_runs else None,
                         "cycles_per_packet": statistics.median(cycles) if cycles else None}
        return out

    def record(self) -> dict:
        return {**self.summary(), "runs": [asdict(pair) for pair in self.pairs]}


COLUMNS = ("case", "A Mpps", "B Mpps", "B/A", "95 %", "min..max", "quartiles", "A/A", "A/A min..max", "goal", "A busy", "B busy",
           "busy B/A", "95 %", "idle", "line ns", "pairs", "starts", "A instr", "B instr")


def figure(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def instructions_of(summary: dict, label: str) -> str:
    found = summary["instructions"].get(label)
    return "-" if not found else f"{found['per_packet']:.0f}/{found.get('driver_per_packet', 0):.0f}"


def cells(summary: dict, labels: tuple[str, str]) -> tuple[str, ...]:
    a, b, ratio, same = summary["a"], summary["b"], summary["ratio"], summary["ratio_a_a"]
    return (summary["case"], figure(a["mpps"].get("median")), figure(b["mpps"].get("median")),
            figure(ratio.get("median")), between(ratio, "low", "high"), between(ratio, "min", "max"),
            between(ratio, "p25", "p75"), figure(same.get("median")), between(same, "min", "max"), figure(summary["goal"], 1),
            figure(a["cycles_per_packet"], 0), figure(b["cycles_per_packet"], 0),
            figure(summary["ratio_busy"].get("median")), between(summary["ratio_busy"], "low", "high"),
            f"{figure(a['back_end_idle'])} {figure(b['back_end_idle'])}",
            between(summary["distance_ns"], "min", "max", 0), f"{summary['kept']}/{summary['pairs']}", str(summary["starts"]),
            instructions_of(summary, labels[0]), instructions_of(summary, labels[1]))


def between(values: dict, low: str, high: str, digits: int = 2) -> str:
    return f"{values[low]:.{digits}f}..{values[high]:.{digits}f}" if low in values else "-"


def text(rows: list[Row], labels: tuple[str, str]) -> str:
    """The table, in Markdown, and what its columns mean."""
    lines = [f"A: {labels[0]}; B: {labels[1]}. Busy: time-stamp ticks a packet in polls that had any. B/A: the median of the "
             "starts' medians. 95 %: where it lies with that confidence. A/A: from start to start. Idle: the back end's, with A and B. Instr: whole loop / driver alone, a packet.",
             "", "| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    lines += ["| " + " | ".join(cells(row.summary(), labels)) + " |" for row in rows]
    lines += [f"failed: {failure}" for row in rows for failure in row.failures]
    return "\n".join(lines)


LIMIT_COLUMNS = ("case", "B Mpps", "limit Mpps", "B of limit", "min..max", "B busy", "limit busy", "limit of B",
                 "min..max", "idle", "line ns", "B instr", "limit instr")


def limit_cells(summary: dict, labels: tuple[str, str]) -> tuple[str, ...]:
    limit = summary["limit"]
    return (summary["case"], figure(summary["b"]["mpps"].get("median")), figure(limit["mpps"].get("median")),
            figure(limit["rate_share"].get("median")), between(limit["rate_share"], "min", "max"),
            figure(limit["busy_b"].get("median"), 0), figure(limit["busy"].get("median"), 0),
            figure(limit["busy_share"].get("median")), between(limit["busy_share"], "min", "max"),
            f"{figure(summary['b']['back_end_idle'])} {figure(limit['back_end_idle'])}",
            between(summary["distance_ns"], "min", "max", 0), instructions_of(summary, labels[1]),
            instructions_of(summary, "limit"))


def limit_text(rows: list[Row], labels: tuple[str, str]) -> str:
    lines = ["", f"B: {labels[1]}, beside a loop without packets, pool, checks and statistics. Idle: the back end's, with "
             "B and with the limit.", "", "| " + " | ".join(LIMIT_COLUMNS) + " |", "|" + " --- |" * len(LIMIT_COLUMNS)]
    return "\n".join(lines + ["| " + " | ".join(limit_cells(row.summary(), labels)) + " |" for row in rows])
