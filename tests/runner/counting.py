"""Counts single test cases in what meson recorded: GoogleTest cases, TAP points, the guest harness's checks."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

_GTEST_END = re.compile(r"\[ {7}OK \] (\S+).*\(\d+ ms\)|\[  (FAILED|SKIPPED) +\] ([^\s,]+).*\(\d+ ms\)")
_GTEST_RUN = re.compile(r"\[ RUN      \] (\S+)")
_TAP = re.compile(r"^(not )?ok \d+(?: -)? ?(.*)$")
_CHECK = re.compile(r"^\[ *[\d.]+ s\] ok: ")
_SKIP_LINE = re.compile(r"^SKIP\b[ :]*(.*)|#\s*SKIP\s+(.*)", re.IGNORECASE)


@dataclass
class Counts:
    """Of one meson test, or of many."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: list[str] = field(default_factory=list)  # "build/test: case"
    skips: list[tuple[str, str]] = field(default_factory=list)  # ("build/test: case", the reason it gave)

    def add(self, other: Counts) -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.failures += other.failures
        self.skips += other.skips

    def fail(self, name: str) -> None:
        self.failed += 1
        self.failures.append(name)

    def skip(self, name: str, reason: str) -> None:
        self.skipped += 1
        self.skips.append((name, reason))

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def _count_gtest(counts: Counts, test: str, lines: list[str]) -> None:
    running: str | None = None
    since: list[str] = []
    for line in lines:
        if match := _GTEST_RUN.search(line):
            if running:
                counts.fail(f"{test}: {running} (did not end)")
            running, since = match.group(1), []
        elif match := _GTEST_END.search(line):
            name, verdict = match.group(1) or match.group(3), match.group(2)
            if verdict == "FAILED":
                counts.fail(f"{test}: {name}")
            elif verdict == "SKIPPED":
                reason = [text for text in since if text.strip() and not re.search(r":\d+: Skipped$", text)]
                counts.skip(f"{test}: {name}", " ".join(reason) or "no reason given")
            else:
                counts.passed += 1
            running = None
        else:
            since.append(line)
    if running:
        counts.fail(f"{test}: {running} (did not end)")


def _count_lines(counts: Counts, test: str, lines: list[str]) -> None:
    for line in lines:
        if match := _TAP.match(line):
            directive = re.search(r"#\s*SKIP\s*(.*)", line, re.IGNORECASE)
            if match.group(1):
                counts.fail(f"{test}: {match.group(2)}")
            elif directive:
                counts.skip(f"{test}: {match.group(2)}", directive.group(1))
            else:
                counts.passed += 1
        elif _CHECK.match(line):
            counts.passed += 1


def _skip_reason(lines: list[str]) -> str:
    for line in reversed(lines):
        if match := _SKIP_LINE.search(line):
            return match.group(1) or match.group(2)
    return next((line for line in reversed(lines) if line.strip()), "no reason given")


def count_test(test: str, result: str, output: str) -> Counts:
    """One entry of meson's log: its result (OK, FAIL, SKIP, TIMEOUT, ...) and what it printed."""
    counts = Counts()
    lines = output.splitlines()
    if any(_GTEST_RUN.search(line) for line in lines):
        _count_gtest(counts, test, lines)
    else:
        _count_lines(counts, test, lines)
    if result == "SKIP":
        if counts.skipped == 0:
            counts.skip(test, _skip_reason(lines))
    elif result not in ("OK", "EXPECTEDFAIL"):
        if counts.failed == 0:
            counts.fail(f"{test} ({result.lower()})")
    elif counts.passed + counts.failed + counts.skipped == 0:
        counts.passed = 1
    return counts


def read_log(path: Path) -> list[dict[str, str]]:
    """The entries of meson's testlog.json: one JSON object a line."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(errors="replace").splitlines() if line.strip()]
