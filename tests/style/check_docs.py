"""Every class of a public header says, in a /// comment, what it is."""

import re

import sources

ROOMS = ("base", "mempool", "vfio_glue", "pmd", "lcore")
# Namespace scope is column 0 in this style; a forward declaration ends in a semicolon.
_TYPE = re.compile(r"(class)\s+(?:alignas\([^)]*\)\s*)?(?:\[\[\w+\]\]\s*)?(\w+)(?!.*;\s*$)(?!\w*<)")
_LEADING = re.compile(r"(template\s*<|requires\b)")


def check(path, text):
    complaints = []
    lines = text.splitlines()
    namespaces = []
    for number, line in enumerate(lines):
        if match := re.match(r"namespace\s*([\w:]*)\s*\{$", line):
            namespaces.append(match.group(1))
        elif re.match(r"\}  // namespace", line) and namespaces:
            namespaces.pop()
        match = _TYPE.match(line)
        if not match or any(name.endswith("detail") for name in namespaces):
            continue
        above = number - 1
        while above >= 0 and _LEADING.match(lines[above]):
            above -= 1
        if not (above >= 0 and lines[above].startswith("///")):
            complaints.append(f"{path}:{number + 1}: {match.group(2)} has no /// comment")
    return complaints


if __name__ == "__main__":
    headers = [path for path in sources.files([".hpp"]) if path.split("/")[0] in ROOMS]
    sources.report_files("every public class says what it is",
                         ((path, check(path, sources.read(path))) for path in headers))
