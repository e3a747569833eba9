"""Builds the guest's initramfs: cpio archives one after the other, which the kernel unpacks in turn.

The base (busybox, kernel modules, init script) depends on the kernel alone and is cached; the payload holds the
programs of one run with the shared libraries they need.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from errors import HarnessError, Unavailable

REPO = Path(__file__).resolve().parents[2]
RECIPE = REPO / "config" / "guest"


def cache_dir() -> Path:
    """Where config/fetch_kernels.sh keeps its kernels, and this module its base images."""
    chosen = os.environ.get("SPINRING_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spinring"


class Cpio:
    """A "newc" archive in memory (format: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst)."""

    def __init__(self) -> None:
        self._out = bytearray()
        self._inode = 0
        self._known: set[str] = set()

    def directory(self, name: str) -> None:
        parent = os.path.dirname(name)
        if parent:
            self.directory(parent)
        self._entry(name, stat.S_IFDIR | 0o755, b"")

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        self.directory(os.path.dirname(name) or ".")
        self._entry(name, stat.S_IFREG | mode, data)

    def finish(self) -> bytes:
        self._entry("TRAILER!!!", 0, b"")
        return bytes(self._out)

    def _entry(self, name: str, mode: int, data: bytes) -> None:
        if name in self._known:
            return
        self._known.add(name)
        self._inode += 1
        path = name.encode() + b"\0"
        # ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
        fields = (self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path), 0)
        self._out += b"070701" + b"".join(b"%08X" % field for field in fields) + path
        self._pad()
        self._out += data
        self._pad()

    def _pad(self) -> None:
        self._out += bytes(-len(self._out) % 4)


@dataclass(frozen=True)
class Kernel:
    """An unpacked Debian kernel of config/fetch_kernels.sh."""

    series: str
    folder: Path

    @property
    def image(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def release(self) -> str:
        return (self.folder / "release").read_text().strip()

    @staticmethod
    def get(series: str) -> Kernel:
        """The kernel from the cache, fetched if it is not there yet."""
        folder = cache_dir() / "kernels" / series
        if not (folder / "release").exists():
            script = REPO / "config" / "fetch_kernels.sh"
            done = subprocess.run([script, series], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  timeout=300, check=False)
            if done.returncode != 0:
                reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
                raise Unavailable(f"no kernel {series}: {reason}")
        return Kernel(series, folder)

    def modules(self) -> list[tuple[str, bytes]]:
        """The recipe's modules and what they depend on, as (file name, content), in the order of loading."""
        files = {module_name(path): path for path in self.folder.glob("modules/kernel/**/*.ko*")}
        done: dict[str, tuple[str, bytes]] = {}

        def add(name: str) -> None:
            path = files.get(name)
            if path is None or name in done:
                return
            raw = path.read_bytes()
            content = lzma.decompress(raw) if path.suffix == ".xz" else raw
            needs = re.search(rb"\0depends=([^\0]*)\0", content)
            for other in (needs.group(1).decode().split(",") if needs else []):
                add(other.replace("-", "_"))
            done[name] = (f"{name}.ko", content)

        for line in (RECIPE / "modules.txt").read_text().splitlines():
            if line and not line.startswith("#"):
                add(line.strip().replace("-", "_"))
        return list(done.values())


def module_name(path: Path) -> str:
    return path.name.split(".")[0].replace("-", "_")


def base_image(kernel: Kernel) -> Path:
    """The cached base archive of a kernel."""
    busybox = shutil.which("busybox")
    if busybox is None:
        raise Unavailable("busybox is not installed: apt-get install busybox-static")
    inputs = hashlib.sha256(kernel.release.encode())
    for part in (Path(busybox), RECIPE / "init", RECIPE / "agent", RECIPE / "modules.txt", Path(__file__)):
        inputs.update(part.read_bytes())
    target = cache_dir() / "images" / f"base-{kernel.release}-{inputs.hexdigest()[:16]}.cpio"
    if target.exists():
        return target

    if shared_libraries(Path(busybox)):
        raise Unavailable("busybox is not the static one: apt-get install busybox-static")
    archive = Cpio()
    for folder in ("dev", "etc", "proc", "sys", "tmp"):
        archive.directory(folder)
    archive.file("bin/busybox", Path(busybox).read_bytes(), 0o755)
    for script in ("init", "agent"):
        archive.file(script, (RECIPE / script).read_bytes(), 0o755)
    listed = []
    for name, content in kernel.modules():
        archive.file(f"lib/modules/{name}", content)
        listed.append(f"/lib/modules/{name}\n")
    archive.file("etc/modules", "".join(listed).encode())
    for stale in target.parent.glob(f"base-{kernel.release}-*.cpio"):
        stale.unlink(missing_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f".{os.getpid()}")
    partial.write_bytes(archive.finish())
    partial.replace(target)  # whole or not at all, whoever else builds it
    return target


def payload(programs: dict[str, Path], files: dict[str, bytes]) -> bytes:
    """An archive of programs (as /bin/NAME) with their shared libraries, and of further files (absolute path)."""
    archive = Cpio()
    for name, path in programs.items():
        archive.file(f"bin/{name}", path.read_bytes(), 0o755)
        for library in shared_libraries(path):
            archive.file(str(library).lstrip("/"), library.read_bytes(), 0o755)
    for name, content in files.items():
        archive.file(name.lstrip("/"), content)
    return archive.finish()


# What programs load by dlopen(), which ldd does not see: mempool loads libhugetlbfs when hugepages are asked for.
LOADED_LATER = ("libhugetlbfs.so.0",)


def shared_libraries(program: Path) -> list[Path]:
    """What the dynamic loader would load, the loader itself included, under the names that it looks for."""
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    if "not found" in done.stdout:
        raise HarnessError(f"{program} lacks libraries here:\n{done.stdout}")
    found = [Path(match) for match in re.findall(r"(?:=> )?(/\S+) \(0x", done.stdout)]
    folder = next((path.parent for path in found if path.name.startswith("libc.so")), None)
    if folder is not None:
        found += [folder / name for name in LOADED_LATER if (folder / name).exists()]
    return found
