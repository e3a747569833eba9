"""A QEMU guest with VFIO behind a virtual IOMMU: boots it, runs commands in it, and never leaves it behind."""

from __future__ import annotations

import base64
import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol

import image
from errors import HarnessError, Unavailable

Iommu = Literal["intel", "virtio"]
# What tests and demo call a NIC: QEMU's model. igbvf is a virtual function of an igb (sriov.py).
MODELS = {"virtio": "virtio-net-pci", "e1000": "e1000", "e1000-82545em": "e1000-82545em", "e1000e": "e1000e", "igb": "igb",
          "igbvf": "igb"}
# PCI slot of the first root port; the others follow. Fixed, so that a NIC's place is known from the outside.
FIRST_PORT_SLOT = 0x10
# QUIRK(QEMU 10.0.2 TCG, as Debian patches it): a CPU's TLB keeps an index into the list of the memory map's regions, which are
# in the order of their addresses, and looks it up in the list of now. While another CPU changes the map (a BAR enabled, a device
# gone), an access that has its entry from before goes to a neighbour, or aborts QEMU because the list is shorter now. Mostly it
# is the end-of-interrupt, as an idle CPU writes nothing else to devices. Gone to a neighbour, it leaves the timer's interrupt in
# service, and the CPU takes no other one of its priority or below any more; Linux notices after 21 s. In x2APIC mode it is a
# write to an MSR, which no map is asked for; Linux uses that mode where interrupts are remapped, which virtio-iommu does not do.
_ABORTED = {"qemu.log": re.compile(rb"iotlb_to_section: Assertion")}
_NO_TIMER = {"console.log": re.compile(rb"Possible timer handling issue on cpu|timer wakeup didn't happen")}
# By what the logs say that QEMU itself failed: the file's name and the sign.
EMULATOR_FAILURES: dict[Iommu, dict[str, re.Pattern[bytes]]] = {"intel": _ABORTED, "virtio": _ABORTED | _NO_TIMER}
# Under TCG a guest is at its init in 4 s on a free machine, and in more than a minute on one that is being built on.
BOOT_SECONDS = 180.0


class Netdev(Protocol):
    """What a NIC is plugged into (wire.py)."""

    def options(self, name: str) -> str:
        """The argument of QEMU's -netdev, for the back end called `name`."""

    def inherited(self) -> list[int]:
        """File descriptors that QEMU must inherit."""


@dataclass(frozen=True)
class Nic:
    netdev: Netdev
    mac: str
    model: str = "virtio-net-pci"
    options: str = ""  # more of QEMU's properties: "mq=on,vectors=6"

    def device(self, index: int) -> str:
        parts = [self.model, f"id=nic{index}", f"netdev=net{index}", f"mac={self.mac}", f"bus=rp{index}", "romfile="]
        if self.model.startswith("virtio"):
            # Without iommu_platform the device would reach memory behind the vIOMMU's back.
            parts += ["disable-legacy=on", "iommu_platform=on"]
        return ",".join(parts + ([self.options] if self.options else []))


@dataclass(frozen=True)
class GuestConfig:
    kernel: str = "6.12"  # series of config/fetch_kernels.sh
    iommu: Iommu = "intel"
    nics: list[Nic] = field(default_factory=list)
    programs: dict[str, Path] = field(default_factory=dict)  # name in the guest's /bin -> program here
    memory: str = "1G"
    hugepages: int = 128  # of 2 MiB
    cpus: int = 2
    icount: int | None = None  # the guest's clock counts instructions, each of 2 ** icount ns; TCG alone


@dataclass(frozen=True)
class Completed:
    status: int
    output: str


def kvm_usable() -> bool:
    """A /dev/kvm on a CPU without vmx or svm emulates in software: it takes its own kernels, not a distribution's."""
    return (os.access("/dev/kvm", os.R_OK | os.W_OK)
            and re.search(r"^flags.*\b(vmx|svm)\b", Path("/proc/cpuinfo").read_text(), re.MULTILINE) is not None)


def emulator_failure(log_dir: Path, iommu: Iommu) -> str | None:
    """The line by which a guest's logs say that QEMU itself failed, and not what ran in it."""
    for name, sign in EMULATOR_FAILURES[iommu].items():
        log = log_dir / name
        for line in log.read_bytes().splitlines() if log.exists() else []:
            if sign.search(line):
                return line.decode(errors="replace").strip()
    return None


class Channel:
    """A unix socket that QEMU connects to, read up to a mark."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._socket: socket.socket | None = None
        self._buffer = b""

    def accept(self, timeout: float) -> None:
        self._listener.settimeout(timeout)
        self._socket, _ = self._listener.accept()

    def send(self, data: bytes) -> None:
        assert self._socket is not None
        self._socket.settimeout(30)
        self._socket.sendall(data)

    def read_until(self, mark: re.Pattern[bytes], timeout: float) -> tuple[bytes, re.Match[bytes]]:
        """What came before the mark, and the mark. TimeoutError, or EOFError if QEMU has gone."""
        assert self._socket is not None
        end = time.monotonic() + timeout
        searched = 0
        while True:
            found = mark.search(self._buffer, searched)
            if found:
                before, self._buffer = self._buffer[: found.start()], self._buffer[found.end():]
                return before, found
            searched = max(0, len(self._buffer) - 64)  # a mark may lie across two reads
            self._socket.settimeout(max(0.001, end - time.monotonic()))
            data = self._socket.recv(65536)
            if not data:
                raise EOFError
            self._buffer += data

    def pending(self) -> bytes:
        return self._buffer

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._listener.close()


def _die_with_parent() -> None:
    """In the child, before exec: a killed test takes its QEMU along."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


class Guest:
    """`with Guest(config, log_dir) as guest: guest.run("...")`. On the way out QEMU is dead and log_dir holds
    kernel.log (dmesg), console.log and qemu.log."""

    def __init__(self, config: GuestConfig, log_dir: Path) -> None:
        self.config = config
        self.log_dir = log_dir
        self.accelerator = "kvm" if kvm_usable() and config.icount is None else "tcg"
        self.boot_seconds = 0.0
        self._qemu: subprocess.Popen[bytes] | None = None
        self._commands = 0
        self._alive = False  # the shell in the guest answers
        self._one_command = threading.Lock()

    def __enter__(self) -> Guest:
        binary = shutil.which("qemu-system-x86_64")
        if binary is None:
            raise Unavailable("qemu-system-x86_64 is not installed: run config/install.sh")
        kernel = image.Kernel.get(self.config.kernel)
        base = image.base_image(kernel)
        self.log_dir.mkdir(parents=True, exist_ok=True)
        # Short, because a unix socket's path may have 107 characters.
        self._folder = tempfile.TemporaryDirectory(prefix="spinring-guest-")
        folder = Path(self._folder.name)
        self._agent = Channel(folder / "agent")
        self._qmp = Channel(folder / "qmp")
        try:
            initrd = folder / "initrd"
            initrd.write_bytes(base.read_bytes() + image.payload(self.config.programs, {}))
            self._start(binary, kernel, initrd)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def _arguments(self, binary: str, kernel: image.Kernel, initrd: Path) -> list[str]:
        config = self.config
        # no_timer_check: on a busy host TCG's timer interrupt comes later than the kernel waits for it, and it panics.
        words = ["console=ttyS0", "panic=-1", f"hugepages={config.hugepages}", "quiet", "no_timer_check"]
        if self.accelerator == "tcg":
            # A busy TCG can lose a timer's interrupt. A CPU that waits for a single one then waits for ever.
            words += ["nohz=off", "highres=off"]
        if config.iommu == "intel":
            words.append("intel_iommu=on")
            # Extended interrupt mode lets the kernel choose x2APIC: EMULATOR_FAILURES says why that matters.
            # QUIRK(QEMU 10.0.2 TCG): a write to an MSR does not end its block of code, so the APIC's timer asks for the count of
            # instructions where there is none ("Bad icount read"), and QEMU ends.
            eim = "on" if config.icount is None else "off"
            iommu = f"intel-iommu,intremap=on,eim={eim},caching-mode=on"
        else:
            # virtio-iommu does not remap interrupts, so VFIO wants to be told that this is known.
            words.append("vfio_iommu_type1.allow_unsafe_interrupts=1")
            iommu = "virtio-iommu-pci,addr=0x2"
        arguments = [
            binary, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
            "-machine", f"q35,accel={self.accelerator},kernel-irqchip=split",
            "-cpu", "host" if self.accelerator == "kvm" else "max",
            "-smp", str(config.cpus), "-m", config.memory,
            "-kernel", str(kernel.image), "-initrd", str(initrd), "-append", " ".join(words),
            "-serial", f"file:{self.log_dir / 'console.log'}",
            "-chardev", f"socket,id=agent,path={self._agent.path}", "-serial", "chardev:agent",
            "-qmp", f"unix:{self._qmp.path}",
            "-device", iommu,
        ]
        if config.icount is not None:
            arguments += ["-icount", f"shift={config.icount},sleep=off"]
        for index, nic in enumerate(config.nics):
            port = f"pcie-root-port,id=rp{index},chassis={index + 1},slot={index + 1},addr=0x{FIRST_PORT_SLOT + index:x}"
            arguments += ["-device", port, "-netdev", nic.netdev.options(f"net{index}"), "-device", nic.device(index)]
        return arguments

    def _start(self, binary: str, kernel: image.Kernel, initrd: Path) -> None:
        started = time.monotonic()
        inherited = [fd for nic in self.config.nics for fd in nic.netdev.inherited()]
        with open(self.log_dir / "qemu.log", "wb") as log:
            self._qemu = subprocess.Popen(self._arguments(binary, kernel, initrd), stdin=subprocess.DEVNULL, stdout=log,
                                          stderr=subprocess.STDOUT, pass_fds=inherited, preexec_fn=_die_with_parent)
        try:
            self._qmp.accept(10)
            self._agent.accept(10)
            self._qmp.read_until(re.compile(rb"\n"), 10)  # the greeting
            self.qmp("qmp_capabilities")
            self._agent.read_until(re.compile(rb"@@ready@@\n"), BOOT_SECONDS)
        except (EOFError, OSError) as error:
            raise HarnessError(f"the guest did not boot:\n{self._tail()}") from error
        self._alive = True
        self.boot_seconds = time.monotonic() - started

    def run(self, command: str, timeout: float = 30.0, check: bool = True) -> Completed:
        """Runs a shell command in the guest; `check` makes a failing one an error. To leave something running, end it
        with "&" and send its output to a file. Any thread."""
        with self._one_command:
            done = self._exchange(command, timeout)
        if check and done.status != 0:
            raise HarnessError(f"in the guest, status {done.status}: {command}\n{done.output}")
        return done

    def _exchange(self, command: str, timeout: float) -> Completed:
        self._commands += 1
        number = self._commands
        try:
            self._agent.send(b"%d %s\n" % (number, base64.b64encode(command.encode())))
            output, mark = self._agent.read_until(re.compile(rb"@@%d:(\d+)@@\n" % number), timeout)
        except TimeoutError as error:
            self._alive = False
            said = self._agent.pending().decode(errors="replace")
            raise HarnessError(f"in the guest, not done after {timeout:g} s: {command}\n{said}\n{self._tail()}") from error
        except (EOFError, OSError) as error:
            self._alive = False
            raise HarnessError(f"the guest went away during: {command}\n{self._tail()}") from error
        return Completed(int(mark.group(1)), output.decode(errors="replace"))

    def text(self, command: str, timeout: float = 30.0) -> str:
        return self.run(command, timeout).output.strip()

    def kernel_log(self) -> str:
        return self.run("dmesg").output

    def uses_x2apic(self) -> bool:
        return "x2apic enabled" in self.kernel_log()

    def pci_functions(self, nic: int) -> list[str]:
        """Where the guest sees a NIC and what is on the same port: its further functions, its virtual functions."""
        port = f"/sys/bus/pci/devices/0000:00:{FIRST_PORT_SLOT + nic:02x}.0"
        return self.text(f"cd {port} && ls -d ????:??:??.?").split()

    def pci_address(self, nic: int) -> str:
        """Where the guest sees a NIC: "0000:01:00.0"."""
        return self.pci_functions(nic)[0]

    def driver_of(self, address: str) -> str:
        """The kernel driver that a PCI device is bound to; empty if there is none."""
        return os.path.basename(self.text(f"readlink /sys/bus/pci/devices/{address}/driver || true"))

    def iommu_group(self, address: str) -> int:
        return int(os.path.basename(self.text(f"readlink /sys/bus/pci/devices/{address}/iommu_group")))

    def free_hugepages(self) -> int:
        return int(self.text("awk '/^HugePages_Free/ { print $2 }' /proc/meminfo"))

    def qmp(self, command: str, **arguments: Any) -> Any:
        """A command to QEMU's monitor: qmp("set_link", name="nic0", up=False)."""
        self._qmp.send(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while True:
            line, _ = self._qmp.read_until(re.compile(rb"\n"), 10)
            reply = json.loads(line)
            if "error" in reply:
                raise HarnessError(f"QEMU refused {command}: {reply['error']['desc']}")
            if "return" in reply:  # events come in between
                return reply["return"]

    def close(self) -> None:
        """Saves the guest's log and ends QEMU. Idempotent."""
        qemu, self._qemu = self._qemu, None
        if qemu is None:
            return
        try:
            if self._alive and qemu.poll() is None:
                (self.log_dir / "kernel.log").write_text(self.run("dmesg", timeout=10, check=False).output)
        except (HarnessError, OSError) as error:
            (self.log_dir / "kernel.log").write_text(f"the guest gave no log: {error}\n")
        finally:
            qemu.kill()
            qemu.wait()
            self._agent.close()
            self._qmp.close()
            self._folder.cleanup()

    def _tail(self) -> str:
        parts = []
        for name in ("qemu.log", "console.log"):
            path = self.log_dir / name
            if path.exists():
                lines = path.read_text(errors="replace").splitlines()[-25:]
                parts.append("\n".join([f"--- {name}", *lines]))
        return "\n".join(parts)
