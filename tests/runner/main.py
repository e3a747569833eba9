"""Builds spinring in each configuration, runs the suites on it and counts every case. Started by test.sh."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from counting import Counts, count_test, read_log
from machine import excuse, lacking

ROOT = Path(__file__).resolve().parents[2]
SUITES = ("unit", "style", "device", "vhost", "install", "fuzz", "guest")
# Of the style suite, what takes seconds.
QUICK_STYLE = ("self_test", "counting_test", "check_layers", "check_limits", "check_text", "check_docs", "check_format")
# Of the models that share one driver path and differ by their id, one is enough there: each case waits for its link.
QUICK_FILTER = "-*/e1000_82544gc:*/e1000_82545em"
# Where tests wait for links, guests and time-outs as long as they compute.
PROCESSES_PER_CPU = {"unit": 2, "device": 4, "guest": 2}
LOG_TAIL = 40
SLOW_TEST_SECONDS = 10.0


@dataclass(frozen=True)
class Build:
    """One configuration: build/NAME, and what is run on it."""

    name: str
    suites: tuple[str, ...]
    native: str = ""  # in config/native/
    folders: tuple[str, ...] = ()  # only tests that are built in these; none: all
    everything: bool = False  # build all targets, not only what the tests need
    slowness: int = 1  # multiplies the tests' time limits
    short: bool = False  # long tests run their short form (SPINRING_QUICK=1)
    style: tuple[str, ...] = ()  # of the style suite only these; none: all
    cases: str = ""  # GoogleTest's filter; none: all


BUILDS = [
    Build("gcc", ("unit", "device", "vhost", "style", "install", "guest"), everything=True),
    Build("asan", ("unit", "fuzz", "device", "vhost"), "clang-asan.ini", slowness=3, short=True),
    Build("tsan", ("unit",), "clang-tsan.ini", slowness=5,
          folders=("tests/unit/base", "tests/unit/mempool", "tests/unit/lcore")),
]
QUICK_BUILDS = [Build("quick", ("unit", "device", "style"), "gcc-quick.ini", short=True, style=QUICK_STYLE, cases=QUICK_FILTER)]


class Run:
    """A run of test.sh: its steps, and what came of them."""

    def __init__(self, quick: bool, only: str, kernels_fetched: bool) -> None:
        self.total = Counts()
        self.lacks = lacking(kernels_fetched)
        self._builds = QUICK_BUILDS if quick else BUILDS
        self._only = only
        self._seen: set[str] = set()
        self._start = time.monotonic()
        self._logs = ROOT / "build" / "test-logs"
        self._logs.mkdir(parents=True, exist_ok=True)

    def _wanted(self, build: Build) -> list[str]:
        return [suite for suite in build.suites if self._only in ("", suite)]

    def run(self) -> int:
        """Every build; returns the exit status."""
        for build in self._builds:
            self._build(build)
        return self._finish()

    def _build(self, build: Build) -> None:
        suites = self._wanted(build)
        if not suites:
            return
        folder = ROOT / "build" / build.name
        native = ["--native-file", str(ROOT / "config" / "native" / build.native)] if build.native else []
        if not self._step(f"{build.name}: configure", ["meson", "setup", *native, str(folder), str(ROOT)]):
            return
        tests = [test for test in self._tests(folder, build) if test["only_suite"] in suites]
        targets = sorted({target for test in tests for target in test["targets"]})
        all_targets = build.everything and ("install" in suites or "style" in suites)
        if not self._step(f"{build.name}: build", ["ninja", "-C", str(folder), *([] if all_targets else targets)]):
            return
        for suite in suites:
            names = [test["name"] for test in tests if test["only_suite"] == suite]
            if suite == "style" and build.style:
                names = [name for name in names if name in build.style]
            if names:
                self._seen.add(suite)
                self._suite(build, folder, suite, names)

    def _finish(self) -> int:
        """Prints what failed, what was skipped and why, and the line of counts; returns the exit status."""
        expected = {suite for build in self._builds for suite in self._wanted(build)}
        for suite in sorted(expected - self._seen):
            if self.total.failed == 0:
                self.total.fail(f"{suite}: the suite has no tests")
        avoidable = 0
        for name, reason in self.total.skips:
            sentence = excuse(reason, self.lacks)
            avoidable += sentence is None
            print(f"skipped: {name}: {reason}" + ("" if sentence else " [this machine could run it: counts as an error]"))
        for name in self.total.failures:
            print(f"FAILED: {name}")
        print(f"{time.monotonic() - self._start:.0f} s in all; logs: {self._logs.relative_to(ROOT)}")
        print(self.total, flush=True)
        return 1 if self.total.failed or avoidable else 0

    def _tests(self, folder: Path, build: Build) -> list[dict]:
        def introspect(what: str) -> list[dict]:
            return json.loads(subprocess.run(["meson", "introspect", what, str(folder)], check=True,
                                             capture_output=True, text=True).stdout)

        files = {target["id"]: [os.path.relpath(name, folder) for name in target["filename"]]
                 for target in introspect("--targets")}
        tests = introspect("--tests")
        for test in tests:
            test["targets"] = [name for target in test["depends"] for name in files.get(target, [])]
            test["only_suite"] = test["suite"][0].split(":")[-1] if test["suite"] else ""
        return [test for test in tests if not build.folders
                or any(name.startswith(build.folders) for name in test["targets"])]

    def _step(self, name: str, command: list[str]) -> bool:
        print(f"{name:<28}", end="", flush=True)
        start = time.monotonic()
        log = self._logs / (name.replace(": ", "-") + ".log")
        with log.open("w") as out:
            good = subprocess.run(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, check=False).returncode == 0
        print(f"{'ok' if good else 'FAILED':<40}{time.monotonic() - start:6.0f} s", flush=True)
        if not good:
            print("\n".join(log.read_text(errors="replace").splitlines()[-LOG_TAIL:]))
            self.total.fail(name)
        return good

    def _environment(self, build: Build) -> dict[str, str]:
        environment = dict(os.environ)
        environment.setdefault("ASAN_OPTIONS", "detect_stack_use_after_return=1:strict_string_checks=1")
        environment.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
        environment.setdefault("TSAN_OPTIONS", "halt_on_error=1:second_deadlock_stack=1")
        if build.short:
            environment["SPINRING_QUICK"] = "1"
        if build.cases:
            environment["GTEST_FILTER"] = build.cases
        return environment

    def _suite(self, build: Build, folder: Path, suite: str, names: list[str]) -> None:
        print(f"{build.name + ': ' + suite:<28}", end="", flush=True)
        start = time.monotonic()
        base = f"{build.name}-{suite}"
        slow = []
        command = ["meson", "test", "-C", str(folder), "--no-rebuild", "--suite", suite, "--logbase", base,
                   "--timeout-multiplier", str(build.slowness), *names]
        if suite in PROCESSES_PER_CPU:
            command += ["--num-processes", str((os.cpu_count() or 1) * PROCESSES_PER_CPU[suite])]
        with subprocess.Popen(command, cwd=ROOT, env=self._environment(build), text=True, errors="replace",
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as meson:
            for line in meson.stdout:
                # "3/9 spinring:guest / boot   OK   14.20s": a slow test shows that something moves.
                match = re.match(r"\s*\d+/\d+ .*? ([\d.]+)s\b", line)
                if match and float(match.group(1)) >= SLOW_TEST_SECONDS:
                    slow.append(line.rstrip())
                    print(f"\n    {slow[-1]}", end="", flush=True)
        counts = Counts()
        entries = read_log(folder / "meson-logs" / f"{base}.json")
        for entry in entries:
            name = f"{build.name}/{entry['name'].split(' / ')[-1]}"
            output = (entry.get("stdout") or "") + (entry.get("stderr") or "")
            found = count_test(name, entry["result"], output)
            counts.add(found)
            if found.failed:
                telling = [line for line in output.splitlines() if not re.match(r"ok \d|\[ {7}OK \]|\[ RUN ", line)]
                failed = "\n".join(f"      {line}" for line in telling[-LOG_TAIL:])
                print(f"\n    {name} {entry['result']}:\n{failed}", end="")
        if len(entries) < len(names):
            counts.fail(f"{build.name}: {suite}: {len(names) - len(entries)} tests did not run; meson exit {meson.returncode}")
        print(("\n" + " " * 28 if slow or counts.failed else "")
              + f"{counts!s:<40}{time.monotonic() - start:6.0f} s", flush=True)
        self.total.add(counts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=SUITES, default="")
    parser.add_argument("--no-kernels", action="store_true", help="the guest kernels could not be fetched")
    arguments = parser.parse_args()
    return Run(arguments.quick, arguments.only, not arguments.no_kernels).run()


if __name__ == "__main__":
    sys.exit(main())
