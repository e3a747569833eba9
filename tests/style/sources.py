"""The tree as the style checks see it: which files there are, C++ without comments, TAP output, a cache of passes."""

import concurrent.futures
import hashlib
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
CPP_SUFFIXES = (".cpp", ".hpp")


def files(suffixes=None):
    """Paths relative to ROOT, tracked or about to be. Without git (a source archive): whatever is not a build."""
    git = subprocess.run(["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"],
                         capture_output=True, text=True, check=False)
    if git.returncode == 0:
        names = git.stdout.splitlines()
    else:
        names = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*")
                 if path.is_file() and not re.match(r"(build[^/]*|\.[^/]*)/", str(path.relative_to(ROOT)))]
    wanted = [name for name in sorted(set(names)) if (ROOT / name).is_file()]
    return [name for name in wanted if suffixes is None or name.endswith(tuple(suffixes))]


def read(name):
    return (ROOT / name).read_text(encoding="utf-8", errors="replace")


_TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.DOTALL)


def strip_comments(text, keep_strings=True):
    """C++ with comments (and the inside of literals) blanked; line numbers stay."""
    def blank(match):
        token = match.group(0)
        if token.startswith("/"):
            return "\n" * token.count("\n") or " "
        # 1'000 is a number: a quote between digits opens no character literal.
        if token.startswith("'") and re.match(r"[0-9a-fA-F]", text[match.start() - 1:match.start()]):
            return token
        return token if keep_strings else '""' + "\n" * token.count("\n")
    return _TOKEN.sub(blank, text)


def parallel(function, items):
    """Applies function to every item on every CPU, in order."""
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as executor:
        return list(executor.map(function, items))


class PassCache:
    """Remembers by content what has passed, so that a second run checks only what changed. Failures are not kept."""

    def __init__(self, name):
        self.folder = ROOT / ".cache" / "style" / name

    def key(self, *parts):
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part.encode() if isinstance(part, str) else part)
            digest.update(b"\0")
        return digest.hexdigest()

    def passed(self, key):
        return (self.folder / key).exists()

    def store(self, key):
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / key).touch()


_INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def with_includes(name, seen=None):
    """The file and every file of the tree that it includes, directly or not."""
    seen = {} if seen is None else seen
    if name in seen or not (ROOT / name).is_file():
        return seen
    seen[name] = read(name)
    for included in _INCLUDE.findall(seen[name]):
        with_includes(included, seen)
    return seen


def report_files(rule, checked):
    """One TAP point for one rule over many files, from (file, complaints) pairs."""
    checked = list(checked)
    report([(f"{rule} ({len(checked)} files)", [complaint for _, complaints in checked for complaint in complaints])])


def report(cases):
    """Prints TAP for (name, complaints) pairs and ends the program: 0 if no case has a complaint."""
    cases = list(cases)
    print(f"1..{len(cases)}")
    failed = 0
    for number, (name, complaints) in enumerate(cases, 1):
        failed += bool(complaints)
        print(f"{'not ok' if complaints else 'ok'} {number} - {name.replace('#', ' ')}")
        for complaint in complaints:
            for line in complaint.splitlines():
                print(f"# {line}")
    sys.exit(1 if failed else 0)
