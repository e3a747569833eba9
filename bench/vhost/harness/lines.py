"""Cache lines a packet that a driver's forwarding loop touches, by what lies there: what stepcount gave, as a table."""

from __future__ import annotations

from harness.table import Row, figure

AREAS = ("rx descriptors", "rx available", "rx used", "tx descriptors", "tx available", "tx used", "shared besides", "stack", "own")
COLUMNS = ("case", "driver", "lines", *AREAS)


def cells(case: str, label: str, counted: dict) -> tuple[str, ...]:
    """Lines that no mapping holds would mean that instructions were taken for others: such a row gives no figures. What those
    touch whose addresses lie in vectors (gathers) is not known, and missing."""
    found = counted["lines"]
    if wrong := set(found["areas"]) - set(AREAS):
        return case, label, f"instructions not understood: {sorted(wrong)}", *("-" for _ in AREAS)
    all_of_them = f"{'at least ' if found['unknown'] else ''}{figure(found['per_packet'])}"
    return case, label, all_of_them, *(figure(found["areas"].get(area, 0.0)) for area in AREAS)


def text(rows: list[Row]) -> str:
    """The table, in Markdown; nothing if no lines were counted."""
    counted = [(row.case.name, label, found) for row in rows for label, found in row.instructions.items() if "lines" in found]
    if not counted:
        return ""
    lines = ["", "Cache lines a packet: those that a turn of the loop loads, stores or fetches, each once, over the turn's packets. Shared besides: "
             "packets, and what a driver keeps among them.", "", "| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    return "\n".join(lines + ["| " + " | ".join(cells(*row)) + " |" for row in counted])
