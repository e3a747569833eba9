"""What this machine lacks. A test may be skipped for one of these reasons and for no other."""

from __future__ import annotations

import os
import re
from pathlib import Path

# What a skipped test's reason says when it is for lack of this.
_WORDS = {
    "root": r"\broot\b|privileg|permission|not permitted|CAP_|/dev/net/tun|\btap\b|namespace|memlock",
    "hugepages": r"huge ?page|hugetlb",
    "gigantic": r"1 GiB|1G\b|gigantic",
    "kernels": r"\bkernel",
    "kvm": r"kvm",
    "numa": r"numa|node",
    "cpus": r"\bCPUs?\b|cores?\b",
    "vfio": r"/dev/vfio|vfio-pci",
}


def _number(path: str) -> int:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return 0


def lacking(kernels_fetched: bool) -> dict[str, str]:
    """Each thing that is not here, with a sentence."""
    pages = Path("/sys/kernel/mm/hugepages")
    lacks = {
        "root": (os.geteuid() != 0, "this user is not root"),
        "hugepages": (_number(f"{pages}/hugepages-2048kB/nr_hugepages") == 0, "there are no 2 MiB hugepages"),
        "gigantic": (_number(f"{pages}/hugepages-1048576kB/free_hugepages") == 0, "there are no 1 GiB hugepages"),
        "kernels": (not kernels_fetched, "the guest kernels could not be fetched"),
        "kvm": (not os.access("/dev/kvm", os.R_OK | os.W_OK), "there is no /dev/kvm"),
        "numa": (not Path("/sys/devices/system/node/node1").exists(), "there is one NUMA node"),
        "cpus": (len(os.sched_getaffinity(0)) < 2, "there is one CPU"),
        "vfio": (not Path("/dev/vfio/vfio").exists(), "this kernel has no VFIO"),
    }
    return {what: sentence for what, (missing, sentence) in lacks.items() if missing}


def excuse(reason: str, lacks: dict[str, str]) -> str | None:
    """Why a test with this reason could not run here; None: it could have."""
    for what, sentence in lacks.items():
        if re.search(_WORDS[what], reason, re.IGNORECASE):
            return sentence
    return None
