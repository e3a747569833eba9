"""Tests that are functions: each says what it complains of. Printed as TAP."""

from __future__ import annotations

import time
from collections.abc import Callable

Test = tuple[str, Callable[[], list[str]]]  # its name, and what runs it


def skipped(reason: str) -> int:
    """The exit status of what cannot run here."""
    print(f"skipped: {reason}")
    return 77


def run_all(tests: list[Test]) -> int:
    """Runs one after the other; the exit status."""
    print(f"1..{len(tests)}", flush=True)
    failed = 0
    for number, (name, test) in enumerate(tests, 1):
        start = time.monotonic()
        complaints = test()
        failed += bool(complaints)
        print(f"{'not ok' if complaints else 'ok'} {number} - {name}, {time.monotonic() - start:.0f} s", flush=True)
        for complaint in complaints:
            print(f"# {complaint}", flush=True)
    return 1 if failed else 0
