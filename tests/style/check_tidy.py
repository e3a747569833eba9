"""clang-tidy over the sources of a build: check_tidy.py BUILD [--tests]. What passed is cached by content.

The tests' own sources are looked at with --tests only: GoogleTest's macros make them take longer than all the rest.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

import sources

# Flags of g++ that clang does not know.
GCC_ONLY = re.compile(r"-f(no-)?(analyzer|gnu-unique)|-Wno-(maybe-uninitialized|stringop.*|array-bounds)")


def units(build, tests):
    """(path from the root, command) of each translation unit of the tree, once; the tests' if asked for."""
    seen = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        path = os.path.relpath(os.path.join(entry["directory"], entry["file"]), sources.ROOT)
        is_test = path.startswith("tests/") or "/test/" in path
        if not path.startswith("..") and not path.startswith("build") and (tests or not is_test):
            seen.setdefault(path, entry["command"])
    return sorted(seen.items())


def check(build, version, config, path, command):
    cache = sources.PassCache("tidy")
    flags = re.sub(r"-o \S+|-M[QFDP]+ ?\S*|\S+\.o\b", "", command)
    key = cache.key(version, config, flags, *sources.with_includes(path).values())
    if cache.passed(key):
        return path, []
    done = subprocess.run(["clang-tidy", "--quiet", "-p", str(build), str(sources.ROOT / path)],
                          cwd=sources.ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0 and "warning:" not in done.stdout:
        cache.store(key)
        return path, []
    return path, [done.stdout.replace(f"{sources.ROOT}/", "") + (done.stderr if not done.stdout else "")]


if __name__ == "__main__":
    build_folder = pathlib.Path(sys.argv[1]).resolve()
    tidy_version = subprocess.run(["clang-tidy", "--version"], capture_output=True, text=True, check=True).stdout
    tidy_config = sources.read(".clang-tidy") + sources.read("tests/.clang-tidy")
    checked = sources.parallel(lambda unit: check(build_folder, tidy_version, tidy_config, *unit),
                              units(build_folder, "--tests" in sys.argv[2:]))
    sources.report_files("clang-tidy", checked)
