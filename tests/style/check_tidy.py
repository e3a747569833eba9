"""clang-tidy over the sources of a build, the tests' excepted: check_tidy.py BUILD. What passed is cached by content.

GoogleTest's macros make the tests take longer than all the rest: they have compilers, sanitizers and clang-format.
"""

import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import sources

# Sources looked at in one go: each reading of the library's headers costs more than the source itself.
GROUP = 16
# Checks that a library's headers hold up: a third of a minute in each source that includes them.
HELD_UP = {"<CLI/CLI.hpp>": "performance-unnecessary-value-param"}

# Flags that say nothing of how a source is read, and Meson's own folders, which are relative.
FOR_OTHER_THINGS = ("-M", "-O", "-W", "-I", "-fPIC", "-fdiagnostics")


def flags_of(command):
    """Of a compiler's command, what says how a source is read. Includes are from the root of the tree."""
    kept, words = [f"-I{sources.ROOT}"], iter(shlex.split(command))
    for word in words:
        if word in ("-o", "-MF", "-MQ", "-MT", "-c"):
            next(words)
        elif word in ("-include", "-isystem", "-I"):
            kept += [word, next(words)]
        elif word.startswith("-I/") or (word.startswith("-") and not word.startswith(FOR_OTHER_THINGS)):
            kept.append(word)
    return tuple(kept)


def held_up(path):
    """clang-tidy's --checks for a source: all but those that what it includes holds up."""
    texts = sources.with_includes(path).values()
    return ",".join("-" + name for header, name in HELD_UP.items() if any(f"#include {header}" in text for text in texts))


def compiled_by(entry):
    """Paths of the sources that a command compiles: Meson's own file for a target with unity=on includes several."""
    path = pathlib.Path(entry["directory"], entry["file"])
    included = re.findall(r"^#include<(.+)>$", path.read_text(), re.MULTILINE) if "-unity" in path.name else []
    return [os.path.relpath(name, sources.ROOT) for name in included or [path]]


def units(build):
    """{(flags, checks): paths from the root} of the translation units of the tree, each once."""
    by_how = {}
    seen = set()
    for entry in json.loads((build / "compile_commands.json").read_text()):
        for path in compiled_by(entry):
            if path in seen or path.startswith(("..", "build", "tests/")) or "/test/" in path:
                continue
            seen.add(path)
            by_how.setdefault((flags_of(entry["command"]), held_up(path)), []).append(path)
    return by_how


def groups(by_how):
    """Sources that are read and checked alike, a program's main file at most once in a group."""
    for (flags, checks), paths in by_how.items():
        group, mains = [], 0
        for path in sorted(paths):
            is_main = "\nint main(" in sources.read(path)
            if len(group) == GROUP or (is_main and mains):
                yield flags, checks, group
                group, mains = [], 0
            group.append(path)
            mains += is_main
        yield flags, checks, group


def check(build, version, config, flags, checks, paths):
    cache = sources.PassCache("tidy")
    read = {name: text for path in paths for name, text in sources.with_includes(path).items()}
    key = cache.key(version, config, *flags, checks, *paths, *read.values())
    if cache.passed(key):
        return []
    together = "".join(f'#include "{sources.ROOT / path}"\n' for path in paths)
    one = build / f"tidy-{key[:16]}.cpp"
    one.write_text(together)
    done = subprocess.run(["clang-tidy", "--quiet", f"--config-file={sources.ROOT / '.clang-tidy'}",
                           f"--header-filter={sources.ROOT}/.*", f"--checks={checks}", str(one), "--", *flags],
                          cwd=build, capture_output=True, text=True, check=False)
    one.unlink()
    if done.returncode == 0 and "warning:" not in done.stdout:
        cache.store(key)
        return []
    return [done.stdout.replace(f"{sources.ROOT}/", "") + (done.stderr if not done.stdout else "")]


if __name__ == "__main__":
    build_folder = pathlib.Path(sys.argv[1]).resolve()
    tidy_version = subprocess.run(["clang-tidy", "--version"], capture_output=True, text=True, check=True).stdout
    tidy_config = sources.read(".clang-tidy")
    units_by_how = units(build_folder)
    count = sum(len(paths) for paths in units_by_how.values())
    passed = sources.parallel(lambda group: check(build_folder, tidy_version, tidy_config, *group),
                              list(groups(units_by_how)))
    sources.report([(f"clang-tidy ({count} files)", [text for complaints in passed for text in complaints])])
