"""The layer rule (docs/architecture.md): who may include whom, and what a room may name."""

import re

import sources

# Room -> rooms that it may include. The longest prefix of a path decides.
MAY_INCLUDE = {
    "base": ["base"],
    "mempool": ["base", "mempool"],
    "vfio_glue": ["base", "vfio_glue"],
    "pmd": ["base", "mempool", "pmd"],
    "pmd/bus": ["base", "mempool", "vfio_glue", "pmd"],
    "lcore": ["base", "mempool", "pmd", "lcore"],
    "apps": ["base", "mempool", "vfio_glue", "pmd", "lcore", "apps"],
    "examples": ["base", "mempool", "pmd", "lcore", "examples"],
    "dpdk_plugin": ["base", "mempool", "pmd", "dpdk_plugin"],
    "bench": None,  # None: anything
    "tests": None,
}
LIBRARY = ["base", "mempool", "vfio_glue", "pmd", "lcore"]

# Drivers meet a bus through this header alone.
BUS_SEAM = "pmd/bus/pci_function.hpp"

# Includes from outside the tree: pattern, the only rooms that may have it, why.
SYSTEM_INCLUDES = [
    (r"rte_.*", ["bench", "dpdk_plugin", "tests"], "DPDK is the rival and a guest, never a dependency"),
    (r"linux/(vfio|iommufd)\.h", ["vfio_glue", "tests"], "the kernel's VFIO interface belongs to vfio_glue"),
    (r"hugetlbfs\.h", ["mempool", "tests", "bench"], "hugepages belong to mempool"),
    (r"g(test|mock)/.*", ["bench", "tests"], "tests only, those of bench's own back end among them"),
    (r"benchmark/.*", ["bench", "tests"], "benchmarks only"),
    (r"nlohmann/.*", ["pmd/bus/qtest", "apps", "examples", "bench", "tests"], "JSON is for QMP and for programs"),
    (r"(CLI|spdlog|histedit|pcap).*", ["apps", "examples", "bench", "tests"],
     "command lines, logs and formats belong to programs"),
    (r"iostream", ["apps", "examples", "bench", "tests"], "the library does not print"),
]

# What code (comments apart) may not say: pattern, the rooms that are bound, rooms or files that are free, why.
FORBIDDEN = [
    (r'"[^"\n]*/dev/(vfio|iommu)', [*LIBRARY, "examples"], ["vfio_glue"], "/dev/vfio belongs to vfio_glue"),
    (r'"[^"\n]*/sys/bus/pci', [*LIBRARY, "examples"], ["vfio_glue"], "PCI's sysfs belongs to vfio_glue"),
    (r"std::(cout|cerr|clog)\b|(?<![\w.>])(std::|::)?(v?f?printf|f?puts)\s*\(|fmt::print\b", LIBRARY, [],
     "the library does not print"),
    # The debug build's last word on a double free is to stop, unless the program set a handler.
    (r"(?<![\w.>])(std::|::)?(abort|exit|quick_exit|terminate)\s*\(", LIBRARY, ["mempool/pool_debug.cpp"], "the library does not end the program"),
    (r"(?<!\w)throw\b(?!\()", LIBRARY, [], "the library returns Result and throws nothing"),
]

_INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]', re.MULTILINE)


def room_of(path):
    rooms = [room for room in MAY_INCLUDE if path.startswith(room + "/")]
    return max(rooms, key=len) if rooms else None


def in_rooms(path, rooms):
    return any(path == room or path.startswith(room + "/") for room in rooms)


def check_include(path, kind, target):
    room = room_of(path)
    if kind == "<":
        return [f"includes <{target}>: {why} ({', '.join(rooms)})"
                for pattern, rooms, why in SYSTEM_INCLUDES
                if re.fullmatch(pattern, target) and not in_rooms(path, rooms)] + (
                    [f"includes <{target}>: fmt stays out of headers"]
                    if target.startswith("fmt/") and path.endswith(".hpp") and in_rooms(path, LIBRARY) else [])
    allowed = MAY_INCLUDE[room]
    if allowed is None:
        return []
    target_room = room_of(target)
    if target_room is None:
        return [f'includes "{target}": write paths from the root of the tree']
    if target_room == "pmd/bus" and room in ("pmd", "dpdk_plugin") and target != BUS_SEAM:
        return [f'includes "{target}": drivers know a bus by {BUS_SEAM} alone']
    if not in_rooms(target, allowed):
        return [f'includes "{target}": {room} may include {", ".join(allowed)}']
    return []


def check(path, text):
    """Complaints about one file, each with its line."""
    if room_of(path) is None:
        return [f"{path}:1: is in no room of docs/architecture.md"]
    complaints = []
    code = sources.strip_comments(text)
    for match in _INCLUDE.finditer(code):
        line = code.count("\n", 0, match.start(2)) + 1
        complaints += [f"{path}:{line}: {what}" for what in check_include(path, match.group(1), match.group(2))]
    for pattern, bound, free, why in FORBIDDEN:
        if not in_rooms(path, bound) or in_rooms(path, free):
            continue
        # Only the paths are looked for inside literals; a message may well say "exit (1)".
        where = code if pattern.startswith('"') else sources.strip_comments(text, keep_strings=False)
        for match in re.finditer(pattern, where):
            line = where.count("\n", 0, match.start()) + 1
            complaints.append(f"{path}:{line}: {match.group(0).strip()}: {why}")
    return complaints


if __name__ == "__main__":
    sources.report_files("who may include whom, and what a room may name",
                         ((path, check(path, sources.read(path))) for path in sources.files(sources.CPP_SUFFIXES)))
