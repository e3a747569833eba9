"""Round trips from the back end through each driver and back, at parts of a rate that both can do."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from harness import sitting, table
from harness.paths import Case
from harness.runs import Bench

QUANTILES = ("p50", "p99", "p99.9")
COLUMNS = ("case", "of the rate", "Mpps", *(f"{side} {name}" for name in QUANTILES for side in "AB"),
           *(f"B/A {name}" for name in QUANTILES), "B/A p99 min..max", "A lost", "B lost", "line ns", "pairs")


@dataclass
class LoadRow:
    """All pairs of one case at one load."""

    case: Case
    load: float  # of the slower driver's rate in the same pair
    tolerance: float
    pairs: list[table.Pair] = field(default_factory=list)

    def kept(self) -> list[table.Pair]:
        return [pair for pair in self.pairs if pair.same_distance(self.tolerance)]

    def summary(self) -> dict:
        kept = self.kept()
        out = {"case": self.case.name, "load": self.load, "pairs": len(self.pairs), "kept": len(kept),
               "distance_ns": table.spread([distance for pair in kept for distance in pair.distances()]),
               "offered_mpps": table.spread([pair.a.latency["offered_mpps"] for pair in kept])}
        for name in QUANTILES:
            values = [(pair.a.latency["ns"][name], pair.b.latency["ns"][name]) for pair in kept]
            out[name] = {"a": table.spread([a for a, _ in values]), "b": table.spread([b for _, b in values]),
                         "ratio": table.spread([b / a for a, b in values if a > 0])}
        for side in ("a", "b"):
            probes = [getattr(pair, side).latency["probes"] for pair in kept]
            out[f"lost_{side}"] = sum(probe["lost"] for probe in probes) / max(1, sum(probe["sent"] for probe in probes))
        return out

    def record(self) -> dict:
        return {**self.summary(), "runs": [{"distances_ns": pair.distances(),
                                              "latency": [run.latency for run in pair.runs()]} for pair in self.pairs]}


def back_end_options(case: Case) -> list[str]:
    # QUIRK(DPDK 22.11): on a packed in-order ring with gaps in its traffic it stops sending for good, sooner or later, if one
    # used descriptor stands for a batch, as 2.8.11 lets a device do.
    return ["--latency", *(["--every-entry"] if case.path.packed and case.path.in_order else [])]


def measure(bench: Bench, rows: list[LoadRow], sides: list[sitting.Side]) -> str:
    """One pair at each load of a case, with its loads anew from what both do now; says what it found."""
    rate = min(run.mpps for run in sitting.turn(bench, sides))
    said = f"{rows[0].case.name}: {rate:.2f} Mpps at most;"
    for row in rows:
        pair = table.Pair(*sitting.turn(bench, sides, rate * row.load))
        row.pairs.append(pair)
        said += f" {row.load:.0%} p99 {pair.a.latency['ns']['p99']:.0f} {pair.b.latency['ns']['p99']:.0f} ns"
    return said


def cells(summary: dict) -> tuple[str, ...]:
    return (summary["case"], f"{summary['load']:.0%}", table.figure(summary["offered_mpps"].get("median")),
            *(table.figure(summary[name][side].get("median"), 0) for name in QUANTILES for side in "ab"),
            *(table.figure(summary[name]["ratio"].get("median")) for name in QUANTILES),
            table.between(summary["p99"]["ratio"], "min", "max"), f"{summary['lost_a']:.1%}", f"{summary['lost_b']:.1%}",
            table.between(summary["distance_ns"], "min", "max", 0), f"{summary['kept']}/{summary['pairs']}")


def text(rows: list[LoadRow], labels: tuple[str, str]) -> str:
    lines = [f"A: {labels[0]}; B: {labels[1]}. Nanoseconds from when a frame was due to when the back end read it again; "
             "medians of the pairs. Lost: of the frames whose time was taken.", "",
             "| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    return "\n".join(lines + ["| " + " | ".join(cells(row.summary())) + " |" for row in rows])


def ratios(rows: list[LoadRow]) -> list[dict]:
    """For the plot: each time of each row."""
    summaries = [row.summary() for row in rows]
    return [{"case": f"{each['case']} {each['load']:.0%} {name}", "ratio": each[name]["ratio"], "kept": each["kept"]}
            for each in summaries for name in QUANTILES]


def rows_of(case: Case, loads: list[int], tolerance: float) -> list[LoadRow]:
    return [LoadRow(replace(case), load / 100, tolerance) for load in loads]
